// Classic scripts, which unlike modules and JSON can be loaded from a disk too; each once.

const known = new Map();

export function script(path) {
  if (!known.has(path)) {
    known.set(path, new Promise((done, failed) => {
      const node = document.createElement("script");
      node.src = path;
      node.onload = () => done();
      node.onerror = () => failed(new Error(`${path} cannot be loaded`));
      document.head.append(node);
    }));
  }
  return known.get(path);
}

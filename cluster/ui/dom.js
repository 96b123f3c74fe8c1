// Elements of the page. Text is always text: nothing that a run holds becomes markup.

const SVG = "http://www.w3.org/2000/svg";

// h("td", {class: "number", onclick: go}, "text", child, [children], null)
export const h = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style" && typeof value === "object") {
      for (const [key, one] of Object.entries(value)) node.style.setProperty(key, one);
    } else if (["value", "checked", "disabled", "selected"].includes(name)) node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...kept(children));
  return node;
}

const kept = (children) =>
  children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false);

// Puts the children in place of what a node holds.
export const show = (node, ...children) => (node.replaceChildren(...kept(children)), node);

// The same for what is shown again with newer numbers: what somebody has opened stays open.
export function showAgain(node, ...children) {
  const open = [...node.querySelectorAll("details")].map((one) => one.open);
  show(node, ...children);
  node.querySelectorAll("details").forEach((one, at) => (one.open = open[at] ?? one.open));
}

export const section = (title, ...children) => h("section", null, title && h("h2", null, title), ...children);

// table(["SAE", "FVU"], rows, {words: [0]}): columns that are not words are numbers, and stand to the right.
export function table(head, rows, { words = [0], row = () => null } = {}) {
  const kind = (at) => (words.includes(at) ? null : "number");
  const line = (tag, cells) => cells.map((one, at) => h(tag, { class: kind(at) }, one));
  return h("div", { class: "scroll" }, h("table", null,
    h("thead", null, h("tr", null, line("th", head))),
    h("tbody", null, rows.map((cells, at) => h("tr", row(at), line("td", cells))))));
}

// A sentence for a moment, in the corner; read aloud too.
let hiding;
export function say(sentence, isBad = false) {
  const place = document.getElementById("said");
  show(place, sentence);
  place.className = isBad ? "shown bad" : "shown";
  clearTimeout(hiding);
  hiding = setTimeout(() => (place.className = ""), 4000);
}

export function download(name, value) {
  const url = URL.createObjectURL(new Blob([JSON.stringify(value, null, 1)], { type: "application/json" }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

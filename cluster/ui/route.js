// Where one is on the page, in the part of its address after #: #/RUN, #/RUN/SAE?sort=max_act, #/RUN/SAE/17/rate.

export function here() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { parts: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query || "") };
}

// Whoever types an address may type a % that stands for nothing.
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function link(...parts) {
  const query = typeof parts.at(-1) === "object" ? parts.pop() : {};
  const kept = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "" && value != null));
  return `#/${parts.map((one) => encodeURIComponent(one)).join("/")}${kept.size ? `?${kept}` : ""}`;
}

export const go = (...parts) => (location.hash = link(...parts));

// Changes the address without a step of history and without drawing the page anew.
export const stay = (...parts) => history.replaceState(null, "", link(...parts));

// Keys: {j: ["the next latent", go]}; none acts while one writes.

import { h } from "headrace/dom";

const WRITING = "input, textarea, select, [contenteditable]";

export function keysOf(event, keys) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.(WRITING)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "?") return helpDialog(keys);
  const found = keys[event.key];
  if (found) {
    event.preventDefault();
    found[1](event);
  }
}

export function helpDialog(keys) {
  const all = { ...Object.fromEntries(Object.entries(keys).map(([key, [words]]) => [key, words])), "?": "these keys", Esc: "out of a field" };
  const lines = Object.entries(all).map(([key, words]) => [h("dt", null, h("kbd", null, key)), h("dd", null, words)]);
  const dialog = h("dialog", { class: "help", onclose: () => dialog.remove() },
    h("h2", null, "Keys"), h("dl", { class: "pairs" }, lines),
    h("form", { method: "dialog" }, h("button", null, "Close")));
  document.body.append(dialog);
  dialog.showModal();
}

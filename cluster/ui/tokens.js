// Text as the model reads it: token by token, each as warm as its value; ends of lines are marked.

import { h } from "headrace/dom";
import { short } from "headrace/numbers";

// Bytes that are no letter, as cluster/vocabulary.py spells them.
const BYTES = /^(?:\\x[0-9a-f]{2})+$/;

const mark = (text) => h("span", { class: "mark" }, text);

// A token's text with what is not seen made visible. After ↵ stands the break itself, which only `.breaks` shows, as it
// does the whole of a run of spaces.
export function spelt(text) {
  const parts = text.split(/(\n|\t| {3,}|(?:\\x[0-9a-f]{2})+)/).filter((one) => one !== "");
  if (!parts.length) return h("span", { class: "soft" }, "∅");
  return parts.map((one) =>
    one === "\n" ? [mark("↵"), h("span", { class: "break" }, "\n")]
      : one === "\t" ? mark("⇥") : BYTES.test(one) ? mark(one)
        : one.startsWith("   ") ? h("span", { class: "blanks" }, one) : one);
}

// `values` of `tokens`; `full` is the value of the warmest colour. Below 0 it is the other colour.
export function heat(tokens, values, full, { title = short, onclick = null, marked = -1, className = "" } = {}) {
  return h("span", { class: `tokens ${className}` }, tokens.map((text, at) => {
    const value = values[at] ?? 0;
    const node = h("span", { class: at === marked ? "token marked" : "token", title: title(value, at) }, spelt(text));
    if (value !== 0 && full > 0) node.style.backgroundColor = colour(value / full);
    if (onclick) {
      node.classList.add("pick");
      node.tabIndex = at === marked ? 0 : -1; // one stop for the Tab key, and arrows from there
      node.addEventListener("click", () => onclick(at));
      node.addEventListener("keydown", (event) => pressed(event, node, () => onclick(at)));
    }
    return node;
  }));
}

function pressed(event, node, pick) {
  const act = { Enter: pick, ArrowRight: () => node.nextSibling?.focus(), ArrowLeft: () => node.previousSibling?.focus() }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

function colour(share) {
  const strength = Math.min(1, Math.abs(share));
  return `rgb(var(${share > 0 ? "--warm" : "--cool"}) / ${(0.1 + 0.75 * strength).toFixed(3)})`;
}

// A token in a list: `·` for a space that would not be seen.
export const chipOf = (text) => h("code", { class: "piece" }, spelt(text.replace(/^ +| +$/g, (spaces) => "·".repeat(spaces.length))));

// Tokens as one text: bytes that are a letter together read as that letter. Meanwhile each is half of a surrogate pair,
// which no text has by itself.
export function joined(tokens) {
  const half = (_, byte) => String.fromCharCode(0xdc00 + parseInt(byte, 16));
  const read = (halves) => new TextDecoder().decode(Uint8Array.from(halves, (one) => one.charCodeAt(0) - 0xdc00));
  return tokens.map((text) => text.replace(/\\x([0-9a-f]{2})/g, half)).join("").replace(/[\udc00-\udcff]+/gu, read);
}

// What people say of a latent; the newest holds, and all that was said before stays in the file.

import { h, say } from "headrace/dom";
import * as source from "headrace/source";

const SAFETY = ["safety:security", "safety:bias", "safety:lying", "safety:deception", "safety:sycophancy", "safety:dangerous"];

export function labels(one, changed) {
  const now = one.label || { text: "", tags: [], author: "" };
  if (source.isExport) return history(one);
  const text = h("input", { id: "label-text", value: now.text, placeholder: "what it means  ( l )", maxlength: 2000 });
  const tags = h("input", { id: "label-tags", value: now.tags.join(", "), placeholder: "tags, with commas between", list: "tags" });
  const author = h("input", { id: "label-author", value: now.author || localStorage.getItem("author") || "", placeholder: "your name" });
  const send = async (event) => {
    event.preventDefault();
    localStorage.setItem("author", author.value);
    try {
      const said = { text: text.value, tags: tags.value.split(",").map((tag) => tag.trim()).filter(Boolean), author: author.value };
      changed(await source.label(one.run, one.sae, one.latent, said));
      say("saved");
    } catch (error) {
      say(error.message, true);
    }
  };
  const quick = SAFETY.map((tag) => h("button", { type: "button", class: "chip tag", onclick: () => add(tags, tag) }, tag));
  return h("section", { class: "card", id: "labels" }, h("h2", null, "Label"),
    h("form", { class: "stack", onsubmit: send }, text, tags, h("datalist", { id: "tags" }, SAFETY.map((tag) => h("option", { value: tag }))),
      h("div", { class: "quick" }, quick), h("div", { class: "row" }, author, h("button", { class: "main", id: "label-save" }, "Save"))), history(one));
}

function add(field, tag) {
  const tags = field.value.split(",").map((one) => one.trim()).filter(Boolean);
  field.value = (tags.includes(tag) ? tags.filter((one) => one !== tag) : [...tags, tag]).join(", ");
}

function history(one) {
  if (!one.history.length) return null;
  const lines = one.history.map((said) => h("li", null, said.text || (said.tags.length ? "" : "taken back"), " ",
    said.tags.map((tag) => [h("span", { class: "chip tag" }, tag), " "]), h("span", { class: "soft" }, `${said.author || "someone"}, ${said.time.slice(0, 16).replace("T", " ")}`)));
  return h("details", { class: source.isExport ? "card" : "" }, h("summary", null, `said so far: ${one.history.length}`), h("ul", { class: "plain" }, lines));
}

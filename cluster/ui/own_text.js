// One's own text: which latents fire on which token, or where one of them does.

import { h, show, say } from "headrace/dom";
import { said, tabs } from "headrace/catalog";
import { short } from "headrace/numbers";
import { link, stay } from "headrace/route";
import { chipOf, heat } from "headrace/tokens";
import * as source from "headrace/source";

const SHOWN = 40;

export async function ownTextView({ parts: [run, sae], query }) {
  const box = ownText(run, sae, { text: query.get("text") || "", latent: query.has("latent") ? Number(query.get("latent")) : null, isPage: true });
  const saes = await source.saes(run);
  return { title: `Own text in ${sae}`, trail: [[run, link(run)], [sae, link(run, sae)], ["own text", link(run, sae, "text")]],
    node: h("div", null, tabs(run, saes, sae, "text"), h("h1", null, "Your own text"), box), keys: { t: ["write", () => box.querySelector("textarea").focus()] } };
}

// With `latent` its heat map is shown first; on a page of its own what was read stays in the address.
export function ownText(run, sae, { text = "", latent = null, isPage = false }) {
  const field = h("textarea", { id: "own-text", rows: isPage ? 4 : 2, placeholder: "any text  ( t, then Ctrl+Enter )", value: text });
  const result = h("div", { class: "read" });
  const read = async () => {
    if (!field.value) return;
    button.disabled = true;
    try {
      const found = await source.text(run, sae, field.value);
      if (isPage) stay(run, sae, "text", { text: field.value, latent });
      draw(result, run, sae, found, latent, isPage);
    } catch (error) {
      say(error.message, true);
    }
    button.disabled = false;
  };
  const button = h("button", { type: "button", class: "main", id: "read", onclick: read }, "Read");
  field.addEventListener("keydown", (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && read());
  if (text) read();
  return h("div", { class: "stack" }, field, h("div", { class: "row" }, button), result);
}

function draw(place, run, sae, found, latent, isPage) {
  let shown = latent, token = -1;
  const ranked = strongest(found);
  const again = () => {
    const values = found.firing.map((firing) => (shown === null ? firing.length && firing[0][1] / found.latents[firing[0][0]].max_act : firing.find(([one]) => one === shown)?.[1]) || 0);
    const full = shown === null ? 1 : Math.max(found.latents[shown]?.max_act || 0, ...values);
    show(place,
      found.cut_tokens > 0 && h("p", { class: "bad" }, `the last ${found.cut_tokens} tokens are cut off`),
      h("p", { class: "note" }, shown === null ? "How strong each token's strongest latent is, of its maximum. A click lists the token's latents." : [`Latent ${shown}: maximum here ${short(Math.max(...values))}. `,
        h("button", { type: "button", class: "quiet", onclick: () => ((shown = null), again()) }, "show all")]),
      heat(found.tokens, values, full, { marked: token, onclick: (at) => ((token = at === token ? -1 : at), again()),
        title: (value, at) => (found.firing[at].length ? `${short(value)}; latents ${found.firing[at].slice(0, 3).map(([one]) => one).join(", ")}…` : "silent") }),
      (isPage || token >= 0 || shown === null) && list(run, sae, found, token < 0 ? ranked : found.firing[token], token, (one) => ((shown = one), again())));
  };
  again();
}

// [latent, its largest activation in the text] by how strong that is for the latent.
function strongest(found) {
  const largest = new Map();
  for (const firing of found.firing) for (const [latent, act] of firing) largest.set(latent, Math.max(act, largest.get(latent) || 0));
  const share = ([latent, act]) => act / (found.latents[latent].max_act || Infinity);
  return [...largest].sort((one, other) => share(other) - share(one));
}

function list(run, sae, found, pairs, token, pick) {
  return h("div", { class: "firing" }, h("h3", null, token < 0 ? "Latents of the text" : ["Latents of ", chipOf(found.tokens[token])]),
    h("ul", { class: "plain" }, pairs.slice(0, SHOWN).map(([latent, act]) => {
      const facts = found.latents[latent];
      return h("li", null, h("a", { href: link(run, sae, latent) }, latent), h("span", { class: "cosine", title: `${short(act)} of at most ${short(facts.max_act)}` },
        h("span", { style: { width: `${Math.min(100, (100 * act) / (facts.max_act || act))}%` } })), h("span", { class: "soft" }, short(act)),
      h("button", { type: "button", class: "quiet", title: "its heat map", onclick: () => pick(latent) }, "map"),
      h("span", { class: "told" }, facts.label || facts.explanation ? said(facts) : facts.promoted.map(chipOf)));
    })));
}

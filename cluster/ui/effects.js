// What happens to the predictions after a token when the latent is silenced there.

import { h, show, table } from "headrace/dom";
import { decimals, short } from "headrace/numbers";
import { chipOf, heat } from "headrace/tokens";
import * as source from "headrace/source";

const WIDEST = 0.05;

export async function effects(place, one, context, at) {
  show(place, h("p", { class: "note" }, "the model runs…"));
  try {
    draw(place, await source.effects(one.run, one.sae, one.latent, context.ids, at));
  } catch (error) {
    show(place, h("p", { class: "bad" }, error.message));
  }
}

function draw(place, found) {
  const changed = Math.max(...found.kl), full = Math.max(WIDEST, ...found.loss_rise.map((rise) => Math.abs(rise ?? 0)));
  const votes = h("div");
  const pick = (at) => show(votes, votesAt(found, at));
  pick(found.kl.indexOf(changed));
  show(place, h("div", { class: "card effects" },
    h("p", { class: "note" }, "Without the latent at ", chipOf(found.tokens[found.position]), ": how much worse (warm) or better (cool) each later token is predicted. A click shows what is predicted after it instead."),
    heat(found.tokens.slice(found.position), found.loss_rise.slice(found.position), full, { onclick: (at) => pick(at + found.position),
      title: (rise, at) => `loss ${rise >= 0 ? "+" : ""}${short(rise)} nats, KL ${short(found.kl[at + found.position])}` }),
    votes, h("button", { type: "button", class: "quiet", onclick: () => show(place) }, "close")));
}

function votesAt(found, at) {
  const cell = (vote) => (vote ? [chipOf(vote.token), " ", h("span", { class: "soft" }, `${vote.change >= 0 ? "+" : ""}${decimals(vote.change, 3)}`)] : "");
  const lists = ["up_logits", "down_logits", "up_probs", "down_probs"].map((name) => found[name][at]);
  const rows = Array.from({ length: Math.max(...lists.map((one) => one.length)) }, (_, rank) => lists.map((one) => cell(one[rank])));
  if (!rows.length) return h("p", { class: "note" }, "After ", chipOf(found.tokens[at]), " the latent changes nothing.");
  return [h("p", { class: "note" }, "After ", chipOf(found.tokens[at]), ` the latent makes (KL ${short(found.kl[at])} nats):`),
    table(["likelier, log p", "unlikelier, log p", "likelier, p", "unlikelier, p"], rows, { words: [0, 1, 2, 3] })];
}

// One latent: when it fires, what it promotes, what is near it, what is said of it, and what it does.

import { download, h, section, show } from "headrace/dom";
import { said } from "headrace/catalog";
import { histogram } from "headrace/charts";
import { contexts } from "headrace/contexts";
import { explanations } from "headrace/explanations";
import { labels } from "headrace/labels";
import { ownText } from "headrace/own_text";
import { neighbour } from "headrace/order";
import { count, decimals, percent, short, whole } from "headrace/numbers";
import { go, link } from "headrace/route";
import { chipOf } from "headrace/tokens";
import * as source from "headrace/source";

export async function latentView({ parts: [run, sae, number] }) {
  const one = await source.latent(run, sae, Number(number));
  const move = (step) => go(run, sae, neighbour(run, sae, one.latent, step, one.num_latents));
  const title = h("div", { class: "title" });
  const spoken = h("div");
  const draw = () => {
    show(title, ...heading(one, move));
    show(spoken, labels(one, (now) => (Object.assign(one, now), draw())), explanations(one));
  };
  draw();
  const node = h("div", null, title, h("div", { class: "latent" },
    h("div", { class: "wide" }, contexts(one), !source.isExport && section("Your own text", ownText(run, sae, { latent: one.latent }))),
    h("aside", null, numbers(one), spoken, logits(one), neighbors(one))));
  return { title: `${one.latent} of ${sae}`, trail: [[run, link(run)], [sae, link(run, sae)], [one.latent, link(run, sae, one.latent)]],
    node, keys: keys(one, move) };
}

function heading(one, move) {
  return [
    h("h1", null, `${one.sae} · ${one.latent}`), (one.label || one.explanations.length > 0) && said({ ...one.label && { label: one.label.text, tags: one.label.tags },
      explanation: one.explanations.at(-1)?.text }),
    h("span", { class: "end buttons" },
      h("button", { type: "button", title: "the latent before (k)", onclick: () => move(-1) }, "←"),
      h("button", { type: "button", title: "the next latent (j)", onclick: () => move(1) }, "→"),
      h("button", { type: "button", id: "random", title: "a random latent (r)", onclick: () => anyOf(one) }, "Random"),
      !source.isExport && h("a", { class: "button", href: link(one.run, one.sae, one.latent, "steer") }, "Steer"),
      h("button", { type: "button", onclick: () => download(`${one.sae}-${one.latent}.json`, one) }, "JSON"))];
}

const anyOf = async (one) => go(one.run, one.sae, await source.random(one.run, one.sae));

function keys(one, move) {
  const all = {
    j: ["the next latent", () => move(1)],
    k: ["the latent before", () => move(-1)],
    r: ["a random latent", () => anyOf(one)],
    u: ["all latents", () => go(one.run, one.sae)],
    "/": ["search among all latents", () => (go(one.run, one.sae), setTimeout(() => document.getElementById("search")?.focus(), 600))],
  };
  if (source.isExport) return all;
  return { ...all, s: ["steer", () => go(one.run, one.sae, one.latent, "steer")],
    l: ["label it", () => document.getElementById("label-text").focus()],
    t: ["your own text", () => document.getElementById("own-text").focus()] };
}

function numbers(one) {
  const { numbers: found } = one;
  const facts = { density: percent(found.density), fired: whole(found.fired), max: short(found.max_act), "E[a]": short(found.mean_act),
    "E[a²]": short(found.mean_act_squared), skew: short(found.skew), kurtosis: short(found.kurtosis), "FVU share": percent(found.fvu_share) };
  return h("section", { class: "card" }, h("h2", null, "Activation"), one.dead ? h("p", { class: "note" }, "It never fired on the text that was looked at.")
    : [histogram(one.histogram), h("dl", { class: "facts" }, Object.entries(facts).map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))))]);
}

function logits(one) {
  if (!one.promoted.length) return null;
  const column = (title, tokens) => h("div", null, h("h3", null, title), h("ul", { class: "logits" }, tokens.map(({ token, value }) =>
    h("li", null, chipOf(token), h("span", { class: "soft" }, decimals(value, 2))))));
  return h("section", { class: "card" }, h("h2", null, "Logits"), h("div", { class: "halves" }, column("promotes", one.promoted), column("suppresses", one.suppressed)));
}

// The same concept in this SAE and in the others: where it is split, or has no counterpart.
function neighbors(one) {
  return h("section", { class: "card", id: "neighbors" }, h("h2", null, "Nearest directions"),
    one.neighbors.filter(({ latents }) => latents.length).map(({ sae, num_latents, latents }) => h("div", { class: "near" },
      h("h3", null, sae === one.sae ? "in this SAE" : sae, " ", num_latents !== null && sae !== one.sae && h("span", { class: "soft" }, count(num_latents), " latents")),
      h("ul", null, latents.slice(0, SHOWN).map((near) => h("li", null,
        h("a", { href: link(one.run, sae, near.latent) }, near.latent), h("span", { class: "cosine" },
          h("span", { style: { width: `${100 * Math.max(0, near.cosine)}%` } })), h("span", { class: "soft" }, decimals(near.cosine, 2)),
        h("span", { class: "told" }, near.label ? h("b", null, near.label) : near.explanation || near.promoted.map(chipOf))))))));
}

const SHOWN = 5;

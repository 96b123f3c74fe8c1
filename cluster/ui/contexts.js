// Text in which a latent fires: the strongest, a random draw of all, and some of each range of activation.

import { h, show } from "headrace/dom";
import { effects } from "headrace/effects";
import { percent, plural, short } from "headrace/numbers";
import { heat } from "headrace/tokens";
import * as source from "headrace/source";

const FIRST = { top: 8, random: 5 };
const AROUND = 12;
const settings = { whole: false, breaks: false };

export function contexts(one) {
  const place = h("div");
  const draw = () => show(place, one.groups.length ? one.groups.map((group) => groupOf(one, group)) : h("p", null, "It did not fire on any text that was looked at."));
  draw();
  return h("section", { class: "contexts" },
    h("p", { class: "note controls" }, toggle("whole", "whole contexts", draw), toggle("breaks", "line breaks", draw),
      !source.isExport && "A click on a token shows what the latent does there."), place);
}

function toggle(name, words, draw) {
  const box = h("input", { type: "checkbox", checked: settings[name], onchange: () => ((settings[name] = box.checked), draw()) });
  return h("label", null, box, words);
}

function groupOf(one, group) {
  const list = h("div", { class: "list" });
  const first = FIRST[group.name] || 3;
  const fill = (number) => show(list, group.contexts.slice(0, number).map((context) => line(one, context)),
    number < group.contexts.length && h("button", { type: "button", class: "quiet", onclick: () => fill(Infinity) }, `${group.contexts.length - number} more`));
  fill(first);
  return h("section", { id: `group-${group.name}` }, h("h2", null, ...title(group)), list);
}

function title(group) {
  if (group.name === "top") return ["Strongest ", h("span", { class: "soft" }, "one of each document")];
  if (group.name === "random") return ["At random ", h("span", { class: "soft" }, "of all firings")];
  return [`${short(group.low)} to ${short(group.high)} `, h("span", { class: "soft" }, `${percent(group.share)} of firings, ${plural(group.contexts.length, "sample")}`)];
}

function line(one, context) {
  const below = h("div");
  const from = settings.whole ? 0 : Math.max(0, context.at - AROUND), to = settings.whole ? context.tokens.length : context.at + AROUND + 1;
  const look = source.isExport ? null : (at) => effects(below, one, context, from + at);
  const tokens = heat(context.tokens.slice(from, to), context.acts.slice(from, to), one.numbers.max_act,
    { onclick: look, marked: context.at - from, title: (act) => (act ? short(act) : "silent") });
  return h("div", { class: settings.breaks ? "context breaks" : "context" },
    h("span", { class: "act", title: `document ${context.document}, token ${context.position}, ${context.split} half` }, short(context.max_act)),
    h("div", null, tokens, below));
}

// Explanations, how each did, and every example that was judged.

import { h, table } from "headrace/dom";
import { lines } from "headrace/charts";
import { NONE, decimals, plural, short } from "headrace/numbers";
import { link } from "headrace/route";
import * as source from "headrace/source";

export function explanations(one) {
  const raters = !source.isExport && one.groups.length > 0;
  return h("section", { class: "card", id: "explanations" }, h("h2", null, "Explanations"),
    one.explanations.length ? one.explanations.map((each) => explanation(one, each, raters))
      : h("p", { class: "note" }, "None yet: ", h("code", null, `headrace features score ${one.run} --sae ${one.sae} --latent ${one.latent}`)),
    one.other_scores.length > 0 && h("details", null, h("summary", null, "scores of older explanations"), one.other_scores.map(score)));
}

function explanation(one, each, raters) {
  return h("div", { class: "explanation" },
    h("p", null, each.text, " ", h("span", { class: "chip" }, each.source),
      raters && [" ", h("a", { href: link(one.run, one.sae, one.latent, "rate", { explanation: each.id }) }, "rate it blind")]),
    each.scores.map(score));
}

function score(one) {
  const rows = one.examples.map((example) => [example.group.replace(/^bin/, "range "), short(example.max_act), short(example.expected),
    h("span", { class: isRight(example) ? "good" : "bad" }, example.answered === null ? NONE : short(example.answered)), h("span", { class: "judged" }, example.text)]);
  const failed = one.numbers.failed ? ` · ${plural(one.numbers.failed, "answer")} failed` : "";
  const points = (one.numbers.curve || []).map((point, at) => [at, point.mean]);
  return h("details", { class: "score" },
    h("summary", null, h("b", null, decimals(one.value, 2)), ` ${one.method}`, h("span", { class: "soft" }, `${one.judge ? ` by ${one.judge}` : ""} · ${plural(one.examples.length, "example")}${failed}`)),
    points.length > 0 && lines("rating by range of activation", [{ name: "mean rating", points, colour: "var(--accent)" }], { xName: "weak to strong", yMax: 3 }),
    one.numbers.agreement != null && h("p", { class: "note" }, `agreement with the judge: κ ${decimals(one.numbers.agreement, 2)} over ${plural(one.numbers.common, "passage")}`),
    rows.length > 0 && table(["from", "max", "right", "answer", "text"], rows, { words: [0, 4] }));
}

const isRight = (example) => example.answered !== null && Math.abs(example.answered - example.expected) < 1;

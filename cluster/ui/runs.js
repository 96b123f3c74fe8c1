// All runs: state, progress, SAEs.

import { h, show, table, section } from "headrace/dom";
import { NONE, ago, count, decimals, duration, percent, plural } from "headrace/numbers";
import { polling } from "headrace/polling";
import { link } from "headrace/route";
import { chip, meter } from "headrace/state";
import * as source from "headrace/source";

export async function runsView() {
  const body = h("div");
  const draw = (found) => (show(body, ...listing(found)), found.runs.some((one) => one.is_live));
  const stop = await polling(source.runs, draw, { idle: 5 });
  return { title: "Runs", trail: [], node: body, stop };
}

function listing({ root, runs, elsewhere }) {
  if (!runs.length && !elsewhere.length) {
    return [h("h1", null, "No runs yet"), h("p", null, "There is none in ", h("code", null, root), ". Begin one with ",
      h("code", null, "headrace run examples/demo.yaml"), "; it shows up here.")];
  }
  return [
    h("h1", null, plural(runs.length, "run")),
    h("p", { class: "lead" }, "in ", h("code", null, root)),
    h("div", { class: "runs" }, runs.map(card)),
    elsewhere.length > 0 && section("Jobs of this registry whose folders are elsewhere", table(
      ["job", "state", "tokens", "folder"],
      elsewhere.map((one) => [one.name, chip(one.state), count(one.tokens), h("code", null, one.output)]),
      { words: [0, 1, 3] })),
  ];
}

function card(run) {
  const progress = run.tokens_wanted ? Math.min(1, run.tokens / run.tokens_wanted) : 0;
  return h("article", { class: "card run", id: `run-${run.id}` },
    h("header", null, h("h2", null, h("a", { href: link(run.id) }, run.id)), chip(run.state),
      run.features > 0 && h("span", { class: "note" }, plural(run.features, "SAE"), " with features"),
      run.changed_ms && h("span", { class: "note end" }, ago(run.changed_ms))),
    run.message && h("p", { class: "bad" }, run.message),
    run.tokens_wanted && [meter(progress), h("p", { class: "note" }, words(run, progress))],
    run.saes.length > 0 && saes(run));
}

function words(run, progress) {
  const parts = [percent(progress), `${count(run.tokens)} of ${count(run.tokens_wanted)} tokens`];
  if (run.is_live && run.tokens_per_s) parts.push(`${count(run.tokens_per_s)} tokens/s`);
  if (run.is_live && run.seconds_left) parts.push(`${duration(run.seconds_left)} left`);
  if (run.limiting_stage) parts.push(`bound by ${run.limiting_stage}`);
  parts.push(`${run.model} at ${run.hookpoints.join(", ")}`);
  return parts.join(" · ");
}

const SHOWN = 8;

function saes(run) {
  const rows = run.saes.slice(0, SHOWN).map((one) => [one.name, one.architecture || NONE, count(one.num_latents),
    decimals(one.fvu, 4), decimals(one.l0, 1), percent(one.dead_fraction)]);
  const rest = run.saes.length - rows.length;
  return [table(["SAE", "architecture", "latents", "FVU", "L0", "dead"], rows, { words: [0, 1] }),
    rest > 0 && h("p", { class: "note" }, `and ${plural(rest, "other SAE")}`)];
}

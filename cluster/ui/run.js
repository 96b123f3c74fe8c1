// One run: its state and what limits it, held-out numbers, curves, the front, lags, where every row is, what happened.

import { h, showAgain, table, section } from "headrace/dom";
import { NONE, bytes, count, decimals, duration, moment, percent, plural, whole } from "headrace/numbers";
import { Figures } from "headrace/plots";
import { polling } from "headrace/polling";
import { link } from "headrace/route";
import { chip, meter, swatch } from "headrace/state";
import * as source from "headrace/source";

export async function runView({ parts: [name] }) {
  const top = h("div"), below = h("div"), figures = new Figures();
  const draw = (run) => {
    showAgain(top, ...above(run));
    showAgain(below, ...stream(run.status), ...ledger(run.ledger), ...events(run.events));
    if (!document.hidden) figures.refresh(name, run.saes).catch((error) => figures.fail(error));
    return run.is_live;
  };
  const stop = await polling(() => source.run(name), draw);
  return { title: name, trail: [[name, link(name)]], node: h("div", null, top, figures.node, below), stop };
}

function above(run) {
  const tokens = run.status ? run.status.tokens : Math.min(...run.saes.map((one) => one.tokens));
  const progress = Math.min(1, (Number.isFinite(tokens) ? tokens : 0) / run.about.tokens);
  return [
    h("div", { class: "title" }, h("h1", null, run.id), chip(run.state),
      run.saes.some((one) => one.has_features) && h("a", { class: "button", href: features(run) }, "Features")),
    meter(progress),
    h("p", { class: "lead" }, headline(run, tokens, progress)),
    run.message && h("p", { class: "bad" }, run.message),
    run.status?.limiting_stage && h("p", { class: "limit" }, "bound by ", h("b", null, run.status.limiting_stage), ": ",
      run.status.limiting_reason),
    run.missing.length > 0 && h("div", { class: "missing" }, run.missing.map((one) => h("p", null, one))),
    section("SAEs", saes(run), h("p", { class: "note" }, "● is on the front: no other has both a lower L0 and a lower FVU.")),
    heldOut(run),
    h("details", null, h("summary", null, "What the job is made of"), about(run)),
  ];
}

const features = (run) => link(run.id, run.saes.find((one) => one.has_features).name);

function headline(run, tokens, progress) {
  const parts = [percent(progress), `${count(tokens)} of ${count(run.about.tokens)} tokens`];
  const { status } = run;
  if (run.is_live && status.tokens_per_s) parts.push(`${count(status.tokens_per_s)} tokens/s`);
  if (run.is_live && status.seconds_left) parts.push(`${duration(status.seconds_left)} left`);
  if (status?.checkpoint != null) parts.push(`checkpoint ${whole(status.checkpoint)}`);
  if (run.span_ms) parts.push(`measured over ${duration((run.span_ms[1] - run.span_ms[0]) / 1000)}`);
  return parts.join(" · ");
}

function saes(run) {
  const rows = run.saes.map((one) => [
    [swatch(one), one.has_features ? h("a", { href: link(run.id, one.name) }, one.name) : one.name],
    chip(one.state), one.architecture || NONE, whole(one.num_latents), one.k ?? NONE, count(one.tokens),
    count(one.tokens_per_s), [one.on_front && h("span", { class: "front", title: "on the front" }, "● "),
      decimals(one.fvu, 4)],
    decimals(one.l0, 1), percent(one.dead_fraction), whole(one.lag_blocks)]);
  const head = ["SAE", "state", "architecture", "latents", "k", "tokens", "tokens/s", "FVU", "L0", "dead", "lag, blocks"];
  return table(head, rows, { words: [0, 1, 2] });
}

function heldOut({ held_out: found, saes: all }) {
  if (!found) return null;
  const rows = found.rows.map(([name, ...numbers]) => [[swatch(all.find((one) => one.name === name)), name], ...numbers]);
  return section("Held-out text", h("p", null, found.lead), table(found.head, rows), h("p", { class: "note" }, found.note));
}

function about({ about: one, software }) {
  const facts = {
    Model: one.model, Hookpoints: one.hookpoints.join(", "), Corpus: one.corpus,
    Context: plural(one.context_tokens, "token"), "Producers and lanes": `${one.producers} and ${one.lanes}`,
    Stream: `${count(one.buffer_rows)} rows mixed in each lane, blocks of ${whole(one.block_rows)}`,
    Seed: one.seed, Software: software,
  };
  return h("dl", null, Object.entries(facts).map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
}

function stream(status) {
  if (!status) return [];
  const lanes = status.lanes.map((one) => [one.name, count(one.rows_per_s || null), whole(one.next_block),
    percent(Math.min(1, one.resident / one.buffer_rows)), count(one.staged), whole(one.block_contexts || null),
    `${bytes(one.log_bytes)} of ${bytes(one.log_bytes_limit)}${one.spool_bytes ? ` + ${bytes(one.spool_bytes)} on disk` : ""}`]);
  const producers = status.producers.map((one) => [one.name, one.units.join(", ") || NONE,
    one.heard_s_ago === null ? NONE : `${one.heard_s_ago.toFixed(1)} s ago`]);
  return [section("Stream",
    table(["lane", "rows/s", "next block", "reservoir", "staged", "contexts", "log"], lanes),
    producers.length > 0 && table(["producer", "units", "heard"], producers, { words: [0, 1, 2] }),
    status.units_set_aside.map((one) => h("p", { class: "bad" }, `unit ${one.unit} was set aside: ${one.error}`)))];
}

function ledger(one) {
  if (!one?.lanes) return [];
  const names = ["pushed", "staged", "resident", "emitted", "surplus"];
  const lanes = one.lanes.map((lane, at) => [`lane-${at}`, whole(lane.announced),
    ...names.map((name) => whole(lane.counters[name]))]);
  const trainers = one.trainers.map((row) => [row.name, whole(row.read), whole(row.gap), whole(row.below_cursor),
    whole(row.cursor), whole(row.lag_blocks), whole(row.lag_rows)]);
  return [section("Ledger",
    one.imbalances.length ? [h("p", { class: "bad" }, "The ledger does not balance."),
      h("ul", null, one.imbalances.map((text) => h("li", null, text)))]
      : h("p", null, h("span", { class: "good" }, "The ledger balances."), " Every row is in exactly one place."),
    table(["rows", "leased", "≥ pushed", "= staged", "+ resident", "+ emitted", "+ surplus"], lanes),
    table(["trainer", "read", "+ passed over", "= in its blocks", "blocks read", "blocks to read", "rows to read"], trainers))];
}

const FIRST = 30;

function events(found) {
  if (!found.length) return [];
  const lines = (some) => table(["time (UTC)", "kind", "what happened"],
    some.map((one) => [moment(one.time_ms), h("code", null, one.kind), one.message]), { words: [0, 1, 2] });
  return [h("section", { class: "events" }, h("h2", null, "Events"), lines(found.slice(0, FIRST)),
    found.length > FIRST && h("details", null, h("summary", null, `${found.length - FIRST} earlier`), lines(found.slice(FIRST))))];
}

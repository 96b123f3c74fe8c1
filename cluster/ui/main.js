// The page: which view the address asks for, keys, and what stands in the bar.

import { catalogView } from "headrace/catalog";
import { h, show } from "headrace/dom";
import { keysOf, helpDialog } from "headrace/keys";
import { latentView } from "headrace/latent";
import { ownTextView } from "headrace/own_text";
import { rateView } from "headrace/rate";
import { here } from "headrace/route";
import { runView } from "headrace/run";
import { runsView } from "headrace/runs";
import { steerView } from "headrace/steer";
import * as source from "headrace/source";

const main = document.getElementById("main");
let current = { stop: null, keys: {} };
let turn = 0;

function viewOf({ parts }) {
  if (parts.length === 0) return runsView;
  if (parts.length === 1) return runView;
  if (parts.length === 2) return catalogView;
  if (parts[2] === "text") return ownTextView;
  if (parts.length === 3) return latentView;
  return { steer: steerView, rate: rateView }[parts[3]];
}

const ASKING = [ownTextView, steerView, rateView];

async function draw() {
  const mine = ++turn, place = here(), view = viewOf(place);
  document.body.classList.add("busy");
  try {
    if (view && source.isExport && ASKING.includes(view)) throw new Error("an export shows what was found; own text, steering and rating need the model: headrace ui");
    if (!view) throw new Error(`there is nothing at ${location.hash}`);
    const next = await view(place);
    if (mine !== turn) return next.stop?.();
    replace(next);
  } catch (error) {
    if (mine === turn) replace({ title: "Headrace", trail: [], node: h("p", { class: "bad" }, error.message) });
  } finally {
    if (mine === turn) document.body.classList.remove("busy");
  }
}

function replace(next) {
  current.stop?.();
  current = next;
  document.title = next.title === "Runs" ? "Headrace" : `${next.title} — Headrace`;
  show(document.getElementById("trail"), next.trail.map(([name, to]) => [h("span", { class: "soft" }, "/"), h("a", { href: to }, name)]));
  show(main, next.node);
  next.ready?.();
  scrollTo(0, 0);
}

addEventListener("hashchange", draw);
addEventListener("keydown", (event) => keysOf(event, current.keys || {}));
document.getElementById("bar-end").append(
  h("button", { type: "button", class: "quiet", id: "help", title: "keys (?)", onclick: () => helpDialog(current.keys || {}) }, "?"));
draw();

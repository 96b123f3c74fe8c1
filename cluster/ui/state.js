// How a state and a share of something done look.

import { h } from "headrace/dom";

const KINDS = {
  running: "good", finished: "good", starting: "busy", draining: "busy", queued: "busy",
  degraded: "warn", stopped: "warn", detached: "warn", failed: "bad", "driver lost": "bad", damaged: "bad",
};

export const chip = (state) => h("span", { class: `chip ${KINDS[state] || ""}` }, state);
export const swatch = (one) => h("span", { class: "swatch", style: { background: one.colour } });
export const meter = (share) =>
  h("div", { class: "meter", role: "progressbar", "aria-valuenow": Math.round(100 * share) },
    h("div", { style: { width: `${100 * share}%` } }));

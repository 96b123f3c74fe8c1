// Small charts of a latent, drawn by hand: bars over ranges, and lines.

import { h, s } from "headrace/dom";
import { short, whole } from "headrace/numbers";

const WIDTH = 340, HEIGHT = 130, LEFT = 40, RIGHT = 8, TOP = 8, BOTTOM = 24;
const across = (share) => LEFT + share * (WIDTH - LEFT - RIGHT);
const up = (share) => TOP + (1 - share) * (HEIGHT - TOP - BOTTOM);

const frame = (title, ...parts) =>
  s("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title }, ...parts);
const label = (x, y, words, anchor) => s("text", { x, y, "text-anchor": anchor }, words);
const rule = (y) => s("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y, class: "rule" });

// Counts over ranges of activation that are half an octave each; both axes are logarithmic.
export function histogram({ edges, counts }) {
  if (!counts.length) return h("p", { class: "note" }, "It never fired.");
  const top = Math.ceil(Math.log10(Math.max(...counts, 1)) + 1e-9) || 1;
  const bars = counts.map((count, at) => {
    const x = across(at / counts.length), height = count ? Math.max(0.02, Math.log10(count + 1) / Math.log10(10 ** top + 1)) : 0;
    return s("rect", { x: x + 0.5, width: Math.max(1, across(1 / counts.length) - LEFT - 1), y: up(height), height: up(0) - up(height) },
      s("title", null, `${short(edges[at])} to ${short(edges[at + 1])}: ${whole(count)} tokens`));
  });
  const lines = Array.from({ length: top + 1 }, (_, power) => {
    const y = up(Math.log10(10 ** power + (power ? 1 : 0)) / Math.log10(10 ** top + 1));
    return [rule(y), label(LEFT - 5, y + 3, whole(10 ** power), "end")];
  });
  const ticks = [0, Math.floor(counts.length / 2), counts.length].map((at) =>
    label(across(at / counts.length), HEIGHT - 8, short(edges[at]), at === 0 ? "start" : at === counts.length ? "end" : "middle"));
  return frame("tokens by activation", lines, bars, ticks);
}

// series: [{name, points: [[x, y]…], colour}]; y from 0 or the least.
export function lines(title, series, { xName = "", yMax = null } = {}) {
  const known = series.map((one) => ({ ...one, points: one.points.filter(([, y]) => y !== null && y !== undefined) }));
  const all = known.flatMap((one) => one.points);
  if (!all.length) return null;
  const [xs, ys] = [all.map(([x]) => x), all.map(([, y]) => y)];
  const [x0, x1, y0] = [Math.min(...xs), Math.max(...xs), Math.min(0, ...ys)];
  const y1 = yMax ?? (Math.max(...ys) || 1);
  const place = ([x, y]) => [across(x1 > x0 ? (x - x0) / (x1 - x0) : 0.5), up((y - y0) / (y1 - y0 || 1))];
  const drawn = known.map((one) => [
    s("polyline", { points: one.points.map((point) => place(point).join(",")).join(" "), stroke: one.colour, fill: "none", "stroke-width": 1.8 }),
    one.points.map((point) => s("circle", { cx: place(point)[0], cy: place(point)[1], r: 3, fill: one.colour },
      s("title", null, `${one.name}: ${short(point[1])} at ${short(point[0])}`)))]);
  return h("figure", { class: "small" }, h("h3", null, title),
    frame(title, [0, 0.5, 1].map((share) => [rule(up(share)), label(LEFT - 5, up(share) + 3, short(y0 + share * (y1 - y0)), "end")]), drawn,
      [x0, x1].map((x, at) => label(across(at), HEIGHT - 8, short(x), at ? "end" : "start")),
      label(across(0.5), HEIGHT - 8, xName, "middle")),
    known.length > 1 && h("p", { class: "note" }, known.map((one) =>
      [h("span", { class: "swatch", style: { background: one.colour } }), one.name, " "])));
}

// Where the page's facts come from when there is no server: scripts beside it, each of which hands over one value.

import { script } from "headrace/scripts";

export const isExport = true;

const GROUP = 16;
const values = new Map();
const keyOf = (parts) => parts.map(encodeURIComponent).join("/");
window.headrace = { put: (parts, value) => values.set(keyOf(parts), value) };

// A file's name is written as in an address, so its own address is written so twice.
async function value(...parts) {
  const key = keyOf(parts.map(String));
  if (!values.has(key)) await script(`data/${key.split("/").map(encodeURIComponent).join("/")}.js`);
  return values.get(key);
}

export const runs = () => value("runs");
export const run = (name) => value("run", name);
export const plots = (name) => value("plots", name);
export const plotly = () => script("plotly.min.js").then(() => window.Plotly);
export const saes = (name) => value("saes", name);

export async function latent(name, sae, number) {
  const size = (await saes(name)).find((one) => one.trainer === sae)?.num_latents;
  if (!(number >= 0 && number < size)) throw new Error(size ? `${sae} has latents 0 to ${size - 1}, got ${number}` : `run ${name} has no features of an SAE named ${sae}`);
  const found = (await value("latents", name, sae, Math.floor(number / GROUP)))[number];
  const words = await value("vocabulary", name);
  return { ...found, groups: found.groups.map((group) => ({ ...group, contexts: group.contexts.map((one) => whole(one, words)) })) };
}

// A context holds ids, and [place, activation] where that is not 0.
function whole(context, words) {
  const acts = context.ids.map(() => 0);
  for (const [place, act] of context.acts) acts[place] = act;
  return { ...context, acts, tokens: context.ids.map((id) => words[id] ?? `#${id}`) };
}

export async function random(name, sae) {
  const { columns } = await value("catalog", name, sae);
  const alive = columns.dead.flatMap((dead, at) => (dead ? [] : [at]));
  return alive[Math.floor(Math.random() * alive.length)];
}

// As cluster/catalog_query.py does it, in the same order.
export async function catalog(name, sae, query) {
  const all = await value("catalog", name, sae);
  const places = sorted(all, kept(all, query), query);
  const offset = Number(query.offset || 0);
  return { num_latents: all.num_latents, matching: places.length, tags: all.tags,
    rows: places.slice(offset, offset + Number(query.count || 50)).map((at) => row(all, at)) };
}

const NOTHING = { label: "", tags: [], explanation: "" };
const FILTERS = ["density", "max_act", "fvu_share", "score"];

function row(all, at) {
  const numbers = Object.fromEntries(Object.entries(all.columns).map(([name, column]) => [name, column[at]]));
  return { latent: at, ...numbers, promoted: all.promoted[at].slice(0, all.shown_tokens), ...(all.said[at] || NOTHING) };
}

function kept(all, query) {
  const text = (query.text || "").toLowerCase();
  const bounds = FILTERS.flatMap((name) => [[name, query[`${name}_min`], 1], [name, query[`${name}_max`], -1]])
    .filter(([, bound]) => bound !== undefined && bound !== "");
  const fits = (at) =>
    (!query.state || all.columns.dead[at] === (query.state === "dead"))
    && (!query.tag || (all.said[at]?.tags || []).some((tag) => query.tag === "*" || tag === query.tag))
    && bounds.every(([name, bound, sign]) => all.columns[name][at] !== null && sign * all.columns[name][at] >= sign * Number(bound))
    && (!text || all.promoted[at].join("\n").toLowerCase().includes(text) || (all.words[at] || "").includes(text));
  return Array.from({ length: all.num_latents }, (_, at) => at).filter(fits);
}

function sorted(all, places, query) {
  const sort = query.sort || "latent", sign = query.descending === "true" ? -1 : 1;
  if (sort === "latent") return sign < 0 ? places.reverse() : places;
  const of = (at) => (sort === "label" ? all.said[at] && (all.said[at].label || all.said[at].tags.length) ? all.said[at].label.toLowerCase() : null : all.columns[sort][at]);
  return places.sort((one, other) => {
    const [a, b] = [of(one), of(other)];
    if (a === null || b === null) return (a === null) - (b === null) || one - other;
    return a < b ? -sign : a > b ? sign : one - other;
  });
}

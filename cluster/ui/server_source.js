// Where the page's facts come from: a server, beside which the model and the SAEs can be put to work.

import { script } from "headrace/scripts";

export const isExport = false;

const at = (...parts) => "/api/" + parts.map(encodeURIComponent).join("/");

async function get(path, query) {
  const wanted = new URLSearchParams(Object.entries(query || {}).filter(([, value]) => value !== "" && value != null));
  return answered(await fetch(wanted.size ? `${path}?${wanted}` : path));
}

const post = async (path, body) => answered(await sent(path, body));

const sent = (path, body, signal) =>
  fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });

async function answered(response) {
  const found = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(found.error || `the server answers ${response.status}`);
  return found;
}

export const runs = () => get(at("runs"));
export const run = (name) => get(at("runs", name));
export const plots = (name) => get(at("runs", name, "plots"));
export const plotly = () => script("/assets/plotly.min.js").then(() => window.Plotly);

export const saes = (run) => get(at("runs", run, "features"));
export const catalog = (run, sae, query) => get(at("runs", run, "features", sae, "catalog"), query);
export const latent = (run, sae, number) => get(at("runs", run, "features", sae, "latents", number));
export const random = async (run, sae) => (await get(at("runs", run, "features", sae, "random"))).latent;
export const label = (run, sae, number, said) => post(at("runs", run, "features", sae, "latents", number, "labels"), said);
export const text = (run, sae, words) => post(at("runs", run, "features", sae, "text"), { text: words });
export const effects = (run, sae, number, ids, position) =>
  post(at("runs", run, "features", sae, "latents", number, "effects"), { ids, position });
export const doses = (run, sae, wanted) => post(at("runs", run, "features", sae, "doses"), wanted);

// Each line as it comes; stops asking when `signal` says so.
export async function* steer(run, sae, wanted, signal) {
  const response = await sent(at("runs", run, "features", sae, "steer"), wanted, signal);
  if (!response.ok) await answered(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}

export const rating = (run, sae, number, explanation) =>
  get(at("runs", run, "features", sae, "latents", number, "rating"), { explanation });
export const rate = (run, sae, number, ratings) => post(at("runs", run, "features", sae, "latents", number, "rating"), ratings);

// Steering: what the model writes with some latents turned, beside what it writes by itself with the same chance.

import { h, show, section, table } from "headrace/dom";
import { lines } from "headrace/charts";
import { decimals, short } from "headrace/numbers";
import { link } from "headrace/route";
import { chipOf, heat, joined } from "headrace/tokens";
import * as source from "headrace/source";

const MODES = [["add", "add"], ["set", "set"], ["set_if_active", "set where active"], ["scale", "scale"], ["ablate", "ablate"]];
const WHERE = [["both", "prompt and new tokens"], ["prompt", "prompt"], ["generated", "new tokens"]];
const UNITS = [["max", "of its maximum"], ["absolute", "of activation"]];

export async function steerView({ parts: [run, sae, number] }) {
  const one = await source.latent(run, sae, Number(number));
  const panel = new Panel(one);
  return {
    title: `Steer ${number} of ${sae}`,
    trail: [[run, link(run)], [sae, link(run, sae)], [number, link(run, sae, number)], ["steer", link(run, sae, number, "steer")]],
    node: h("div", null, h("h1", null, `Steer with ${sae} · ${number}`), about(one), panel.node),
    keys: { g: ["write", () => panel.write()], Escape: ["stop writing", () => panel.stop()], u: ["the latent", () => (location.hash = link(run, sae, number))] },
    stop: () => panel.stop(),
  };
}

const about = (one) => h("p", { class: "lead" }, one.label ? h("b", null, one.label.text, " ") : null,
  one.promoted.length > 0 && ["promotes ", one.promoted.slice(0, 6).map(({ token }) => chipOf(token))], ` · maximum ${short(one.numbers.max_act)}`);

class Panel {
  constructor(one) {
    this.one = one;
    this.turns = h("div", { class: "turns" }, this.turn(one.latent));
    this.prompt = h("textarea", { id: "prompt", rows: 3, placeholder: "what the model goes on from" }, "");
    this.prompt.value = sessionStorage.getItem(`prompt ${one.run}`) || firstWords(one);
    this.tokens = number("max_new_tokens", 60, "new tokens");
    this.temperature = number("temperature", 0.7, "temperature");
    this.seed = number("seed", 0, "seed");
    this.baseline = h("div", { class: "tokens written breaks" });
    this.steered = h("div", { class: "tokens written breaks" });
    this.curve = h("div");
    this.button = h("button", { type: "button", class: "main", id: "write", onclick: () => this.write() }, "Write");
    this.dose = h("button", { type: "button", id: "doses", onclick: () => this.doses() }, "Dose curve");
    this.node = h("div", { class: "stack" }, this.turns,
      h("div", { class: "row" }, h("button", { type: "button", class: "quiet", onclick: () => this.turns.append(this.turn("")) }, "+ another latent")),
      this.prompt, h("div", { class: "row settings" }, this.tokens.node, this.temperature.node, this.seed.node, this.button, this.dose),
      h("div", { class: "halves beside" }, section("By itself", this.baseline), section("Steered", this.steered)), this.curve);
  }

  turn(latent) {
    const strength = h("input", { name: "strength", type: "number", step: "any", value: 1 });
    const slider = h("input", { type: "range", min: -4, max: 4, step: 0.25, value: 1, "aria-label": "strength", oninput: () => (strength.value = slider.value) });
    strength.addEventListener("input", () => (slider.value = strength.value));
    const line = h("div", { class: "row turn" }, h("label", null, "latent", h("input", { name: "latent", inputmode: "numeric", size: 7, value: latent })),
      select("mode", MODES), slider, strength, select("unit", UNITS), select("on", WHERE),
      h("button", { type: "button", class: "quiet", title: "leave it out", onclick: () => this.turns.childElementCount > 1 && line.remove() }, "×"));
    return line;
  }

  wanted() {
    sessionStorage.setItem(`prompt ${this.one.run}`, this.prompt.value);
    const turns = [...this.turns.children].map((line) => {
      const get = (name) => line.querySelector(`[name=${name}]`).value;
      return { latent: whole(get("latent")), mode: get("mode"), strength: Number(get("strength")), unit: get("unit"), on: get("on") };
    });
    return { turns, prompt: this.prompt.value, max_new_tokens: whole(this.tokens.value()), temperature: this.temperature.value(), seed: whole(this.seed.value()) };
  }

  async write() {
    this.stop();
    this.stopping = new AbortController();
    show(this.baseline);
    const waiting = h("span", { class: "soft" }, "…");
    show(this.steered, waiting);
    try {
      for await (const line of source.steer(this.one.run, this.one.sae, this.wanted(), this.stopping.signal)) this.take(line);
    } catch (error) {
      if (error.name !== "AbortError") this.steered.append(h("p", { class: "bad" }, error.message));
    }
    waiting.remove();
  }

  take(line) {
    if (line.error) throw new Error(line.error);
    if (line.prompt !== undefined) this.before = line.prompt;
    else if (line.part) show(this[line.part], h("span", { class: "soft" }, this.before), line.text);
    else {
      const full = Math.max(1, ...line.kl);
      show(this.steered, h("span", { class: "soft" }, this.before), heat(line.tokens, line.kl, full, { title: (kl) => `KL ${short(kl)} nats` }),
        h("p", { class: "note" }, `KL to the model by itself ${decimals(mean(line.kl), 3)}, surprise to it ${decimals(mean(line.loss), 3)} nats a token; ${mean(line.kl) === null ? "at this strength the model's numbers overflow." : "the warmer a token, the further its prediction was moved."}`));
    }
  }

  async doses() {
    if (this.wanted().turns.some(({ mode }) => mode === "ablate")) return show(this.curve, h("p", { class: "bad" }, "There is no dose of ablate: use scale."));
    this.dose.disabled = true;
    show(this.curve, h("p", { class: "note" }, "the model writes at every dose…"));
    try {
      this.drawDoses(await source.doses(this.one.run, this.one.sae, this.wanted()));
    } catch (error) {
      show(this.curve, h("p", { class: "bad" }, error.message));
    }
    this.dose.disabled = false;
  }

  drawDoses({ doses, targets }) {
    const along = (name) => doses.map((one) => [one.strength, one[name]]);
    show(this.curve, h("h2", null, "Dose and response"),
      h("p", { class: "note" }, "A dose multiplies every strength above. The tokens that the latent stands for: ", targets.map(chipOf)),
      h("div", { class: "doses" },
        lines("those tokens", [{ name: "probability", points: along("target_probability"), colour: "var(--accent)" }, { name: "share written", points: along("target_share"), colour: "rgb(var(--warm))" }], { xName: "dose" }),
        lines("KL to the model by itself, nats a token", [{ name: "KL", points: along("kl"), colour: "var(--accent)" }], { xName: "dose" }),
        lines("surprise to the model by itself, nats a token", [{ name: "loss", points: along("loss"), colour: "var(--accent)" }], { xName: "dose" })),
      table(["dose", "KL", "tokens", "what it writes"], doses.map((one) => [short(one.strength), decimals(one.kl, 3), decimals(one.target_share, 3), h("span", { class: "judged" }, one.written[0])]), { words: [3] }));
  }

  stop() {
    this.stopping?.abort();
  }
}

const whole = (text) => (text === "" || !Number.isInteger(Number(text)) ? NaN : Number(text));
const mean = (values) => (values.some((one) => one === null) ? null : values.reduce((sum, one) => sum + one, 0) / Math.max(1, values.length));
const select = (name, options) => h("select", { name, "aria-label": name }, options.map(([value, words]) => h("option", { value }, words)));

function number(name, value, words) {
  const field = h("input", { name, type: "number", step: "any", value });
  return { node: h("label", null, words, field), value: () => Number(field.value) };
}

// The beginning of a text in which the latent fires.
function firstWords(one) {
  const context = one.groups.find(({ name }) => name === "random")?.contexts[0];
  return context ? joined(context.tokens.slice(0, Math.max(4, context.at))).replace(/^<\|.*?\|>/, "").trimStart() : "";
}

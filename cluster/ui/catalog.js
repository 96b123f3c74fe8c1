// All latents of an SAE: filtered, sorted, a page at a time; what is asked for stands in the address.

import { h, show, table } from "headrace/dom";
import { NONE, count, decimals, percent, plural, short, whole } from "headrace/numbers";
import { go, link, stay } from "headrace/route";
import { remember } from "headrace/order";
import { chipOf } from "headrace/tokens";
import * as source from "headrace/source";

const PAGE = 50;
// "5%" and "0.05" as 0.05; NaN for what is neither
const ofPercent = (text) => (text.trim().endsWith("%") ? Number(text.trim().slice(0, -1) || NaN) / 100 : Number(text));
const BOUNDS = [["density_min", "density ≥"], ["density_max", "density ≤"], ["max_act_min", "max ≥"],
  ["fvu_share_min", "FVU share ≥"], ["score_min", "score ≥"]];
const COLUMNS = [["latent", "latent"], ["density", "density"], ["max_act", "max"], ["mean_act", "mean"],
  ["fvu_share", "FVU share"], ["score", "score"], ["label", "label or explanation"]];
const SHARE = ["share", "on words"];

export async function catalogView({ parts: [run, sae], query }) {
  if (source.isExport && query.has("text_in")) throw new Error("an export shows what was found; to search in contexts needs the model's tokenizer: headrace ui");
  const saes = await source.saes(run);
  const one = saes.find((other) => other.trainer === sae);
  if (!one) throw new Error(`there are no features of ${sae} in run ${run}; collect them with: headrace features collect ${run}`);
  const view = new Catalog(run, one, Object.fromEntries(query));
  await view.refresh();
  const node = h("div", null, tabs(run, saes, sae), facts(one), view.form, view.result);
  return { title: `${sae} in ${run}`, trail: [[run, link(run)], [sae, link(run, sae)]], node, keys: view.keys() };
}

export const tabs = (run, saes, shown, ...rest) =>
  h("nav", { class: "tabs" }, saes.map((one) => h("a", { href: link(run, one.trainer, ...rest),
    "aria-current": one.trainer === shown ? "page" : null }, one.trainer)));

function facts(one) {
  const parts = [`${whole(one.num_latents)} latents`, one.architecture, `${one.inputs.join(", ")} of ${one.model}`,
    `${count(one.tokens)} tokens looked at`];
  if (one.dead) parts.push(`${plural(one.dead, "latent")} never fired`);
  if (one.checkpoint !== null) parts.push(`as of checkpoint ${whole(one.checkpoint)}`);
  return h("p", { class: "lead", title: one.source }, parts.join(" · "));
}

class Catalog {
  constructor(run, sae, query) {
    this.run = run;
    this.sae = sae;
    this.query = query;
    this.result = h("div");
    // Whoever looks for words in contexts goes through all of them: not at every letter.
    this.search = h("input", { type: "search", id: "search", value: query.text || "",
      oninput: () => (!this.inContexts || !this.search.value) && this.soon({ text: this.search.value }),
      onchange: () => this.inContexts && this.change({ text: this.search.value }) });
    this.hint();
    this.form = h("form", { class: "filters", onsubmit: (event) => event.preventDefault() }, this.search,
      !source.isExport && this.choice("text_in", [["", "in labels and tokens"], ["contexts", "in contexts"]], (where) => this.sortFor(where)),
      this.choice("state", [["", "all"], ["alive", "alive"], ["dead", "never fired"]]),
      this.choice("tag", [["", "any tag or none"], ["*", "with a tag"], ...Object.keys(sae.tags).map((tag) => [tag, tag])]),
      BOUNDS.map(([name, words]) => this.bound(name, words)),
      h("button", { type: "button", onclick: () => this.random() }, "Random"),
      !source.isExport && h("a", { class: "button", href: link(run, sae.trainer, "text") }, "Own text"));
  }

  get inContexts() {
    return this.query.text_in === "contexts";
  }

  hint() {
    this.search.placeholder = this.inContexts ? "words that a latent fires on, then Enter  ( / )" : "words in labels, explanations, promoted tokens  ( / )";
  }

  sortFor(where) {
    if (where) return { text: this.search.value, sort: "share", descending: "true" };
    return { text: this.search.value, ...this.query.sort === "share" && { sort: "", descending: "" } };
  }

  choice(name, options, also = () => ({})) {
    const node = h("select", { name, onchange: () => this.change({ [name]: node.value, ...also(node.value) }) },
      options.map(([value, words]) => h("option", { value, selected: value === (this.query[name] || "") }, words)));
    return node;
  }

  bound(name, words) {
    const example = /^(density|fvu_share)/.test(name) ? "5%" : "any";
    const node = h("input", { name, size: 8, value: this.query[name] || "", "aria-label": words, placeholder: example,
      oninput: () => {
        const bound = node.value === "" ? "" : ofPercent(node.value);
        node.classList.toggle("wrong", Number.isNaN(bound));
        if (!Number.isNaN(bound)) this.soon({ [name]: String(bound) });
      } });
    return h("label", null, words, node);
  }

  soon(changes) {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.change(changes), 200);
  }

  async change(changes) {
    this.query = { ...this.query, offset: "", ...changes };
    this.hint();
    stay(this.run, this.sae.trainer, this.query);
    await this.refresh();
  }

  async refresh() {
    const mine = (this.turn = (this.turn || 0) + 1);
    if (this.inContexts) document.body.classList.add("busy");
    try {
      const found = await source.catalog(this.run, this.sae.trainer, { count: PAGE, ...this.query });
      if (mine === this.turn) this.draw(found);
    } catch (error) {
      if (mine === this.turn) show(this.result, h("p", { class: "bad" }, error.message));
    }
    if (mine === this.turn) document.body.classList.remove("busy");
  }

  draw(found) {
    const offset = Number(this.query.offset || 0);
    this.last = { offset, matching: found.matching };
    remember(this.run, this.sae.trainer, found.rows.map((one) => one.latent));
    const searched = this.inContexts && Boolean(this.query.text?.trim());
    const columns = searched ? [COLUMNS[0], SHARE, ...COLUMNS.slice(1)] : COLUMNS;
    const rows = found.rows.map((one) => [
      h("a", { href: link(this.run, this.sae.trainer, one.latent) }, one.latent),
      ...searched ? [h("span", { title: plural(one.contexts, "context") }, percent(one.share))] : [],
      one.dead ? h("span", { class: "chip warn" }, "never fired") : percent(one.density), short(one.max_act || null), short(one.mean_act),
      percent(one.fvu_share), decimals(one.score, 2), said(one), one.promoted.map(chipOf)]);
    const head = [...columns.map(([name, words]) => this.heading(name, words)), "promotes"];
    show(this.result,
      h("p", { class: "note", id: "matching" }, found.matching === found.num_latents ? `all ${whole(found.num_latents)}`
        : `${whole(found.matching)} of ${whole(found.num_latents)}`,
      searched && " fire on these words in two or more of their strongest contexts"),
      found.rows.length ? table(head, rows, { words: [0, columns.length - 1, columns.length] }) : h("p", null, "No latent is so."), this.pages(offset, found.matching));
  }

  heading(name, words) {
    const sort = this.query.sort || "latent", isSorted = sort === name, down = this.query.descending === "true";
    const next = isSorted ? String(!down) : String(!["latent", "label"].includes(name));
    return h("button", { type: "button", class: "quiet sort", "aria-label": `sort by ${words}`, title: name === SHARE[0] ? "how much of the activation in the strongest contexts falls on the words" : null,
      onclick: () => this.change({ sort: name, descending: next }) }, words, isSorted ? (down ? " ↓" : " ↑") : "");
  }

  pages(offset, matching) {
    if (matching <= PAGE) return null;
    return h("p", { class: "pages" },
      h("button", { type: "button", disabled: offset === 0, onclick: () => this.page(-1) }, "←"),
      ` ${whole(offset + 1)} to ${whole(Math.min(matching, offset + PAGE))} `,
      h("button", { type: "button", disabled: offset + PAGE >= matching, onclick: () => this.page(1) }, "→"));
  }

  page(step) {
    const { offset, matching } = this.last, next = offset + step * PAGE;
    if (next >= 0 && next < matching) this.change({ offset: String(next || "") });
  }

  random = async () => go(this.run, this.sae.trainer, await source.random(this.run, this.sae.trainer));

  keys() {
    return {
      "/": ["search", () => this.search.focus()],
      r: ["a random latent", this.random],
      n: ["the next page", () => this.page(1)],
      p: ["the page before", () => this.page(-1)],
    };
  }
}

export function said(one) {
  return h("span", null, one.label && h("b", null, one.label, " "), (one.tags || []).map((tag) => [h("span", { class: "chip tag" }, tag), " "]),
    !one.label && one.explanation ? h("span", { class: "soft" }, one.explanation) : null,
    !one.label && !one.explanation && !(one.tags || []).length ? h("span", { class: "soft" }, NONE) : null);
}

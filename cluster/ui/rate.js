// Rating an explanation by hand, one passage at a time, without knowing how strong the latent is there.

import { h, say, show } from "headrace/dom";
import { decimals, plural } from "headrace/numbers";
import { link } from "headrace/route";
import { spelt } from "headrace/tokens";
import * as source from "headrace/source";

export async function rateView({ parts: [run, sae, number], query }) {
  const asked = await source.rating(run, sae, number, query.get("explanation"));
  const rater = new Rater(run, sae, number, query.get("explanation"), asked);
  const choices = Object.fromEntries([0, 1, 2, 3].map((rating) => [rating, [asked.meanings[rating], () => rater.rate(rating)]]));
  return { title: `Rate ${number} of ${sae}`, node: rater.node, keys: { ...choices, b: ["back one passage", () => rater.back()] },
    trail: [[run, link(run)], [sae, link(run, sae)], [number, link(run, sae, number)], ["rate", location.hash]] };
}

class Rater {
  constructor(run, sae, number, explanation, asked) {
    Object.assign(this, { run, sae, number, explanation, asked, at: 0, ratings: {} });
    this.place = h("div");
    this.node = h("div", { class: "rater" }, h("h1", null, "Does it say what the marked text is?"),
      h("p", { class: "claim" }, asked.explanation), this.place);
    this.draw();
  }

  draw() {
    const { passages, meanings } = this.asked;
    if (this.at >= passages.length) return this.end();
    show(this.place, h("p", { class: "note" }, `passage ${this.at + 1} of ${passages.length}`),
      h("div", { class: "tokens card passage breaks" }, marked(passages[this.at].text)),
      h("div", { class: "stack" }, meanings.map((words, rating) => h("button", { type: "button", class: "rating", onclick: () => this.rate(rating) }, h("kbd", null, rating), " ", words))));
  }

  rate(rating) {
    if (this.at >= this.asked.passages.length) return;
    this.ratings[this.asked.passages[this.at].key] = rating;
    this.at += 1;
    this.draw();
  }

  back() {
    this.at = Math.max(0, this.at - 1);
    this.draw();
  }

  end() {
    const author = h("input", { id: "rater", placeholder: "your name", value: localStorage.getItem("author") || "" });
    const save = async () => {
      if (!author.value.trim()) {
        say("give your name first: ratings of several people stay apart by it", true);
        return author.focus();
      }
      localStorage.setItem("author", author.value);
      try {
        this.saved(await source.rate(this.run, this.sae, this.number, { explanation: this.explanation, ratings: this.ratings, author: author.value }));
      } catch (error) {
        say(error.message, true);
      }
    };
    show(this.place, h("p", null, `${plural(this.asked.passages.length, "passage")} rated.`),
      h("div", { class: "row" }, author, h("button", { type: "button", class: "main", id: "save-rating", onclick: save }, "Save")));
  }

  saved(found) {
    show(this.place, h("p", { id: "rated" }, h("b", null, `mean rating ${decimals(found.value, 2)}`), found.common
      ? ` · agreement with ${found.with}: κ ${decimals(found.agreement, 2)} over ${plural(found.common, "passage")}` : " · no judge has rated these passages yet"),
    h("p", null, h("a", { href: link(this.run, this.sae, this.number) }, "back to the latent")));
  }
}

const marked = (text) => text.split(/(⟦.*?⟧)/s).map((part) => (part.startsWith("⟦") && part.endsWith("⟧") ? h("mark", null, spelt(part.slice(1, -1))) : spelt(part)));

// A run's figures, drawn by plotly.js as the report has them; a key above them hides an SAE in all.

import { h, show } from "headrace/dom";
import { swatch } from "headrace/state";
import * as source from "headrace/source";

const CONFIG = { displaylogo: false, responsive: true, plotlyServerURL: "",
  modeBarButtonsToRemove: ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d"] };

export class Figures {
  constructor() {
    this.keys = h("div", { class: "keys", role: "group", "aria-label": "SAEs to show" });
    this.grid = h("div", { class: "plots" });
    this.node = h("section", { hidden: true }, h("h2", null, "Curves"), this.keys, this.grid);
    this.hidden = new Set();
    this.drawn = new Map();
    this.busy = false;
  }

  async refresh(name, saes) {
    if (this.busy) return;
    this.busy = true;
    try {
      const [plotly, found] = await Promise.all([source.plotly(), source.plots(name)]);
      this.node.hidden = found.length === 0;
      this.plotly = plotly;
      if (this.keys.childElementCount !== saes.length) show(this.keys, saes.map((one) => this.key(one)));
      for (const one of found) await this.draw(one);
    } finally {
      this.busy = false;
    }
  }

  async draw(one) {
    if (!this.drawn.has(one.id)) {
      const place = h("div", { id: one.id, class: "plot" });
      this.drawn.set(one.id, place);
      this.grid.append(h("figure", null, h("h3", null, one.title), h("p", { class: "note" }, one.note), place));
    }
    const place = this.drawn.get(one.id);
    const traces = one.figure.data.map((trace) => ({ ...trace, visible: !this.hidden.has(trace.meta || trace.name) }));
    await this.plotly.react(place, traces, { ...one.figure.layout, uirevision: "kept" }, CONFIG);
  }

  key(sae) {
    const button = h("button", { type: "button", value: sae.name, "aria-pressed": "true" }, swatch(sae), sae.name);
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      this.hidden[shown ? "delete" : "add"](sae.name);
      for (const place of this.drawn.values()) {
        const traces = place.data.flatMap((trace, at) => ((trace.meta || trace.name) === sae.name ? [at] : []));
        if (traces.length) this.plotly.restyle(place, { visible: shown }, traces);
      }
    });
    return button;
  }

  fail(error) {
    this.node.hidden = false;
    show(this.grid, h("p", { class: "bad" }, error.message));
    this.drawn.clear();
  }
}

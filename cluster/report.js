// A key above the plots hides or shows its SAE in all of them.
const plots = [...document.querySelectorAll(".js-plotly-plot")];
for (const key of document.querySelectorAll(".keys button")) {
  key.addEventListener("click", () => {
    const shown = key.getAttribute("aria-pressed") !== "true";
    key.setAttribute("aria-pressed", String(shown));
    for (const plot of plots) {
      const traces = plot.data.flatMap((trace, at) => ((trace.meta || trace.name) === key.value ? [at] : []));
      if (traces.length) Plotly.restyle(plot, { visible: shown }, traces);
    }
  });
}
// Plots were drawn while the page was still being laid out.
plots.forEach((plot) => Plotly.Plots.resize(plot));
// Two of them stand side by side on A4 and on Letter. Plots.resize waits 100 ms, which is too late for the printer.
const draw = (size) => plots.forEach((plot) => Plotly.relayout(plot, size));
addEventListener("beforeprint", () => draw({ width: 330, height: 270 }));
addEventListener("afterprint", () => draw({ autosize: true, width: null, height: 340 }));

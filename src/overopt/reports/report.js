// Draws every figure of the page for the current colour scheme and width, and again when these change or it prints.
(() => {
  "use strict";
  const LEGEND_ENTRY_PX = 112;  // "128 (1.05M)" with its symbol and gap
  const AXIS_PX = 60;
  const configs = JSON.parse(document.getElementById("chart-configs").textContent);
  const charts = [...document.querySelectorAll("figure.chart")].map((figure) => ({
    name: figure.id,
    plot: figure.querySelector(".plot"),
    spec: JSON.parse(figure.querySelector("script").textContent),
    drawn: null,
    columns: 0,
  }));
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  const currentScheme = () => (prefersDark.matches ? "dark" : "light");

  const legendColumns = (chart) => Math.max(1, Math.floor((chart.plot.clientWidth - AXIS_PX) / LEGEND_ENTRY_PX));

  async function draw(chart, scheme) {
    if (chart.drawn) chart.drawn.finalize();
    chart.drawn = null;
    chart.columns = legendColumns(chart);
    const config = { ...configs[scheme], legend: { ...configs[scheme].legend, columns: chart.columns } };
    try {
      chart.drawn = await window.vegaEmbed(chart.plot, chart.spec, {
        renderer: "svg",
        config,
        actions: { export: { svg: true, png: true }, source: false, compiled: false, editor: false },
        downloadFileName: chart.name,
        tooltip: { theme: scheme },
        scaleFactor: 2,
      });
    } catch (error) {
      chart.plot.textContent = "This figure could not be drawn.";
      console.error(chart.name, error);
    }
  }

  let queue = Promise.resolve();
  function drawAll(scheme, needsDrawing = () => true) {
    queue = queue.then(async () => {
      for (const chart of charts.filter(needsDrawing)) await draw(chart, scheme);
    });
  }

  prefersDark.addEventListener("change", () => drawAll(currentScheme()));
  window.addEventListener("beforeprint", () => { if (prefersDark.matches) drawAll("light"); });
  window.addEventListener("afterprint", () => { if (prefersDark.matches) drawAll("dark"); });
  let pause = 0;
  window.addEventListener("resize", () => {  // Vega follows the width; only the rows of the legends need a new drawing
    window.clearTimeout(pause);
    pause = window.setTimeout(() => drawAll(currentScheme(), (chart) => chart.columns !== legendColumns(chart)), 200);
  });
  drawAll(currentScheme());
})();

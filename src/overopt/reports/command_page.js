// Draws the picture of the page as wide as its place, in the colours of the screen, and again when either changes.
(() => {
  "use strict";
  const specs = JSON.parse(document.getElementById("specs").textContent);
  const plot = document.querySelector(".plot");
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  const currentScheme = () => (prefersDark.matches ? "dark" : "light");
  let drawn = null;
  let drawnWidth = 0;

  // Panels below each other have no "container" width in Vega-Lite, so each gets what the axes leave.
  function sized(spec, width) {
    const set = (view) => (typeof view.width === "number" ? { ...view, width } : view);
    const legend = { ...spec.config.legend, labelLimit: width, columns: Math.max(1, Math.floor(width / spec.usermeta.legendEntry)) };
    const views = spec.vconcat ? { ...spec, vconcat: spec.vconcat.map(set) } : set(spec);
    return { ...views, config: { ...spec.config, legend } };
  }

  async function embed(scheme, width) {
    if (drawn) drawn.finalize();
    drawn = await window.vegaEmbed(plot, sized(specs[scheme], width), {
      renderer: "svg",
      actions: { export: { svg: true, png: true }, source: false, compiled: false, editor: false },
      downloadFileName: "overopt",
      tooltip: { theme: scheme },
      scaleFactor: 2,
    });
    return plot.querySelector("svg.marks").viewBox.baseVal.width;
  }

  async function draw(scheme) {
    const room = plot.clientWidth;
    drawnWidth = room;
    try {
      let width = Math.max(120, room - 90);
      for (let attempt = 0; attempt < 3; attempt += 1) {  // labels, and with them the room of the axes, follow the width
        const taken = await embed(scheme, width);
        const next = Math.max(120, Math.floor(width + room - taken));
        if (Math.abs(next - width) < 2) break;
        width = next;
      }
    } catch (error) {
      plot.textContent = "This figure could not be drawn.";
      console.error(error);
    }
  }

  let queue = Promise.resolve();
  const redraw = (scheme) => { queue = queue.then(() => draw(scheme)); };
  prefersDark.addEventListener("change", () => redraw(currentScheme()));
  window.addEventListener("beforeprint", () => { if (prefersDark.matches) redraw("light"); });
  window.addEventListener("afterprint", () => { if (prefersDark.matches) redraw("dark"); });
  let pause = 0;
  window.addEventListener("resize", () => {
    window.clearTimeout(pause);
    pause = window.setTimeout(() => { if (plot.clientWidth !== drawnWidth) redraw(currentScheme()); }, 200);
  });
  redraw(currentScheme());
})();

// Charts: each element with data-chart holds its lines as JSON; the same numbers stand in the page's table.
(() => {
  "use strict";
  const drawn = new Map();
  const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

  function draw(place) {
    const chart = JSON.parse(place.dataset.chart);
    const data = [chart.x];
    const series = [{ label: chart.axis }];
    const bands = [];
    for (const line of chart.lines) {
      const tint = ink(line.tint);
      const points = { show: chart.x.length <= 40, size: 6, fill: tint };
      const told = (_, v) => v === null ? "–" : String(+v.toPrecision(4));
      if (line.high.length) {  // first, so that the line lies above its band
        data.push(line.high, line.low);
        const edge = { stroke: "transparent", points: { show: false }, spanGaps: true, value: told };
        series.push({ ...edge, label: "upper end, 95 %" }, { ...edge, label: "lower end, 95 %" });
        bands.push({ series: [series.length - 2, series.length - 1], fill: ink(line.tint + "-tint") });
      }
      data.push(line.values);
      series.push({ label: line.label, stroke: tint, width: 2, points, spanGaps: true, value: told });
    }
    const axis = { stroke: ink("soft"), grid: { stroke: ink("line"), width: 1 }, ticks: { stroke: ink("line"), width: 1 }, font: "12px system-ui, sans-serif" };
    const top = chart.top;
    const range = (_, low, high) => chart.log ? [low === high ? low - 1 : low, low === high ? high + 1 : high] : [0, top === null ? (high || 1) * 1.08 : top];
    const old = drawn.get(place);
    if (old) old.destroy();
    drawn.set(place, new uPlot({
      width: Math.max(place.clientWidth, 240), height: 220, series, bands, cursor: { y: false },
      scales: { x: { time: false }, y: { range } }, axes: [{ ...axis }, { ...axis, size: 62 }], legend: { live: true },
    }, data, place));
  }
  function all() {
    for (const place of [...drawn.keys()]) if (!place.isConnected) { drawn.get(place).destroy(); drawn.delete(place); }
    for (const place of document.querySelectorAll("[data-chart]")) draw(place);
  }
  all();
  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(all, 150); });
  document.addEventListener("atlas:theme", all);
  document.addEventListener("htmx:afterSettle", all);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
})();

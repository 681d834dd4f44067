// Charts with uPlot, one function each: rebuilt when the form or the theme changes, otherwise given new data.
import uPlot from "/page/vendor/uPlot.esm.js";

const made = new Map();
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function axis(extra = {}) {
  return { stroke: colour("dim"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "11px system-ui", size: 34, ...extra };
}

export function draw(id, key, options, data) {
  const place = document.getElementById(id);
  const old = made.get(id);
  const theme = document.documentElement.dataset.theme;
  if (old && old.key === key + theme) {
    old.chart.setData(data);
    return;
  }
  old?.chart.destroy();
  old?.watch.disconnect();
  const size = () => ({ width: Math.max(place.clientWidth, 120), height: 160 });
  const chart = new uPlot({ ...size(), padding: [8, 18, 0, 0], cursor: { y: false }, ...options() }, data, place);
  const watch = new ResizeObserver(() => chart.setSize(size()));
  watch.observe(place);
  made.set(id, { key: key + theme, chart, watch });
}

const compact = (_, values) => values.map((v) => (v === null ? "" : Math.abs(v) >= 1e4 ? `${v / 1e3}k` : `${+v.toPrecision(4)}`));
const line = (label, name, extra = {}) => ({ label, stroke: colour(name), width: 1.5, points: { show: false }, ...extra });
const dots = (label, name, extra = {}) => ({ label, stroke: colour(name), paths: () => null, points: { show: true, size: 4, width: 1, fill: colour(name) }, ...extra });

const timed = (zone) => ({ tzDate: (s) => uPlot.tzDate(new Date(s * 1e3), zone), scales: { x: { time: true }, y: { range: (_, low, high) => (high === null ? [0, 1] : [Math.min(0, low), high > 0 ? high * 1.05 : 1]) } }, axes: [axis({ size: 26, values: [[86400, "{MM}-{DD}"], [60, "{HH}:{mm}"], [1, "{HH}:{mm}:{ss}"]].map(([step, form]) => [step, form, null, null, null, null, null, null, 1]) }), axis({ size: 52, values: compact })] });

export const curveChart = (id, key, data, measured) => draw(id, `curve${key}${measured}`, () => ({
  scales: { x: { time: false, distr: 3 } },
  axes: [axis({ size: 26, values: compact }), axis({ size: 46, values: compact })],
  series: [{ label: "size" }, line("low", "band", { width: 0 }), line("high", "band", { width: 0 }), line("fit", "blue", { width: 2 }),
    ...Array.from({ length: measured }, (_, i) => dots(i === measured - 1 ? "measured" : "before", i === measured - 1 ? "orange" : "grey", { points: { show: true, size: i === measured - 1 ? 6 : 3, fill: colour(i === measured - 1 ? "orange" : "grey") } }))],
  bands: [{ series: [2, 1], fill: colour("band") }],
  legend: { show: false },
}), data);

export const seriesChart = (id, key, zone, data, labels) => draw(id, `series${key}`, () => ({
  ...timed(zone),
  series: [{ label: "time" }, dots(labels[0], "orange", { points: { show: true, size: 3, fill: colour("orange") } }), line(labels[1], "blue", { spanGaps: true }), line(labels[2], "blue", { spanGaps: true, dash: [5, 4] })],
  legend: { show: false },
}), data);

export const depthChart = (id, key, zone, data) => draw(id, `depth${key}`, () => ({ ...timed(zone), series: [{ label: "time" }, dots("held", "orange", { points: { show: true, size: 3, fill: colour("orange") } })], legend: { show: false } }), data);

export const pathChart = (id, key, zone, data) => draw(id, `path${key}`, () => ({
  ...timed(zone),
  series: [{ label: "time" }, line("executed", "orange", { width: 2.5 }), line("plan", "blue", { width: 2 }), line("TWAP", "grey", { dash: [5, 4] })],
  legend: { live: false },
}), data);

export const planChart = (id, key, zone, data) => draw(id, `plan${key}`, () => ({
  ...timed(zone),
  series: [{ label: "time" }, line("plan", "blue", { paths: uPlot.paths.stepped({ align: 1 }), fill: colour("band") }), line("cap", "grey", { paths: uPlot.paths.stepped({ align: 1 }), dash: [4, 4] }), dots("cap binds", "orange", { points: { show: true, size: 5, fill: colour("orange") } })],
  legend: { live: false },
}), data);

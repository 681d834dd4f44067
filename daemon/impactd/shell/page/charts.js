// Charts with uPlot: rebuilt when the form or the theme changes, otherwise given new data.
import uPlot from "/page/vendor/uPlot.esm.js";

const made = new Map();
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const compact = (v) => (v === null || v === undefined ? "" : Math.abs(v) >= 1e6 ? `${+(v / 1e6).toPrecision(3)}M` : Math.abs(v) >= 1e4 ? `${+(v / 1e3).toPrecision(3)}k` : `${+v.toPrecision(4)}`);

// Prices with as many digits as tell the ticks apart.
function evenly(values) {
  const step = values.length > 1 ? values[1] - values[0] : 1;
  const digits = Math.min(Math.max(Math.ceil(-Math.log10(step) - 1e-9), 0), 8);
  return values.map((v) => v.toFixed(digits));
}

function axis(extra = {}) {
  return { stroke: colour("dim"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "11px system-ui", labelFont: "11px system-ui", size: 34, ...extra };
}

// A series: how it is drawn, and the mark of the same look in the legend.
export const line = (label, name, extra = {}) => ({ label, look: extra.dash ? "dash" : "line", colour: name, width: 1.5, points: { show: false }, ...extra });
export const dots = (label, name, size = 4) => ({ label, look: "dot", colour: name, paths: () => null, points: { show: true, size, width: 1 } });
export const area = (label, name, extra = {}) => ({ label, look: "area", colour: name, width: 1.5, points: { show: false }, filled: true, ...extra });
export const edge = (extra = {}) => ({ label: null, colour: "band", width: 0, points: { show: false }, ...extra });
export const steps = () => uPlot.paths.stepped({ align: 1 });

// The window in which an order may trade, behind every chart over time, and now, above its grid.
function times(marks) {
  return {
    hooks: {
      drawClear: [(u) => {
        const { window } = marks();
        if (!window) return;
        clippedTo(u, ({ top, height }) => {
          u.ctx.fillStyle = colour("panel");
          const [from, to] = window.map((t) => u.valToPos(t, "x", true));
          u.ctx.fillRect(from, top, to - from, height);
        });
      }],
      drawAxes: [(u) => {
        const { now } = marks();
        if (!now) return;
        clippedTo(u, ({ top, height }) => {
          u.ctx.strokeStyle = colour("ink");
          u.ctx.lineWidth = 1.5 * devicePixelRatio;
          u.ctx.setLineDash([]);
          const x = Math.round(u.valToPos(now, "x", true)) + 0.5;
          u.ctx.beginPath();
          u.ctx.moveTo(x, top);
          u.ctx.lineTo(x, top + height);
          u.ctx.stroke();
        });
      }],
    },
  };
}

function clippedTo(u, paint) {
  const { left, top, width, height } = u.bbox;
  u.ctx.save();
  u.ctx.beginPath();
  u.ctx.rect(left, top, width, height);
  u.ctx.clip();
  paint(u.bbox);
  u.ctx.restore();
}

function legend(place, series, more) {
  const list = document.createElement("ul");
  list.className = "legend";
  const shown = series.filter((s) => s.label);
  const values = shown.map((s) => {
    const item = document.createElement("li");
    const mark = document.createElement("i");
    mark.className = `${s.look} ${s.colour}`;
    const value = document.createElement("span");
    value.className = "num";
    item.append(mark, `${s.label} `, value);
    list.append(item);
    return { item, value };
  });
  for (const [look, text] of more) {
    const item = document.createElement("li");
    const mark = document.createElement("i");
    mark.className = look;
    item.append(mark, text);
    list.append(item);
  }
  place.append(list);
  const at = shown.map((s) => series.indexOf(s) + 1);
  return {
    // What is drawn nowhere needs no mark.
    shown: (data) => values.forEach(({ item }, i) => { item.hidden = !data[at[i]].some((v) => v !== null && v !== undefined); }),
    told: (u) => values.forEach(({ value }, i) => { value.textContent = u.cursor.idx === null || u.cursor.idx === undefined ? "" : compact(u.data[at[i]][u.cursor.idx]); }),
  };
}

function remove(id) {
  const old = made.get(id);
  old?.chart.destroy();
  old?.watch.disconnect();
  made.delete(id);
}

// Draw `series` over `data` (the first column is x), or tell that it is `empty`. `form` changes when series or axes do.
export function draw(id, form, { series, unit, data, timed = null, log = false, bands = [], top = null, empty = "Nothing yet." }) {
  const place = document.getElementById(id);
  if (data.slice(1).every((values) => values.every((v) => v === null || v === undefined))) {
    remove(id);
    place.textContent = empty;
    return;
  }
  const key = form + document.documentElement.dataset.theme + devicePixelRatio;
  const old = made.get(id);
  if (old?.key === key) {
    old.state.timed = timed;
    old.state.top = top;
    old.chart.setData(data);
    old.marks.shown(data);
    return;
  }
  remove(id);
  place.replaceChildren();
  const state = { timed, top };
  const canvas = document.createElement("div");
  place.append(canvas);
  const marks = legend(place, series, timed ? [["now", "now"], ...(timed.window ? [["window", "window"]] : [])] : []);
  const size = () => ({ width: Math.max(place.clientWidth, 120), height: 180 });
  const clipped = (low, high) => {
    if (high === null || high === undefined) return [0, 1];
    const most = state.top === null ? high : Math.min(high, state.top);
    return timed?.loose ? [low - 0.05 * (high - low || Math.abs(high) * 1e-4), high + 0.05 * (high - low || Math.abs(high) * 1e-4)] : [Math.min(0, low), most > 0 ? most * 1.05 : 1];
  };
  const options = {
    ...size(),
    padding: [8, 16, 0, 0],
    legend: { show: false },
    cursor: { y: false, ...(timed ? { sync: { key: "time", setSeries: false } } : {}) },
    scales: { x: timed ? { time: true, range: (_, low, high) => state.timed.range ?? (high > low ? [low, high] : [low - 1800, low + 1800]) } : { time: false, distr: log ? 3 : 1 }, y: { range: (_, low, high) => clipped(low, high) } },
    axes: [
      axis(timed ? { size: 26, values: [[86400, "{MM}-{DD}"], [60, "{HH}:{mm}"], [1, "{HH}:{mm}:{ss}"]].map(([step, text]) => [step, text, null, null, null, null, null, null, 1]) } : { size: 24, label: unit[0], labelSize: 14, values: (_, values) => values.map(compact) }),
      axis({ size: 50, label: timed ? unit : unit[1], labelSize: 16, values: (_, values) => (timed?.loose ? evenly(values) : values.map(compact)) }),
    ],
    series: [{}, ...series.map(({ look, colour: name, filled, ...rest }) => ({ ...rest, stroke: colour(name), ...(filled ? { fill: colour("band") } : {}), ...(rest.points?.show ? { points: { ...rest.points, fill: colour(name) } } : {}) }))],
    bands: bands.map((pair) => ({ series: pair, fill: colour("band") })),
    hooks: { setCursor: [marks.told] },
    plugins: timed ? [times(() => state.timed)] : [],
    ...(timed ? { tzDate: (s) => uPlot.tzDate(new Date(s * 1e3), timed.zone) } : {}),
  };
  const chart = new uPlot(options, data, canvas);
  const watch = new ResizeObserver(() => chart.setSize(size()));
  watch.observe(place);
  marks.shown(data);
  made.set(id, { key, chart, watch, state, marks });
}

// Put several series over one ascending axis: each is a list of [x, y]; what has no value there is a gap to span.
export function together(...lists) {
  const xs = [...new Set(lists.flat().map(([x]) => x))].sort((a, b) => a - b);
  return [xs, ...lists.map((points) => { const at = new Map(points); return xs.map((x) => (at.has(x) ? at.get(x) : undefined)); })];
}

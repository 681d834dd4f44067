// One symbol and side: what a trade costs now, and how that compares with the day.
import { bps, figure, impact, impactError, median, price, seconds } from "/page/format.js";
import { dots, draw, edge, line, together } from "/page/charts.js";

const $ = (id) => document.getElementById(id);
const SPANS = { spanGaps: true };

function usual(measured) {
  const last = measured.minute.length - 1;
  if (last < 0) return "";
  const told = [];
  const against = (name, values, form, unit) => {
    const [now, middle] = [values[last], median(values)];
    if (now === null || middle === null || !middle) return;
    const share = now / middle - 1;
    told.push(`${name} ${form(now)}${unit}, ${Math.abs(share) < 0.1 ? "as usual today" : `${figure(100 * Math.abs(share))}% ${share > 0 ? "above" : "below"} today's median`}`);
  };
  told.push(`mid ${price(measured.mid[last])}`);
  against("half-spread", measured.half_spread.map((v, i) => bps(v, measured.mid[i])), (v) => figure(v, 2), " bps");
  against("depth", measured.held_qty, figure, " shares");
  against("volume", measured.volume, figure, " shares in the minute");
  return `${told.join("; ")}.`;
}

export function showMarket(found, state) {
  const s = found[state.side] ?? found.buy ?? found.sell;
  if (!s) return;
  $("market").hidden = false;
  $("market-name").textContent = `${found.symbol} ${state.side}`;
  $("side").textContent = state.side === "buy" ? "show sell" : "show buy";
  const key = `${found.symbol}${state.side}`;
  const { measured, fitted, model } = s;
  $("usual").textContent = usual(measured);
  curve(key, s);
  const mid = measured.mid.findLast((m) => m !== null) ?? null;
  const at = measured.minute.map(seconds);
  const ahead = model?.forecast?.intervals.map((k) => seconds(model.as_of) + k * s.estimates.at(-1).interval_s) ?? [];
  const told = fitted.as_of.map(seconds);
  const from = told.length - 1;
  const timed = { zone: state.zone, now: state.clock ? seconds(state.clock) : null };
  const points = (moments, value) => moments.map((t, i) => [t, value(i)]);
  // Each minute as measured, as forecast with its band, and the forecast of the minutes ahead.
  const over = (id, form, unit, read) => {
    const low = points(told, (i) => (read.error(i) === null || read.fitted(i) === null ? null : Math.max(read.fitted(i) - read.error(i), 0)));
    const high = points(told, (i) => (read.error(i) === null || read.fitted(i) === null ? null : read.fitted(i) + read.error(i)));
    const seen = at.map((_, i) => read.measured(i)).filter((v) => v !== null);
    const most = Math.max(...seen, ...told.map((_, i) => read.fitted(i) ?? 0), 0);
    draw(id, key + form, {
      series: [edge(SPANS), edge(SPANS), dots("measured", "orange", 3), line("forecast", "blue", SPANS), line("ahead", "blue", { dash: [5, 4], ...SPANS })],
      bands: [[2, 1]], unit, timed, top: most ? 1.5 * most : null,
      data: together(low, high, points(at, read.measured), points(told, read.fitted), points([...told.slice(-1), ...ahead], (i) => (i ? read.ahead(i - 1) : read.fitted(from)))),
    });
  };
  over("c-spread", "", "bps of mid", {
    measured: (i) => bps(measured.half_spread[i], measured.mid[i]),
    fitted: (i) => bps(fitted.half_spread[i], mid),
    error: (i) => (fitted.se_half_spread[i] === null ? null : 1.96 * bps(fitted.se_half_spread[i], mid)),
    ahead: (i) => bps(model.forecast.half_spread[i], mid),
  });
  const term = (m, i, q) => bps((m.beta?.[i] ?? 0) * q + (m.alpha?.[i] ?? 0) * q * q + (m.eta?.[i] ? m.eta[i] * q ** ((m.delta?.[i] ?? model.delta) ?? 1) : 0), mid);
  // A line has one slope at every size; for the other kinds show the impact of one size.
  const linear = model?.kind === "linear";
  const size = linear ? 1000 : measured.held_qty.findLast((q) => q !== null) ?? 1000;
  $("slope-name").textContent = linear ? "Slope: each 1,000 shares add" : `Impact of ${figure(size)} shares above the half-spread`;
  over("c-slope", `${linear}${size}`, "bps of mid", {
    measured: (i) => (linear && model.intercept ? bps(measured.slope[i] === null ? null : measured.slope[i] * size, measured.mid[i]) : null),
    fitted: (i) => term(fitted, i, size),
    error: (i) => (linear && fitted.se_slope[i] !== null ? 1.96 * bps(fitted.se_slope[i] * size, mid) : null),
    ahead: (i) => term(model.forecast, i, size),
  });
  draw("c-depth", key, { series: [dots("measured", "orange", 3)], unit: "shares", timed, data: [at, measured.held_qty] });
  const middle = median(measured.volume);
  draw("c-volume", key, {
    series: [dots("traded", "orange", 3), line("today's median", "grey", { dash: [5, 4], ...SPANS })],
    unit: "shares", timed, data: [at, measured.volume, at.map(() => middle)],
  });
}

function curve(key, s) {
  const estimates = s.estimates.slice(-5);
  const last = estimates.at(-1);
  if (!last?.mid) return;
  const model = s.model;
  const sizes = [...new Set(estimates.flatMap((e) => e.sizes))].sort((a, b) => a - b);
  const fit = sizes.map((q) => (model ? bps(impact(model, q), last.mid) : null));
  const error = sizes.map((q) => (model ? 1.96 * bps(impactError(model, q), last.mid) : null));
  const measured = estimates.map((e) => { const by = new Map(e.sizes.map((q, i) => [q, bps(e.slippage[i], e.mid)])); return sizes.map((q) => by.get(q) ?? null); });
  const before = sizes.map((_, i) => median(measured.slice(0, -1).map((values) => values[i])));
  const most = Math.max(...fit, ...measured.flat().filter((v) => v !== null), 0);
  draw("c-curve", `${key}${model?.kind}`, {
    series: [edge(), edge(), line("model", "blue", { width: 2 }), dots("four minutes before, median", "grey", 4), dots("last minute", "orange", 6)],
    bands: [[2, 1]], unit: ["shares", "bps of mid"], log: true, top: most ? 1.3 * most : null,
    data: [sizes, fit.map((v, i) => (v === null ? null : Math.max(v - error[i], 0))), fit.map((v, i) => (v === null ? null : v + error[i])), fit, before, measured.at(-1)],
  });
}

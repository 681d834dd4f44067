// One order: what it was asked, what it does, what it costs, and why.
import { addends, bps, clock, figure, impact, percent, price, seconds } from "/page/format.js";
import { area, dots, draw, edge, line, steps, together } from "/page/charts.js";
import { term } from "/page/glossary.js";

const $ = (id) => document.getElementById(id);

export function figures(id, items) {
  $(id).replaceChildren(...items.map(([name, value, bad]) => {
    const div = document.createElement("div");
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = value;
    term(dt, name);
    if (bad) dd.className = "bad";
    div.append(dt, dd);
    return div;
  }));
}

const REASONS = {
  new: "The order came.",
  replace: "The order was amended.",
  cancel: "The order was canceled.",
  fill: "A fill deviated from the plan.",
  correct: "A fill was corrected.",
  bust: "A fill was busted.",
  minute: "A minute closed and the cost of the best schedule changed.",
  control: "A halt began or ended.",
  group: "Another order on this symbol changed.",
  done: "The order is done.",
  expired: "The window has ended.",
};

const inBps = (p, value) => (value === null || p.expected_cost_bps === null || !p.expected_cost ? null : (value / p.expected_cost) * p.expected_cost_bps);
// In the instrument's currency, where its definition states one.
const cash = (value) => figure(value, Math.abs(value) < 100 ? 2 : 0);
const money = (p, text) => (p.currency && text !== "–" ? `${text} ${p.currency}` : text);
const lastTrade = (p) => { const at = p.qty.findLastIndex((q) => q > 0); return at < 0 ? null : Number(p.start[at]) + p.interval_s * 1e9; };
const soon = (p, from) => p.start.reduce((sum, t, i) => (Number(t) < from + 1800e9 ? sum + p.qty[i] : sum), 0);

// Sizes so many times beyond what the books have shown are priced, and marked.
const BEYOND = 5;

// What the whole rest would cost in one trade now.
function atOnce(p, market) {
  const shown = market?.model?.fitted_range?.[1];
  const mid = market?.measured.mid.findLast((value) => value !== null) ?? null;
  if (!shown || mid === null || !p.leaves_qty || p.leaves_qty > BEYOND * shown) return null;
  const each = impact(market.model, p.leaves_qty);
  return { bps: bps(each, mid), cost: each * p.leaves_qty * (p.multiplier ?? 1), note: p.leaves_qty > shown ? ", beyond the books" : "" };
}

function answer(p, found) {
  const verb = p.side === "buy" ? "bought" : "sold";
  const ended = found.costs?.ended;
  if (ended) {
    const rest = ended.order_qty - ended.cum_qty;
    return `${figure(ended.cum_qty)} of ${figure(ended.order_qty)} ${verb}${rest > 0 ? `, ${figure(rest)} not` : ""}: ${figure(ended.shortfall_bps, 1)} bps against arrival (${money(found.plan, figure(ended.shortfall, 2))}).`;
  }
  if (p.status !== "active") return `${p.status}${p.text ? `: ${p.text}` : ""}. ${figure(p.cum_qty)} of ${figure(p.order_qty)} ${verb}.`;
  const twap = inBps(p, p.twap_cost);
  const cost = p.expected_cost_bps === null ? "its cost is not known yet" : `expected to cost ${figure(p.expected_cost_bps, 1)} bps${twap === null ? "" : ` against TWAP's ${figure(twap, 1)}`}`;
  return `${figure(p.cum_qty)} of ${figure(p.order_qty)} ${verb}; the rest, ${figure(p.leaves_qty)}, is ${cost}.`;
}

function why(p, rate) {
  if (p.status !== "active" && p.status !== "halted") return [`The order is ${p.status}${p.text ? ` (${p.text})` : ""}: nothing is planned.`];
  const found = [];
  const behind = rate !== null && p.min_participation_rate !== null && rate < p.min_participation_rate;
  const most = p.qty.map((q, i) => p.cap[i] !== null && p.cap[i] > 0 && q >= p.cap[i]).filter(Boolean).length;
  if (p.status === "halted") found.push(`Halted: ${p.text ?? "no plan is published"}.`);
  if (p.blind) found.push("No book yet: price and volume are unknown, so the quantity is spread evenly.");
  if (most) found.push(`${p.participation_rate === null ? "The largest quantity of an interval" : `The largest share of volume, ${percent(p.participation_rate)},`} binds in ${most} of ${p.qty.length} intervals.`);
  else if (p.participation_rate !== null && p.qty.length) found.push(`The largest share of volume, ${percent(p.participation_rate)}, does not bind.`);
  if (p.min_participation_rate !== null) found.push(behind ? `It has traded ${percent(rate)} of volume and owes at least ${percent(p.min_participation_rate)}: it catches up.` : `At least ${percent(p.min_participation_rate)} of volume is traded at any time.`);
  if (p.lifted_qty > 0) found.push(`${figure(p.lifted_qty)} are planned above the share of volume, so that the order completes.`);
  if (p.shortfall_qty > 0) found.push(`${figure(p.shortfall_qty)} will be left over: ${p.shortfall_limits ? `${p.shortfall_limits.join(", ")} cannot hold them` : "they fit neither the limits nor the window"}.`);
  if (p.limit_px !== null) {
    const outside = p.mid !== null && (p.side === "buy" ? p.mid > p.limit_px : p.mid < p.limit_px);
    found.push(`Limit ${price(p.limit_px)}; mid ${price(p.mid)}${outside ? ", beyond it" : ""}. Expected to be left: ${figure(p.expected_shortfall_qty)}.`);
  }
  if (p.urgency > 0) found.push(`Urgency ${+p.urgency.toPrecision(2)}: it trades earlier than is cheapest, to lower its risk.`);
  if (p.min_clip_qty !== null) found.push(`An interval trades at least ${figure(p.min_clip_qty)}, or nothing.`);
  if (p.group_id !== null) found.push("Planned together with the other orders on this book.");
  if (p.extrapolated_qty > 0) found.push(`${figure(p.extrapolated_qty)} are priced beyond the sizes that books have shown.`);
  if (p.model?.prior) found.push("The model rests on a generic day: this symbol has shown too little yet.");
  if (p.model?.forecaster === "learned") found.push("Planned with the learned forecast (model.learned).");
  if (!most && !p.shortfall_qty && !behind && p.qty.length) found.push("No limit binds: the quantity goes where it is expected to cost least.");
  return found;
}

function change(p, before, zone) {
  const text = [`${clock(p.as_of, zone)}: ${REASONS[p.reason] ?? p.reason}`];
  if (!before?.qty || !p.qty.length) return text.join(" ");
  const from = Number(p.as_of);
  const differ = (name, a, b) => { if (a !== b) text.push(`${name} ${a} → ${b}.`); };
  differ("Next 30 minutes", figure(soon(before, from)), figure(soon(p, from)));
  differ("Last trade", clock(lastTrade(before), zone), clock(lastTrade(p), zone));
  differ("Expected cost of the rest, bps:", figure(before.expected_cost_bps, 1), figure(p.expected_cost_bps, 1));
  differ("Left over", figure(before.shortfall_qty), figure(p.shortfall_qty));
  if (text.length === 1) text.push("Nothing that is shown here changed.");
  return text.join(" ");
}

// Share of the market's volume that was done, minute by minute since the order began.
function shares(found, measured, from) {
  const path = found.path.map(([t, , cum]) => [Number(t), cum]);
  const rates = [];
  let volume = 0;
  let at = -1;
  let known = false;
  measured.minute.forEach((minute, i) => {
    if (Number(minute) + 60e9 <= from) return;
    if (measured.volume[i] !== null) { volume += measured.volume[i]; known = true; }
    const end = Number(minute) + 60e9;
    while (at + 1 < path.length && path[at + 1][0] <= end) at += 1;
    if (known && volume > 0 && at >= 0) rates.push([seconds(end), path[at][1] / volume, volume]);
  });
  return rates;
}

// `shown` is the plan that is drawn: the latest, or one of its history with the one before it.
export function showOrder(found, shown, before, market, state) {
  const p = shown ?? found.plan;
  const latest = found.plan;
  const zone = state.zone;
  const s = found.saving;
  $("order").hidden = false;
  const later = latest.cl_ord_ids.length > 1 ? ` (${latest.cl_ord_ids.slice(1).join(", ")})` : "";
  $("order-name").textContent = `${latest.cl_ord_id}${later} ${latest.side} ${figure(latest.order_qty)} ${latest.symbol} — ${latest.status}${latest.text ? `: ${latest.text}` : ""}`;
  $("order-name").classList.toggle("stop", latest.status === "halted");
  $("answer").textContent = answer(latest, found);
  const costs = found.costs;
  const ended = costs?.ended;
  const measured = market?.measured ?? null;
  const from = latest.window ? Number(latest.window[0]) : Number(found.first.start[0] ?? found.first.as_of);
  const rates = measured ? shares(found, measured, from) : [];
  const rate = rates.at(-1)?.[1] ?? null;
  const range = (band, form = figure) => (band ? ` (${form(band[0])} to ${form(band[1])})` : "");
  const oneDigit = (value) => figure(value, 1);
  const band = latest.cost_band_95?.map((value) => inBps(latest, value)) ?? null;
  const limits = [latest.min_participation_rate, latest.participation_rate].map((r) => (r === null || r === undefined ? null : percent(r)));
  const within = limits[0] && limits[1] ? ` (${limits[0]} to ${limits[1]})` : limits[1] ? ` (at most ${limits[1]})` : limits[0] ? ` (at least ${limits[0]})` : "";
  const names = ended ? ["spread", "impact", "timing", "opportunity"] : ["spread", "impact", "timing"];
  const paid = ended ?? (costs?.fills ? costs : null);
  const sums = paid ? addends(names.map((name) => paid[`${name}_cost`]), ended ? ended.shortfall : paid.cost) : [];
  const whole = sums.pop();
  const parts = paid ? [[names.join(", "), sums.join(", ")]] : [];
  const short = latest.expected_shortfall_qty ?? latest.shortfall_qty;
  const once = ended ? null : atOnce(latest, market);
  const both = (points, cost, more = "") => (cost === null ? "–" : `${figure(points, 1)} bps${more}; ${money(latest, cash(cost))}`);
  figures("figures", [
    ["done", `${figure(latest.cum_qty)} (${figure((100 * latest.cum_qty) / latest.order_qty)}%)`],
    ["left", figure(latest.leaves_qty)],
    ["left over", figure(short), short > 0],
    ["last trade", latest.qty.length ? clock(lastTrade(latest), zone) : "–"],
    ["share of volume", `${percent(rate)}${within}`, rate !== null && latest.participation_rate !== null && rate > latest.participation_rate * 1.02],
    ...(ended ? [
      ["implementation shortfall", `${figure(ended.shortfall_bps, 1)} bps; ${money(latest, whole)}`],
      ...parts,
    ] : [
      ["cost so far", costs?.fills ? `${figure(costs.arrival_bps, 1)} bps; ${money(latest, whole)}` : "–"],
      ...parts,
      ["expected for the rest", both(latest.expected_cost_bps, latest.expected_cost, range(band, oneDigit))],
      ...(latest.auctions.length ? [["in auctions", money(latest, figure(latest.auctions.every((one) => one.expected_cost !== null) ? latest.auctions.reduce((sum, one) => sum + one.expected_cost, 0) : null))]] : []),
      ["TWAP for the rest", both(inBps(latest, latest.twap_cost), latest.twap_cost)],
      ["the rest at once", once === null ? "–" : both(once.bps, once.cost) + once.note],
    ]),
    ["saved so far", s.saved === null ? "–" : both(s.saved_bps, s.saved) + range(s.band, cash)],
  ]);
  $("why").replaceChildren(...why(p, p === latest ? rate : null).map((text) => { const item = document.createElement("li"); item.textContent = text; return item; }));
  $("change").textContent = change(p, before, zone);
  const versions = found.plans.map(([version]) => version);
  const at = versions.indexOf(p.plan_version);
  $("version").textContent = `plan ${p.plan_version} of ${latest.plan_version}, ${clock(p.as_of, zone)}`;
  $("older").disabled = at <= 0;
  $("newer").disabled = at < 0 || at === versions.length - 1;
  $("latest").disabled = p.plan_version === latest.plan_version;
  charts(found, p, rates, market, state, from);
}

function charts(found, p, rates, market, state, from) {
  const to = p.window ? Number(p.window[1]) : Number(p.end ?? found.first.end ?? state.clock);
  const window = [seconds(from), seconds(to)];
  const now = state.clock ? seconds(state.clock) : null;
  const pad = Math.max((window[1] - window[0]) * 0.02, 60);
  const timed = { zone: state.zone, now, window, range: [window[0] - pad, Math.max(window[1], now ?? 0) + pad] };
  const executed = found.path.map(([t, , cum]) => [seconds(t), cum]);
  if (now && executed.length && now > executed.at(-1)[0]) executed.push([now, executed.at(-1)[1]]);
  const future = [];
  let total = p.cum_qty;
  p.start.forEach((t, i) => { future.push([seconds(t), total]); total += p.qty[i]; });
  if (p.start.length) future.push([seconds(p.start.at(-1)) + p.interval_s, total]);
  const twap = found.saving.twap.map(([t, q]) => [seconds(t), q]);
  const key = found.cl_ord_id;
  const low = p.min_participation_rate ?? null;
  const high = p.participation_rate ?? null;
  const floor = low === null ? [] : rates.map(([t, , volume]) => [t, Math.min(low * volume, p.order_qty)]);
  const ceiling = high === null ? [] : rates.map(([t, , volume]) => [t, Math.min(high * volume, p.order_qty)]);
  const spans = { spanGaps: true };
  const bound = (value, label, colour) => (value === null ? [] : [line(label, colour, { dash: [8, 4], ...spans })]);
  draw("c-path", `path${key}${!low}${!high}`, {
    series: [line("done", "ink", { width: 2.5, ...spans }), line("plan", "blue", { width: 2, ...spans }), line("TWAP", "grey", { dash: [5, 4], ...spans }), ...bound(low, `least, ${percent(low)}`, "green"), ...bound(high, `most, ${percent(high)}`, "red")],
    unit: "shares", timed, data: together(executed, future, twap, ...(low === null ? [] : [floor]), ...(high === null ? [] : [ceiling])),
  });
  const binds = p.qty.map((q, i) => (p.cap[i] !== null && p.cap[i] > 0 && q >= p.cap[i] ? q : null));
  draw("c-plan", `plan${key}`, {
    series: [area("plan", "blue", { paths: steps() }), line("cap", "grey", { paths: steps(), dash: [4, 4] }), dots("cap binds", "orange", 5)],
    unit: "shares", timed, data: [p.start.map(seconds), p.qty, p.cap, binds], empty: "Nothing is planned.",
  });
  const measured = market?.measured ?? { minute: [], mid: [], volume: [] };
  const mids = measured.minute.map((t, i) => [seconds(t) + 30, measured.mid[i]]).filter(([t, mid]) => mid !== null && t >= timed.range[0] && t <= timed.range[1]);
  const vwap = [];
  let [turnover, volume] = [0, 0];
  measured.minute.forEach((t, i) => {
    if (Number(t) < from || Number(t) >= to || measured.mid[i] === null || !measured.volume[i]) return;
    turnover += measured.mid[i] * measured.volume[i];
    volume += measured.volume[i];
    vwap.push([seconds(t) + 30, turnover / volume]);
  });
  const fills = found.fills.map(([t, px]) => [seconds(t) + 30, px]);
  const level = (value) => (value === null || value === undefined ? [] : [[window[0], value], [Math.max(window[1], now ?? 0), value]]);
  const limit = level(p.limit_px);
  const arrival = level(found.arrival_px);
  draw("c-price", `price${key}${limit.length}${arrival.length}`, {
    series: [line("mid", "blue", spans), line("VWAP of minutes", "grey", spans), line("arrival", "green", { dash: [2, 4], ...spans }), ...(limit.length ? [line("limit", "red", { dash: [8, 4], ...spans })] : []), dots("fills", "orange")],
    unit: "price", timed: { ...timed, loose: true }, data: together(mids, vwap, arrival, ...(limit.length ? [limit] : []), fills),
  });
  const share = (value) => (value === null ? [] : [[window[0], 100 * value], [Math.max(window[1], now ?? 0), 100 * value]]);
  draw("c-rate", `rate${key}${!low}${!high}`, {
    series: [line("done", "ink", { width: 2, ...spans }), ...bound(low, "least", "green"), ...bound(high, "most", "red")],
    unit: "% of volume", timed, data: together(rates.map(([t, r]) => [t, 100 * r]), ...(low === null ? [] : [share(low)]), ...(high === null ? [] : [share(high)])),
    top: high === null ? null : 300 * high,
  });
  response(found.response, key);
}

// How the symbol's books responded to the order's fills, by the minute.
function response(r, key) {
  const at = r.lag_s.map((s) => s / 60);
  draw("c-response", `response${key}`, {
    series: [line("mid", "blue", { points: { show: true, size: 4 } }), line("half-spread", "orange", { points: { show: true, size: 4 } }), line("impact", "red", { points: { show: true, size: 4 } }), line("impact, other side", "grey", { dash: [5, 4], points: { show: true, size: 4 } })],
    unit: ["minutes from a fill", "bps of mid"], data: [at, r.mid_bps, r.half_spread_bps, r.impact_bps, r.other_impact_bps], empty: r.text ? `Unknown: ${r.text}.` : "Nothing yet.",
  });
  const next = at.indexOf(1);
  const told = (name, what) => (r[`${what}_bps`][next] === null ? null : `${name} ${figure(r[`${what}_bps`][next], 2)} ± ${figure(1.96 * r[`${what}_se`][next], 2)}`);
  const parts = [told("mid", "mid"), told("half-spread", "half_spread"), told("impact", "impact")].filter(Boolean);
  $("response").textContent = parts.length ? `One minute after, bps at 95%: ${parts.join(", ")}; ${r.events[next]} minutes with fills.` : "";
}

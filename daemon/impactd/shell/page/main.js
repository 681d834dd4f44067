// The live page: one snapshot, then events; the details on screen are fetched again when they change.
import { bps, clock, day, figure, impact, impactError, seconds } from "/page/format.js";
import { curveChart, depthChart, pathChart, planChart, seriesChart } from "/page/charts.js";

const $ = (id) => document.getElementById(id);
const state = { symbols: new Map(), orders: new Map(), alerts: [], halts: new Map(), symbol: null, order: null, side: "buy", list: "symbols", zone: "UTC", clock: 0 };
let events = null;
let pending = { lists: false, detail: false };
// Health arrives every second: after a longer silence the page may be out of date.
const SILENCE_MS = 6000;
let heard = 0;
let turn = 0;

// Input

// The service is away or busy, or needs a token: not an error of this page.
class Unanswered extends Error {}

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(SILENCE_MS) }).catch(() => { throw new Unanswered("away"); });
  if (answer.status === 401) { $("login").hidden = false; throw new Unanswered("token"); }
  if (!answer.ok) throw new Unanswered(`${answer.status}`);
  $("login").hidden = true;
  return answer.json().catch(() => { throw new Unanswered("cut off"); });
}

async function begin() {
  const mine = ++turn;
  const again = () => setTimeout(() => { if (mine === turn) begin(); }, 1000);
  events?.close();
  events = null;
  let found;
  try {
    found = await ask("/api/state");
  } catch (error) {
    if (!(error instanceof Unanswered)) throw error;
    if (mine !== turn) return;
    link(error.message === "token" ? "token needed" : "reconnecting", true);
    if (error.message !== "token") again();
    return;
  }
  if (mine !== turn) return;
  state.symbols = new Map(found.symbols.map((s) => [s.symbol, s]));
  state.orders = new Map(found.orders.map((p) => [p.cl_ord_id, p]));
  state.alerts = found.alerts.slice(-60).reverse();
  for (const s of found.symbols) for (const side of ["buy", "sell"]) tick(s[side]?.estimate);
  healthIs(found.health);
  choose();
  changed(true);
  events = new EventSource(`/api/events?after=${encodeURIComponent(found.position)}`);
  const source = events;
  heard = performance.now();
  source.onopen = () => { heard = performance.now(); link("live", false); changed(true); };
  source.onerror = () => { link("reconnecting", true); heard = performance.now(); if (source.readyState === EventSource.CLOSED) again(); };
  const on = (name, take) => source.addEventListener(name, (e) => { heard = performance.now(); take(JSON.parse(e.data)); });
  on("estimate", (m) => { of(m).estimate = m; tick(m); changed(m.symbol === state.symbol); });
  on("model", (m) => { of(m).model = m; changed(m.symbol === state.symbol); });
  on("plan", (m) => {
    const known = state.orders.get(m.cl_ord_id);
    if (!known || known.plan_version <= m.plan_version) state.orders.set(m.cl_ord_id, m);
    choose();
    changed(m.cl_ord_id === state.order);
  });
  on("alert", (m) => { state.alerts.unshift(m); state.alerts.length = Math.min(state.alerts.length, 60); changed(false); });
  on("cost", (m) => changed(m.cl_ord_id === state.order));
  on("health", healthIs);
  on("reset", begin);
}

function of(m) {
  if (!state.symbols.has(m.symbol)) state.symbols.set(m.symbol, { symbol: m.symbol, buy: null, sell: null });
  const entry = state.symbols.get(m.symbol);
  entry[m.side] ??= { estimate: null, model: null };
  choose();
  return entry[m.side];
}

function tick(estimate) {
  if (estimate) state.clock = Math.max(state.clock, Number(estimate.minute) + estimate.interval_s * 1e9);
}

setInterval(() => {
  if (events && performance.now() - heard > SILENCE_MS) { link("no answer", true); begin(); }
}, 1000);

function link(text, bad) {
  $("link").textContent = text;
  $("link").classList.toggle("bad", bad);
}

function choose() {
  if (!state.order && state.orders.size) pickOrder([...state.orders.keys()].sort()[0]);
  if (!state.symbol && !state.order && state.symbols.size) state.symbol = [...state.symbols.keys()].sort()[0];
}

function pickOrder(name) {
  const plan = state.orders.get(name);
  state.order = name;
  state.symbol = plan.symbol;
  state.side = plan.side;
}

// Lists are redrawn at most four times a second; details once a second, or at once after a selection.
const DETAILS_MS = 1000;
let timer = null;
let detailed = -DETAILS_MS;
let showing = false;
function changed(detail) {
  pending.lists = true;
  pending.detail ||= detail;
  timer ??= setTimeout(show, 250);
}

function picked() {
  detailed = -DETAILS_MS;
  pending.detail = true;
  if (showing) return;
  clearTimeout(timer);
  timer = setTimeout(show, 0);
}

async function show() {
  showing = true;
  const detail = pending.detail && performance.now() - detailed >= DETAILS_MS;
  pending = { lists: false, detail: pending.detail && !detail };
  if (detail) detailed = performance.now();
  try {
    lists();
    if (detail) await details();
  } catch (error) {
    // Retry what did not answer.
    if (!(error instanceof Unanswered)) throw error;
    pending.detail ||= detail;
  } finally {
    showing = false;
    timer = pending.lists || pending.detail ? setTimeout(show, 250) : null;
  }
}

// Lists

function rows(id, items) {
  const body = $(id).tBodies[0];
  const focused = document.activeElement?.closest?.("tr")?.dataset.name;
  body.replaceChildren(...items.map(({ name, cells, selected, pick }) => {
    const row = document.createElement("tr");
    for (const cell of cells) {
      const td = row.insertCell();
      td.textContent = cell?.text ?? cell;
      if (cell?.stop) td.className = "stop";
    }
    if (pick) {
      row.dataset.name = name;
      row.tabIndex = 0;
      row.setAttribute("aria-selected", selected);
      row.onclick = pick;
      row.onkeydown = (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); pick(); } };
    }
    return row;
  }));
  if (focused) body.querySelector(`tr[data-name="${CSS.escape(focused)}"]`)?.focus();
}

function held(e) {
  if (!e) return null;
  let found = null;
  e.sizes.forEach((size, i) => { if (e.coverage[i] >= 0.95) found = size; });
  return found;
}

function lists() {
  const sorted = (map) => [...map.entries()].sort(([a], [b]) => (a < b ? -1 : 1));
  rows("symbols", sorted(state.symbols).map(([name, s]) => {
    const e = (s[state.side] ?? s.buy ?? s.sell)?.estimate;
    return { name, selected: name === state.symbol, pick: () => { state.symbol = name; state.list = "symbols"; picked(); },
      cells: [name, figure(e?.mid, 3), figure(bps(e?.half_spread, e?.mid), 2), figure(held(e))] };
  }));
  rows("orders", sorted(state.orders).map(([name, p]) => ({
    name, selected: name === state.order, pick: () => { pickOrder(name); state.list = "orders"; picked(); },
    cells: [`${name} ${p.side} ${p.symbol}`, p.status === "halted" ? { text: "HALTED", stop: true } : p.status, `${figure((100 * p.cum_qty) / p.order_qty)}%`, figure(p.leaves_qty)],
  })));
  $("clock").textContent = state.clock ? `${day(state.clock, state.zone)} ${clock(state.clock, state.zone)} ${state.zone}` : "";
  $("empty").hidden = state.symbols.size + state.orders.size > 0;
  $("no-alerts").hidden = state.alerts.length > 0;
  $("alerts").replaceChildren(...state.alerts.map((a) => {
    const item = document.createElement("li");
    for (const text of [clock(a.as_of, state.zone), a.kind, [a.cl_ord_id ?? a.symbol, a.text].filter(Boolean).join(": ")]) {
      const span = document.createElement("span");
      span.textContent = text;
      item.append(span);
    }
    return item;
  }));
  halted();
}

// A partition that is being restored does not know its halts yet: until it does, keep the last ones.
function haltsAre(partitions) {
  for (const known of partitions.length ? [...state.halts.keys()] : []) {
    if (!partitions.some((p) => p.partition === known)) state.halts.delete(known);
  }
  for (const p of partitions) if (p.phase === "running") state.halts.set(p.partition, p.halts);
}

function halted() {
  const scopes = [...new Set([...state.halts.values()].flat().map((h) => `${h.scope === "*" ? "everything" : h.scope}: ${h.reason}`))];
  const plans = [...state.orders.values()].filter((p) => p.status === "halted");
  const texts = scopes.length ? scopes : [...new Set(plans.map((p) => `${p.cl_ord_id}: ${p.text ?? ""}`))];
  $("halt").hidden = !texts.length;
  const text = texts.length ? `■ HALTED — ${texts.join(" · ")}` : "";
  if ($("halt").textContent !== text) $("halt").textContent = text;
  document.body.classList.toggle("halted", texts.length > 0);
  document.title = texts.length ? "■ HALTED — impactd" : "impactd";
}

function terms(id, items) {
  $(id).replaceChildren(...items.map(([name, value, bad]) => {
    const div = document.createElement("div");
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = value;
    if (bad) dd.className = "bad";
    div.append(dt, dd);
    return div;
  }));
}

// More than a day behind is not a delay but a recorded day.
const behind = (minutes) => (minutes > 1440 ? "recorded" : figure(minutes, 1));

function healthIs(h) {
  state.zone = h.zone;
  haltsAre(h.partitions);
  $("ready").textContent = h.ready ? "ready" : `not ready: ${[...new Set(h.reasons.map((r) => r.kind))].join(", ")}`;
  $("ready").classList.toggle("bad", !h.ready);
  const most = (name) => h.partitions.reduce((a, p) => (p[name] === null ? a : Math.max(a ?? -Infinity, p[name])), null);
  terms("health", [
    ["lag, records", figure(h.partitions.reduce((a, p) => a + p.lag, 0))],
    ["oldest tick, s", figure(most("tick_age_s"), 1)],
    ["minutes behind", behind(most("minutes_behind"))],
    ["commit p50, ms", figure(h.commit_p50_s === null ? null : 1e3 * h.commit_p50_s, 1)],
    ["commit p99, ms", figure(h.commit_p99_s === null ? null : 1e3 * h.commit_p99_s, 1)],
    ["restores", figure(h.restores)],
    ["dead letters", figure(h.dead_letters), h.dead_letters > 0],
    ["brokers", h.broker_answers ? "answer" : "AWAY", !h.broker_answers],
  ]);
  rows("partitions", h.partitions.map((p) => ({ cells: [p.partition, p.phase, figure(p.lag), figure(p.tick_age_s, 1), behind(p.minutes_behind), figure(p.commits), figure(p.restore_s, 2), p.orders, p.halted ? { text: p.halted, stop: true } : 0] })));
  $("reasons").replaceChildren(...h.reasons.map((r) => {
    const item = document.createElement("li");
    item.textContent = `${r.partition === null ? "" : `partition ${r.partition}: `}${r.kind}, ${r.detail}`;
    return item;
  }));
  halted();
}

// Details

async function details() {
  const { symbol, order } = state;
  // An order may name a symbol without a closed minute.
  if (state.symbols.has(symbol)) market(await ask(`/api/symbols/${encodeURIComponent(symbol)}`));
  else $("market").hidden = true;
  if (order && state.orders.get(order)?.symbol === symbol) orderIs(await ask(`/api/orders/${encodeURIComponent(order)}`));
  else $("order").hidden = true;
}

function market(found) {
  const s = found[state.side] ?? found.buy ?? found.sell;
  if (!s) return;
  $("market").hidden = false;
  $("market-name").textContent = `${found.symbol} ${state.side}`;
  $("side").textContent = state.side === "buy" ? "show sell" : "show buy";
  const key = `${found.symbol}${state.side}`;
  curve(key, s);
  const { measured, fitted, model } = s;
  const mid = measured.mid.findLast((m) => m !== null) ?? null;
  const at = measured.minute.map(seconds);
  const ahead = model?.forecast?.intervals.map((k) => seconds(model.as_of) + k * s.estimates.at(-1).interval_s) ?? [];
  const told = fitted.as_of.map(seconds);
  const from = told.length - 1;
  const times = [...new Set([...at, ...told, ...ahead])].sort((a, b) => a - b);
  const on = (moments, value) => { const map = new Map(moments.map((t, i) => [t, value(i)])); return times.map((t) => map.get(t) ?? null); };
  // Each minute as measured, as forecast, and the forecast of the minutes ahead.
  const over = (id, form, read) => {
    seriesChart(id, key + form, state.zone, [times, on(at, read.measured), on(told, read.fitted), on([...told.slice(-1), ...ahead], (i) => (i ? read.ahead(i - 1) : read.fitted(from)))], ["measured", "forecast", "ahead"]);
  };
  over("c-spread", "", {
    measured: (i) => bps(measured.half_spread[i], measured.mid[i]),
    fitted: (i) => bps(fitted.half_spread[i], mid),
    ahead: (i) => bps(model.forecast.half_spread[i], mid),
  });
  const term = (m, i, q) => bps((m.beta?.[i] ?? 0) * q + (m.alpha?.[i] ?? 0) * q * q + (m.eta?.[i] ? m.eta[i] * q ** ((m.delta?.[i] ?? model.delta) ?? 1) : 0), mid);
  // A line has one slope at every size; for the other kinds show the impact of one size.
  const linear = model?.kind === "linear";
  const size = linear ? 1000 : measured.held_qty.findLast((q) => q !== null) ?? 1000;
  $("slope-name").textContent = linear ? "Slope, bp per 1,000 shares" : `Impact of ${figure(size)} shares above the half-spread, bp`;
  over("c-slope", `${linear}${size}`, {
    measured: (i) => (linear && model.intercept ? bps(measured.slope[i] === null ? null : measured.slope[i] * size, measured.mid[i]) : null),
    fitted: (i) => term(fitted, i, size),
    ahead: (i) => term(model.forecast, i, size),
  });
  depthChart("c-depth", key, state.zone, [times, on(at, (i) => measured.held_qty[i])]);
}

function curve(key, s) {
  const estimates = s.estimates.slice(-5);
  const last = estimates.at(-1);
  if (!last?.mid) return;
  const sizes = [...new Set(estimates.flatMap((e) => e.sizes))].sort((a, b) => a - b);
  const model = s.model;
  const fit = sizes.map((q) => (model ? bps(impact(model, q), last.mid) : null));
  const error = sizes.map((q) => (model ? 1.96 * bps(impactError(model, q), last.mid) : null));
  const lines = estimates.map((e) => { const by = new Map(e.sizes.map((q, i) => [q, bps(e.slippage[i], e.mid)])); return sizes.map((q) => by.get(q) ?? null); });
  curveChart("c-curve", key, [sizes, fit.map((v, i) => (v === null ? null : v - error[i])), fit.map((v, i) => (v === null ? null : v + error[i])), fit, ...lines], lines.length);
}

function orderIs(found) {
  const p = found.plan;
  const s = found.saving;
  $("order").hidden = false;
  const later = p.cl_ord_ids.length > 1 ? ` (${p.cl_ord_ids.slice(1).join(", ")})` : "";
  $("order-name").textContent = `${p.cl_ord_id}${later} ${p.side} ${figure(p.order_qty)} ${p.symbol} — ${p.status}${p.text ? `: ${p.text}` : ""}`;
  const binds = p.qty.map((q, i) => p.cap[i] !== null && p.cap[i] > 0 && q >= p.cap[i]);
  const range = (band) => (band ? ` (${figure(band[0])} to ${figure(band[1])})` : "");
  const rest = p.expected_cost === null ? null : p.twap_cost - p.expected_cost;
  const costs = found.costs;
  const ended = costs?.ended;
  const parts = costs ? ["spread", "impact", "timing", ...(ended ? ["opportunity"] : [])].map((name) => figure((ended ?? costs)[`${name}_cost`])) : [];
  $("order-name").classList.toggle("stop", p.status === "halted");
  terms("figures", [
    ["executed", figure(p.cum_qty)],
    ["leaves", figure(p.leaves_qty)],
    ["shortfall", figure(p.shortfall_qty), p.shortfall_qty > 0],
    ["intervals at cap", `${binds.filter(Boolean).length} of ${p.qty.length}`],
    ["saved against TWAP of the same quantity (95%)", s.saved === null ? "–" : `${figure(s.saved)} (${figure(s.saved_bps, 2)} bp)${range(s.band)}`],
    ["expected saving on leaves", rest === null ? "–" : `${figure(rest)} (${figure(p.saving_bps, 2)} bp)`],
    ["expected cost of leaves (95%)", figure(p.expected_cost) + range(p.cost_band_95)],
    ["TWAP cost of leaves", figure(p.twap_cost)],
    ...(costs ? [
      [ended ? "implementation shortfall" : "cost against arrival", ended ? `${figure(ended.shortfall)} (${figure(ended.shortfall_bps, 1)} bp)` : figure(costs.cost)],
      [`${ended ? "spread, impact, timing, opportunity" : "spread, impact, timing"}`, parts.join(", ")],
    ] : []),
    ["plan version, reason", `${p.plan_version}, ${p.reason}`],
  ]);
  const executed = found.path.map(([t, , cum]) => [seconds(t), cum]);
  const future = [];
  let total = p.cum_qty;
  p.start.forEach((t, i) => { future.push([seconds(t), total]); total += p.qty[i]; });
  if (p.start.length) future.push([seconds(p.start.at(-1)) + p.interval_s, total]);
  const twap = s.twap.map(([t, q]) => [seconds(t), q]);
  const times = [...new Set([...executed, ...future, ...twap].map(([t]) => t))].sort((a, b) => a - b);
  const on = (points) => { const map = new Map(points); return times.map((t) => map.get(t)); };
  pathChart("c-path", found.cl_ord_id, state.zone, [times, on(executed), on(future), on(twap)]);
  planChart("c-plan", found.cl_ord_id, state.zone, [p.start.map(seconds), p.qty, p.cap, p.qty.map((q, i) => (binds[i] ? q : null))]);
}

// Controls

function theme(next) {
  document.documentElement.dataset.theme = next;
  picked();
}

function step(by) {
  const names = [...state[state.list].keys()].sort();
  const now = state.list === "orders" ? state.order : state.symbol;
  const next = names[Math.min(Math.max(names.indexOf(now) + by, 0), names.length - 1)];
  if (next === undefined) return;
  if (state.list === "orders") pickOrder(next);
  else state.symbol = next;
  picked();
}

const flip = () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
const other = () => { state.side = state.side === "buy" ? "sell" : "buy"; picked(); };
const keys = { j: () => step(1), k: () => step(-1), o: () => { state.list = "orders"; step(0); }, s: () => { state.list = "symbols"; step(0); }, b: other, t: flip };

document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.tagName === "INPUT") return;
  keys[e.key]?.();
});
$("theme").onclick = flip;
$("side").onclick = other;
$("login").onsubmit = async (e) => {
  e.preventDefault();
  const answer = await fetch("/api/session", { method: "POST", body: $("token").value }).catch(() => null);
  $("refused").textContent = answer?.ok ? "" : answer ? "Wrong token." : "No answer.";
  if (answer?.ok) begin();
};
const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));
document.documentElement.dataset.theme = dark.matches ? "dark" : "light";
begin();

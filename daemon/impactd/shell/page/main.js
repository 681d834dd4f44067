// The live page: one snapshot, then events; the details on screen are fetched again when they change.
import { bps, clock, day, figure, price } from "/page/format.js";
import { term } from "/page/glossary.js";
import { cells, fill, names, reveal, table } from "/page/lists.js";
import { showMarket } from "/page/market.js";
import { figures, showOrder } from "/page/order.js";
import { troubled, verdict } from "/page/verdict.js";

const $ = (id) => document.getElementById(id);
const state = {
  symbols: new Map(), orders: new Map(), alerts: [], halts: new Map(), health: null, away: false,
  symbol: null, order: null, version: null, side: "buy", list: "orders", zone: "UTC", clock: 0,
};
let events = null;
let pending = { lists: false, detail: false };
// Health arrives every second: after a longer silence the page may be out of date.
const SILENCE_MS = 6000;
const ALERTS = 60;
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
  state.alerts = found.alerts.slice(-ALERTS).reverse();
  for (const s of found.symbols) for (const side of ["buy", "sell"]) tick(s[side]);
  healthIs(found.health);
  choose();
  changed(true);
  events = new EventSource(`/api/events?after=${encodeURIComponent(found.position)}`);
  const source = events;
  heard = performance.now();
  source.onopen = () => { heard = performance.now(); link("live", false); changed(true); };
  source.onerror = () => { link("reconnecting", true); heard = performance.now(); if (source.readyState === EventSource.CLOSED) again(); };
  const on = (name, take) => source.addEventListener(name, (e) => { heard = performance.now(); take(JSON.parse(e.data)); });
  on("estimate", (m) => { take(m); changed(m.symbol === state.symbol); });
  on("model", (m) => changed(m.symbol === state.symbol));
  on("plan", (m) => { planIs(m); choose(); changed(m.cl_ord_id === state.order); });
  on("alert", (m) => { state.alerts.unshift(m); state.alerts.length = Math.min(state.alerts.length, ALERTS); changed(false); });
  on("cost", (m) => changed(m.cl_ord_id === state.order));
  on("health", healthIs);
  on("reset", begin);
}

// As in the snapshot: a minute in short, a plan without its schedule.
function take(m) {
  if (!state.symbols.has(m.symbol)) state.symbols.set(m.symbol, { symbol: m.symbol, buy: null, sell: null });
  let held = null;
  m.sizes.forEach((size, i) => { if (m.slippage[i] !== null && m.coverage[i] >= 0.95) held = size; });
  state.symbols.get(m.symbol)[m.side] = { minute: m.minute, interval_s: m.interval_s, mid: m.mid, half_spread: m.half_spread, held_qty: held };
  tick(m);
  choose();
}

function planIs(m) {
  const known = state.orders.get(m.cl_ord_id);
  if (known && known.plan_version > m.plan_version) return;
  const { start, qty, cap, certificate, model, ...head } = m;
  state.orders.set(m.cl_ord_id, { ...head, prior: model?.prior ?? false, cost_bps: known?.cost_bps ?? null });
}

function tick(minute) {
  if (minute) state.clock = Math.max(state.clock, Number(minute.minute) + minute.interval_s * 1e9);
}

setInterval(() => {
  if (events && performance.now() - heard > SILENCE_MS) { link("no answer", true); begin(); }
}, 1000);

function link(text, bad) {
  $("link").textContent = text;
  $("link").classList.toggle("bad", bad);
  state.away = bad;
  judged();
}

function choose() {
  if (!state.order && state.orders.size) pickOrder([...state.orders.keys()].sort()[0]);
  if (!state.symbol && !state.order && state.symbols.size) state.symbol = [...state.symbols.keys()].sort()[0];
}

function pickOrder(name) {
  const plan = state.orders.get(name);
  state.order = name;
  state.version = null;
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

const minuteOf = (s) => s[state.side] ?? s.buy ?? s.sell;
table("orders", { fallback: "name", columns: { name: (i) => i.name, status: (i) => i.plan.status, done: (i) => i.plan.cum_qty / i.plan.order_qty, leaves: (i) => i.plan.leaves_qty, cost: (i) => i.plan.cost_bps } });
table("symbols", { fallback: "name", columns: { name: (i) => i.name, mid: (i) => i.minute?.mid ?? null, spread: (i) => bps(i.minute?.half_spread, i.minute?.mid), depth: (i) => i.minute?.held_qty ?? null } });
const KEPT = { all: () => true, working: (p) => p.status === "active" || p.status === "halted", trouble: troubled, ended: (p) => p.status !== "active" && p.status !== "halted" };

function lists() {
  const sought = $("find").value.trim().toLowerCase();
  const meets = (...texts) => !sought || texts.some((text) => text.toLowerCase().includes(sought));
  const orders = [...state.orders.values()].filter((p) => KEPT[$("which").value](p) && meets(p.cl_ord_id, p.symbol, ...p.cl_ord_ids));
  const symbols = [...state.symbols.values()].filter((s) => meets(s.symbol));
  fill("orders", orders.map((p) => ({
    name: p.cl_ord_id, plan: p, selected: p.cl_ord_id === state.order,
    pick: () => { pickOrder(p.cl_ord_id); state.list = "orders"; picked(); },
    cells: () => [{ text: `${p.cl_ord_id} ${p.side} ${p.symbol}`, title: p.cl_ord_ids.join(", ") }, status(p), `${figure((100 * p.cum_qty) / p.order_qty)}%`, figure(p.leaves_qty), figure(p.cost_bps, 1)],
  })));
  fill("symbols", symbols.map((s) => {
    const minute = minuteOf(s);
    return { name: s.symbol, minute, selected: s.symbol === state.symbol, pick: () => { state.symbol = s.symbol; state.list = "symbols"; picked(); },
      cells: () => [s.symbol, price(minute?.mid), figure(bps(minute?.half_spread, minute?.mid), 2), figure(minute?.held_qty)] };
  }));
  $("n-orders").textContent = `${orders.length === state.orders.size ? "" : `${orders.length} of `}${state.orders.size}`;
  $("n-symbols").textContent = `${symbols.length === state.symbols.size ? "" : `${symbols.length} of `}${state.symbols.size}`;
  $("clock").textContent = state.clock ? `${day(state.clock, state.zone)} ${clock(state.clock, state.zone)} ${state.zone}` : "";
  $("empty").hidden = state.symbols.size + state.orders.size > 0;
  $("no-alerts").hidden = state.alerts.length > 0;
  $("alerts").replaceChildren(...state.alerts.map((a) => {
    const item = document.createElement("li");
    for (const text of [clock(a.as_of, state.zone), a.kind.replaceAll("_", " "), [a.cl_ord_id ?? a.symbol, a.text].filter(Boolean).join(": ")]) {
      const span = document.createElement("span");
      span.textContent = text;
      item.append(span);
    }
    return item;
  }));
  judged();
}

function status(p) {
  if (p.status === "halted") return { text: "HALTED", className: "stop" };
  if (troubled(p)) return { text: `${p.status} ▲`, className: "look", title: p.blind ? "no book yet" : p.text ?? `${figure(p.shortfall_qty)} will be left over` };
  return p.status;
}

// A partition that is being restored does not know its halts yet: until it does, keep the last ones.
function haltsAre(partitions) {
  for (const known of partitions.length ? [...state.halts.keys()] : []) {
    if (!partitions.some((p) => p.partition === known)) state.halts.delete(known);
  }
  for (const p of partitions) if (p.phase === "running") state.halts.set(p.partition, p.halts);
}

function judged() {
  const scopes = [...new Set([...state.halts.values()].flat().map((h) => `${h.scope === "*" ? "everything" : h.scope}: ${h.reason}`))];
  const plans = [...state.orders.values()].filter((p) => p.status === "halted");
  const texts = scopes.length ? scopes : [...new Set(plans.map((p) => `${p.cl_ord_id}: ${p.text ?? ""}`))];
  $("halt").hidden = !texts.length;
  const text = texts.length ? `■ HALTED — ${texts.join(" · ")}` : "";
  if ($("halt").textContent !== text) $("halt").textContent = text;
  document.body.classList.toggle("halted", texts.length > 0);
  const [level, word, remedy] = texts.length ? ["bad", "HALTED", "Halted plans do not trade. Lift a halt with impactd resume, for the same scope."] : verdict(state);
  document.title = texts.length ? "■ HALTED — impactd" : level === "bad" || level === "warn" ? `▲ ${word} — impactd` : "impactd";
  const bar = $("verdict");
  bar.dataset.level = level;
  const [told, rest] = [bar.firstElementChild, bar.lastElementChild];
  if (told.textContent !== word) told.textContent = word;
  if (rest.textContent !== remedy) rest.textContent = remedy;
}

// More than a day behind is not a delay but a recorded day.
const behind = (minutes) => (minutes > 1440 ? "recorded" : figure(minutes, 1));

function healthIs(h) {
  state.health = h;
  state.zone = h.zone;
  haltsAre(h.partitions);
  $("ready").textContent = h.ready ? "ready" : `not ready: ${[...new Set(h.reasons.map((r) => r.kind))].join(", ")}`;
  $("ready").classList.toggle("bad", !h.ready);
  const most = (name) => h.partitions.reduce((a, p) => (p[name] === null ? a : Math.max(a ?? -Infinity, p[name])), null);
  const inMs = (s) => (s === null ? "–" : `${figure(1e3 * s, 1)} ms`);
  const inS = (s) => (s === null ? "–" : `${figure(s, 1)} s`);
  figures("health", [
    ["lag", `${figure(h.partitions.reduce((a, p) => a + p.lag, 0))} records`],
    ["oldest tick", inS(most("tick_age_s"))],
    ["minutes behind", behind(most("minutes_behind"))],
    ["commit, median", inMs(h.commit_p50_s)],
    ["commit, slowest 1%", inMs(h.commit_p99_s)],
    ["restores", figure(h.restores)],
    ["dead letters", figure(h.dead_letters), h.dead_letters > 0],
    ["brokers", h.broker_answers ? "answer" : "AWAY", !h.broker_answers],
  ]);
  $("partitions").tBodies[0].replaceChildren(...h.partitions.map((p) => cells(document.createElement("tr"), [p.partition, p.phase, figure(p.lag), figure(p.tick_age_s, 1), behind(p.minutes_behind), figure(p.commits), figure(p.restore_s, 2), p.orders, p.halted ? { text: p.halted, className: "stop" } : 0])));
  $("reasons").replaceChildren(...h.reasons.map((r) => {
    const item = document.createElement("li");
    item.textContent = `${r.partition === null ? "" : `partition ${r.partition}: `}${r.kind}, ${r.detail}`;
    return item;
  }));
  judged();
}

// Details

async function details() {
  const { symbol, order, version } = state;
  // An order may name a symbol without a closed minute.
  const market = state.symbols.has(symbol) ? await ask(`/api/symbols/${encodeURIComponent(symbol)}`) : null;
  if (market) showMarket(market, state);
  else $("market").hidden = true;
  if (!order || state.orders.get(order)?.symbol !== symbol) {
    $("order").hidden = true;
    return;
  }
  const found = await ask(`/api/orders/${encodeURIComponent(order)}`);
  const known = state.orders.get(order);
  if (known && found.costs) known.cost_bps = found.costs.arrival_bps;
  const [shown, before] = version === null ? [found.plan, found.previous] : await past(found, version);
  if (order !== state.order) return;
  showOrder(found, shown, before, market?.[found.plan.side] ?? null, state);
}

// A plan of the history, and the one before it, as far as they are still on their topic.
const kept = { order: null, plans: new Map() };
async function past(found, version) {
  const order = found.cl_ord_id;
  if (kept.order !== order) { kept.order = order; kept.plans.clear(); }
  const versions = found.plans.map(([v]) => v);
  const wanted = [version, versions[versions.indexOf(version) - 1]];
  const read = async (v) => {
    if (v === undefined) return null;
    if (!kept.plans.has(v)) {
      const answer = await fetch(`/api/plans/${encodeURIComponent(order)}/${v}`, { signal: AbortSignal.timeout(SILENCE_MS) }).catch(() => null);
      if (!answer?.ok) return null;
      kept.plans.set(v, await answer.json());
    }
    return kept.plans.get(v);
  };
  const [shown, before] = await Promise.all(wanted.map(read));
  $("step-note").textContent = shown ? "" : `Plan ${version} is no longer on its topic.`;
  if (!shown) { state.version = null; return [found.plan, found.previous]; }
  return [shown, before];
}

async function stepPlan(by) {
  if (!state.order || $("order").hidden) return;
  const found = await ask(`/api/orders/${encodeURIComponent(state.order)}`).catch(() => null);
  if (!found) return;
  const versions = found.plans.map(([v]) => v);
  const at = versions.indexOf(state.version ?? found.plan.plan_version);
  const next = versions[Math.min(Math.max(at + by, 0), versions.length - 1)];
  state.version = next === found.plan.plan_version ? null : next;
  $("step-note").textContent = "";
  picked();
}

// Controls

function theme(next) {
  document.documentElement.dataset.theme = next;
  picked();
}

function step(by) {
  const shown = names(state.list);
  const now = state.list === "orders" ? state.order : state.symbol;
  const next = shown[Math.min(Math.max(shown.indexOf(now) + by, 0), shown.length - 1)];
  if (next === undefined) return;
  if (state.list === "orders") pickOrder(next);
  else state.symbol = next;
  reveal(state.list, next);
  picked();
}

function view(name) {
  const trading = name === "trade";
  $("trade").hidden = !trading;
  $("service").hidden = trading;
  for (const [tab, on] of [["tab-trade", trading], ["tab-health", !trading]]) {
    $(tab).setAttribute("aria-selected", String(on));
    $(tab).tabIndex = on ? 0 : -1;
  }
  picked();
}

const flip = () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
const other = () => { state.side = state.side === "buy" ? "sell" : "buy"; picked(); };
const keys = {
  j: () => step(1), k: () => step(-1), o: () => { state.list = "orders"; step(0); }, s: () => { state.list = "symbols"; step(0); }, b: other, t: flip,
  "[": () => stepPlan(-1), "]": () => stepPlan(1), h: () => view($("trade").hidden ? "trade" : "service"), "/": () => $("find").focus(),
};

document.addEventListener("keydown", (e) => {
  if (e.target === $("find") && e.key === "Escape") { $("find").value = ""; $("find").blur(); changed(false); return; }
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.tagName === "INPUT" || e.target.tagName === "SELECT") return;
  if (e.target.getAttribute?.("role") === "tab" && (e.key === "ArrowLeft" || e.key === "ArrowRight")) { keys.h(); $($("trade").hidden ? "tab-health" : "tab-trade").focus(); return; }
  if (keys[e.key]) { e.preventDefault(); keys[e.key](); }
});
$("theme").onclick = flip;
$("side").onclick = other;
$("find").oninput = () => changed(false);
$("which").onchange = () => changed(false);
$("tab-trade").onclick = () => view("trade");
$("tab-health").onclick = () => view("service");
$("older").onclick = () => stepPlan(-1);
$("newer").onclick = () => stepPlan(1);
$("latest").onclick = () => { state.version = null; picked(); };
$("login").onsubmit = async (e) => {
  e.preventDefault();
  const answer = await fetch("/api/session", { method: "POST", body: $("token").value }).catch(() => null);
  $("refused").textContent = answer?.ok ? "" : answer ? "Wrong token." : "No answer.";
  if (answer?.ok) begin();
};
for (const element of document.querySelectorAll("[data-term]")) term(element, element.dataset.term);
const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));
document.documentElement.dataset.theme = dark.matches ? "dark" : "light";
// Charts are pictures in the theme's colours, and paper is light.
let onScreen = "light";
addEventListener("beforeprint", () => { onScreen = document.documentElement.dataset.theme; theme("light"); });
addEventListener("afterprint", () => theme(onScreen));
begin();

// One line that answers "am I all right?": the worst that holds now, and what to do about it.
import { clock, figure } from "/page/format.js";

// Alerts of an order that call for a look while they are recent: the word, or how its text gives it, and the remedy.
export const TROUBLE = {
  limit_blocks: ["BLOCKED", "The limit price lets nothing trade: wait, or replace the limit."],
  off_band: [(text) => (text.startsWith("behind") ? "BEHIND" : "AHEAD"), "Its share of volume is outside its limits: check the executor."],
  price_drift: ["DRIFT", "The price has moved from arrival: decide whether the order still stands."],
  cost_off_band: [(text) => (text.includes("above") ? "EXPENSIVE" : "CHEAP"), "Its fills do not cost what its first plan expected: check prices and executor."],
  overfill: ["OVERFILLED", "More was filled than ordered: stop the executor."],
  late_fill: ["LATE FILL", "A fill came after the order's end: check the executor."],
  execution_refused: ["FILL REFUSED", "A fill does not count: see the alerts, and send it again."],
  order_rejected: ["AMENDMENT REFUSED", "The order is worked as before: see the alerts."],
  solver_failed: ["FALLBACK", "Its plan is a fallback: see the alerts."],
  joint_fallback: ["FALLBACK", "Its plan is a fallback: see the alerts."],
  withheld: ["WITHHELD", "No plan of it is published: see the alerts."],
};
const RECENT_NS = 300e9;

// Reasons why the service is not ready: how bad, the word, and the remedy.
export const REASONS = {
  failed: ["bad", "FAILED", "The process ends and its supervisor starts it again; see its log."],
  broker_away: ["bad", "BROKER AWAY", "Nothing new is published. Check the brokers."],
  registry_away: ["bad", "REGISTRY AWAY", "Inputs wait for their schemas. Check the schema registry."],
  service: ["bad", "SERVICE AWAY", "Check that process: impactd health."],
  failing: ["bad", "FAILING", "The partition is acquired again by itself; see the log if it stays."],
  position_lost: ["bad", "POSITION LOST", "See the runbook, Recover."],
  not_committing: ["bad", "NOT COMMITTING", "Nothing new is published. The broker may be slow: see the Service tab."],
  stale_input: ["bad", "STALE", "Check the feed of the ticks topic."],
  invalid_ratio: ["bad", "BAD INPUT", "See the dead letters: impactd dlq."],
  lag: ["bad", "BEHIND THE FEED", "Records come faster than they are read: see the Service tab."],
  starting: ["idle", "STARTING", "It follows by itself."],
  acquiring: ["idle", "STARTING", "It follows by itself."],
  restoring: ["idle", "STARTING", "State is being read; plans follow by themselves."],
  leaving: ["idle", "MOVING", "Another process takes the partition over."],
  draining: ["idle", "STOPPING", "Another process takes over, if there is one."],
};

const of = (reason) => REASONS[reason.kind] ?? ["bad", "NOT READY", "See the Service tab."];

export function verdict(state) {
  const orders = [...state.orders.values()];
  const working = orders.filter((p) => p.status === "active" || p.status === "halted");
  if (state.away) return ["bad", "NO CONNECTION", `This page shows what it knew at ${clock(state.clock, state.zone)}. It reconnects by itself; check the service with impactd health.`];
  const reason = state.health?.reasons.toSorted((a, b) => (of(b)[0] === "bad") - (of(a)[0] === "bad"))[0];
  if (reason) {
    const [level, word, remedy] = of(reason);
    return [level, word, `${reason.partition === null ? "" : `partition ${reason.partition}: `}${reason.detail}. ${remedy}`];
  }
  const blind = working.find((p) => p.blind);
  if (blind) return ["warn", "BLIND", `${blind.symbol} has had no book: ${blind.cl_ord_id} is planned without price or volume. Check its feed.`];
  const told = state.alerts.find((a) => TROUBLE[a.kind] && a.cl_ord_id && state.clock - Number(a.as_of) < RECENT_NS && working.some((p) => p.cl_ord_id === a.cl_ord_id));
  if (told) {
    const [word, remedy] = TROUBLE[told.kind];
    return ["warn", typeof word === "string" ? word : word(told.text), `${told.cl_ord_id}: ${told.text}. ${remedy}`];
  }
  const short = working.filter((p) => p.shortfall_qty > 0).sort((a, b) => b.shortfall_qty / b.order_qty - a.shortfall_qty / a.order_qty)[0];
  if (short) return ["warn", "WILL NOT COMPLETE", `${short.cl_ord_id} leaves ${figure(short.shortfall_qty)} of ${figure(short.order_qty)}: ${short.shortfall_limits?.join(", ") ?? "its limits and its window"} cannot hold them. Replace a limit or the end, or accept it.`];
  if (!state.symbols.size && !orders.length) return ["idle", "WAITING", "No minute has closed yet: the first figures come with the end of the first minute of books."];
  if (!working.length) return ["idle", "READY", orders.length ? "No order is working; every one has ended." : "No order yet. Send one with impactd order new."];
  if (working.every((p) => p.prior)) return ["idle", "WARMING UP", `${several(working)} as planned, by the costs of a generic day until the market has shown enough minutes; ${fresh(state)}.`];
  return ["good", "ALL WELL", `${several(working)} as planned; ${fresh(state)}.`];
}

const several = (orders) => `${orders.length} ${orders.length === 1 ? "order works" : "orders work"}`;

// How fresh the data is: the last closed minute, and the longest time that a partition has been without a tick.
function fresh(state) {
  const parts = state.health?.partitions ?? [];
  const ages = parts.map((p) => p.tick_age_s).filter((age) => age !== null);
  const recorded = parts.some((p) => p.minutes_behind > 1440);
  const last = recorded ? ", of a recorded day" : ages.length ? `, last tick ${figure(Math.max(...ages), 1)} s ago` : "";
  return `data to ${clock(state.clock, state.zone)}${last}`;
}

// Whether an order needs a look.
export const troubled = (p) => p.status === "halted" || p.status === "rejected" || p.blind || p.shortfall_qty > 0;

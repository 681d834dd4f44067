// One line that answers "am I all right?": the worst that holds now, and what to do about it.
import { clock, figure } from "/page/format.js";

// Alerts that stay true of an order for a while, and the remedy.
const TROUBLE = {
  limit_blocks: ["BLOCKED", "The limit price lets nothing trade. Wait, or replace the limit."],
  band_behind: ["BEHIND", "The order trades less than its least share of volume. Check the executor."],
  band_ahead: ["AHEAD", "The order trades more than its share of volume. Slow the executor down."],
  drift: ["DRIFT", "The price has moved from arrival. Decide whether the order still stands."],
  cost_outside: ["EXPENSIVE", "Fills cost more than their band. Check price and executor, or slow the order down."],
  overfill: ["OVERFILLED", "More was filled than ordered. Stop the executor."],
  solver_failed: ["FALLBACK", "The plan is a fallback. See the alerts."],
  joint_fallback: ["FALLBACK", "The plan is a fallback. See the alerts."],
};
const RECENT_NS = 300e9;

const REMEDY = {
  lag: "The service reads slower than records come: see the Service tab.",
  ticks: "Check the feed of the ticks topic.",
  commit: "The broker may be slow: see the Service tab.",
  partitions: "State is being restored; plans follow by themselves.",
  broker: "Check the brokers.",
};

export function verdict(state) {
  const orders = [...state.orders.values()];
  const working = orders.filter((p) => p.status === "active" || p.status === "halted");
  if (state.away) return ["bad", "NO CONNECTION", `This page shows what it knew at ${clock(state.clock, state.zone)}. It reconnects by itself; check the service with impactd health.`];
  if (state.health && !state.health.broker_answers) return ["bad", "BROKER AWAY", "Nothing new is published. Check the brokers."];
  const reason = state.health?.reasons[0];
  if (reason) {
    const where = reason.partition === null ? "" : `partition ${reason.partition}: `;
    return ["bad", reason.kind === "ticks" ? "STALE" : "NOT READY", `${where}${reason.detail}. ${REMEDY[reason.kind] ?? "See the Service tab."}`];
  }
  const blind = working.find((p) => p.blind);
  if (blind) return ["warn", "BLIND", `${blind.symbol} has had no book: ${blind.cl_ord_id} is planned without price or volume. Check its feed.`];
  const told = state.alerts.find((a) => TROUBLE[a.kind] && a.cl_ord_id && state.clock - Number(a.as_of) < RECENT_NS && working.some((p) => p.cl_ord_id === a.cl_ord_id));
  if (told) return ["warn", TROUBLE[told.kind][0], `${told.cl_ord_id}: ${told.text}. ${TROUBLE[told.kind][1]}`];
  const short = working.filter((p) => p.shortfall_qty > 0).sort((a, b) => b.shortfall_qty / b.order_qty - a.shortfall_qty / a.order_qty)[0];
  if (short) return ["warn", "WILL NOT COMPLETE", `${short.cl_ord_id} leaves ${figure(short.shortfall_qty)} of ${figure(short.order_qty)}: its limits and its window cannot hold them. Replace a limit or the end, or accept it.`];
  if (!state.symbols.size && !orders.length) return ["idle", "WAITING", "No minute has closed yet: the first figures come with the end of the first minute of books."];
  if (!working.length) return ["idle", "READY", orders.length ? "No order is working; every one has ended." : "No order yet. Send one with impactd order new."];
  return ["good", "ALL WELL", `${working.length} ${working.length === 1 ? "order works" : "orders work"} as planned; data to ${clock(state.clock, state.zone)}.`];
}

// Whether an order needs a look.
export const troubled = (p) => p.status === "halted" || p.status === "rejected" || p.blind || p.shortfall_qty > 0;

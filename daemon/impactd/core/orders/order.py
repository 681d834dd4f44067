"""A parent order: its terms, fills and schedule, and what its quantities come to.

`impactd.core.orders.life` changes it with each event.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from impactd.core.base.instrument import UNDEFINED, Instrument
from impactd.core.base.quantity import QUANTA
from impactd.core.base.topics import Side
from impactd.core.inputs.events import (
    NewOrder,
)
from impactd.core.inputs.terms import Terms
from impactd.core.orders.auction import Entry, entered
from impactd.core.orders.costs import Costs, Mark
from impactd.core.orders.schedule import Schedule


class Status(StrEnum):
    """Status of an order; ``halted`` is a plan's status only, over an active order."""

    ACTIVE = "active"
    DONE = "done"
    EXPIRED = "expired"
    CANCELED = "canceled"
    REJECTED = "rejected"


class Execution(NamedTuple):
    """An execution as it counts now."""

    #: Position among the order's executions, in order of arrival.
    n: int
    #: Quanta; of a fill, as its latest amendment has it; 0 for the amendments themselves.
    qty: int
    px: float
    #: Its own event time, ns.
    ts_event: int
    #: The fill that it amends; None for a fill.
    fill_id: str | None = None
    #: exec_id of a fill's latest amendment; None if it has none.
    latest: str | None = None
    #: ts_event of that amendment, ns; 0 if there is none.
    amended_at: int = 0
    auction: bool = False
    #: Digest of what was reported under its exec_id (`impactd.core.orders.life`).
    content: int = 0
    mark: Mark | None = None


class ApplyContext(NamedTuple):
    """The event time at which an event applies, and the limits."""

    #: Event time, ns.
    now: int
    interval_ns: int
    max_intervals: int
    #: Most executions that an order remembers.
    max_executions: int
    #: Of transient impact; None without it.
    half_life_ns: int | None = None
    #: Whether the symbol's market opens and closes, so that it has auctions.
    auctions: bool = True
    venues: tuple[str, ...] = ()
    #: Whether orders are worked in slices, which take the merged book of all venues.
    sliced: bool = False


def in_lots(terms: Terms, instrument: Instrument) -> Terms:
    """Return the terms with the instrument's lot where they state none."""
    return terms if terms.lot_size else terms.changed({"lot_size": instrument.lot})


#: Bounds that keep an order's state value below 256 kB: ids of the chain after the first, replaces that are
#: remembered, and intervals whose quantity was assumed.
MAX_IDS: Final = 256
MAX_REPLACES: Final = 256
MAX_ASSUMED: Final = 2_000

#: Intervals from that of `Order.clock` on whose fills are kept; more than one where ticks lag.
_MAX_OPEN: Final = 64


@dataclass(slots=True)
class Order:
    """One parent order with its state. Quantities in quanta, times in ns."""

    new: NewOrder
    terms: Terms
    status: Status = Status.ACTIVE
    text: str | None = None
    cum_qty: int = 0
    plan_version: int = 0
    #: The latest event time that the order has been planned or amended at.
    clock: int = 0
    schedule: Schedule = field(default_factory=Schedule)
    #: Ids of the chain after the first, oldest first.
    later_ids: list[str] = field(default_factory=list)
    #: Digests of the latest replaces, to recognise one that is delivered again.
    replaces: list[str] = field(default_factory=list)
    #: Whether a replace has asked for less than was filled.
    reduced: bool = False
    #: Whether it was canceled once it was done: what a bust takes back is then not worked again.
    cancel_asked: bool = False
    #: Net fills by start of the interval of their ts_event, from the interval of `clock` on.
    filled_in: dict[int, int] = field(default_factory=dict)
    #: With ``fills = "scheduled"``: the quantity that counts as filled without a report, by start of its interval.
    assumed: dict[int, int] = field(default_factory=dict)
    #: Starts of the intervals among these that have changed since they were saved last.
    reassumed: set[int] = field(default_factory=set, compare=False)
    #: Continuous volume of the market in closed minutes since `works_from`, shares.
    market_volume: float = 0.0
    #: Start of the last interval in which it may trade, ns, as it was last planned; 0 where it may not.
    last_start: int = 0
    #: Its entries in auctions (`impactd.core.planning.auctions`), and what auctions have filled, quanta.
    auctions: tuple[Entry, ...] = ()
    auction_qty: int = 0
    #: Lowest and highest cost of a share, price, by the band at 0.95 of the first plan that had one.
    cost_band: tuple[float, float] | None = None
    #: Where the market was about its limit and would price when it was planned (`impactd.core.planning.price_watch`).
    zones: str = ""
    #: When its drift view was sent, ns (`impactd.core.planning.alpha`).
    view_from: int = 0
    #: With an urgency: impact of an interval at an even pace over the squared pace, price per share, the number of the
    #: interval after the one it was last planned in, and the same from there on (`impactd.core.planning.urgency`).
    impact_scale: list[float] = field(default_factory=list)
    #: Conditions that have been alerted and still hold, so that each is alerted once.
    alerted: set[str] = field(default_factory=set)
    executions: dict[str, Execution] = field(default_factory=dict)
    #: Whether it was last planned by itself, to be planned with its group later.
    single: bool = False
    #: Whether the last published plan was a halted one, and whether its schedule was made without a tick.
    halted: bool = False
    blind: bool = False
    ended_at: int | None = None
    #: Mid when it began to work and when it ended, prices (`impactd.core.orders.costs`).
    arrival_px: float | None = None
    end_px: float | None = None
    #: Turnover (currency) and continuous volume of the market while it worked, over minutes with a VWAP.
    vwap_turnover: float = 0.0
    vwap_volume: float = 0.0
    #: Cost of its fills.
    costs: Costs = field(default_factory=Costs)
    #: When it ended, ns, and its opportunity cost (`impactd.core.orders.costs`); None while it works.
    closed: tuple[int, int] | None = None
    #: Whether the latter is unknown, for lack of a mid on arrival or at the end; it counts as 0 then.
    unpriced: bool = False
    #: Displacement by its own fills that is left at `displaced_at` (ns), and what a share adds to it now, both times
    #: the square root of depth (`impactd.core.planning.transient`); 0 without transient impact.
    displacement: float = 0.0
    displaced_at: int = 0
    depth_root: float = 0.0
    #: The definition under which it was taken.
    instrument: Instrument = UNDEFINED

    @classmethod
    def open(cls, new: NewOrder, now: int, instrument: Instrument = UNDEFINED) -> Order:
        """Return the order that `new` describes, active, at event time `now`."""
        terms = in_lots(new.terms, instrument)
        return cls(new=new, terms=terms, clock=now, view_from=new.ts_event, instrument=instrument)

    @property
    def order_qty(self) -> int:
        """Quantity of the order; what is filled if a replace has asked for less."""
        return max(self.terms.order_qty, self.cum_qty) if self.reduced else self.terms.order_qty

    @property
    def cl_ord_id(self) -> str:
        """First id of the chain: names the order for life."""
        return self.new.cl_ord_id

    @property
    def ids(self) -> tuple[str, ...]:
        """Every id of the order's chain, oldest first."""
        return (self.cl_ord_id, *self.later_ids)

    @property
    def symbol(self) -> str:
        """Symbol it trades."""
        return self.new.symbol

    @property
    def side(self) -> Side:
        """Side it trades on."""
        return self.new.side

    @property
    def active(self) -> bool:
        """Whether it can still trade."""
        return self.status is Status.ACTIVE

    @property
    def leaves_qty(self) -> int:
        """What is left to trade; 0 once the order has ended."""
        left = self.terms.order_qty - self.cum_qty if self.active else 0
        return max(left, 0)

    def limit(self, mid: float | None) -> float | None:
        """Return the limit price; None without one, or where a relative one has nothing to be relative to.

        Until the order has its arrival price, a relative limit is about `mid`, the mid now.
        """
        terms = self.terms
        if terms.limit_offset_bps is None:
            return terms.limit_px
        base = mid if self.arrival_px is None else self.arrival_px
        return None if base is None else base * (1.0 + self.side.sign * terms.limit_offset_bps / 1e4)

    def would(self, mid: float | None) -> float | None:
        """Return its would price, or its limit where that is the better one; None without a would price."""
        would, limit = self.terms.would_px, self.limit(mid)
        if would is None or limit is None:
            return would
        return min(would, limit) if self.side is Side.BUY else max(would, limit)

    @property
    def works_from(self) -> int:
        """When it begins to work: at its window's start, or when it was sent into a window that had begun, ns."""
        return max(self.terms.start, self.new.ts_event)

    @property
    def entered_qty(self) -> int:
        """What its entries in auctions may still fill, quanta."""
        return entered(self.auctions) if self.auctions else 0

    @property
    def continuous_qty(self) -> int:
        """What is left to trade outside of auctions, quanta."""
        return max(self.leaves_qty - self.entered_qty, 0)

    @property
    def off_plan(self) -> bool:
        """Whether executions deviate from the current schedule."""
        return not self.schedule.on_path or self.schedule.left_qty + self.entered_qty != self.leaves_qty

    def fill(self, ts_event: int, qty: int, at: ApplyContext, *, auction: bool = False) -> int:
        """Add a change of the filled quantity at the interval of `ts_event`; return the quanta that it replaces.

        A fill of an auction counts towards the latest entry that was to be there by then.  A report for an interval
        whose quantity was assumed replaces the assumption as far as it goes.
        """
        interval = ts_event // at.interval_ns * at.interval_ns
        replaced = min(self.assumed.get(interval, 0), max(qty, 0))
        if replaced:
            self.reassumed.add(interval)
            self.assumed[interval] -= replaced
            if not self.assumed[interval]:
                del self.assumed[interval]
        self.cum_qty += qty - replaced
        if auction:
            self.enter(ts_event, qty - replaced)
            return replaced
        self._note_filled(interval, qty - replaced, at.interval_ns)
        self.displace(ts_event, qty - replaced, at)
        self.schedule.fill(ts_event, qty - replaced, at.interval_ns)
        return replaced

    def enter(self, ts_event: int, qty: int) -> None:
        """Count `qty` quanta as filled by the latest auction whose cutoff was by `ts_event`, ns."""
        self.auction_qty += qty
        due = [k for k, entry in enumerate(self.auctions) if entry.cutoff <= ts_event]
        if due:
            entries = list(self.auctions)
            entries[due[-1]] = entries[due[-1]]._replace(filled=entries[due[-1]].filled + qty)
            self.auctions = tuple(entries)

    def assume(self, ts: int, qty: int, at: ApplyContext) -> None:
        """Count the unfilled quantity of the closed interval that holds `ts` as filled."""
        interval = ts // at.interval_ns * at.interval_ns
        self.assumed[interval] = self.assumed.get(interval, 0) + qty
        self.reassumed.add(interval)
        if len(self.assumed) > MAX_ASSUMED:
            oldest = min(self.assumed)
            del self.assumed[oldest]
            self.reassumed.add(oldest)
        self.cum_qty += qty
        self.displace(ts, qty, at)

    def take(self, ts: int, qty: int, at: ApplyContext) -> None:
        """Count a slice that was published at `ts` as filled: a part of its interval's plan, as a fill is."""
        self.assume(ts, qty, at)
        self._note_filled(ts // at.interval_ns * at.interval_ns, qty, at.interval_ns)
        self.schedule.fill(ts, qty, at.interval_ns)

    def displace(self, ts_event: int, qty: int, at: ApplyContext) -> None:
        """Add the displacement of `qty` quanta filled at `ts_event`, dated at the start of its interval as in plans."""
        if at.half_life_ns is None or qty <= 0:
            return
        since = max(ts_event // at.interval_ns * at.interval_ns, self.works_from, self.displaced_at)
        self.displacement *= math.pow(0.5, (since - self.displaced_at) / at.half_life_ns)
        self.displacement += self.depth_root * qty / QUANTA
        self.displaced_at = since

    def _note_filled(self, interval: int, qty: int, interval_ns: int) -> None:
        """Add to the net fills of an interval; those before the interval of `clock` are no longer planned."""
        first = self.clock // interval_ns * interval_ns
        kept = {start: filled for start, filled in self.filled_in.items() if start >= first}
        if interval >= first:
            kept[interval] = kept.get(interval, 0) + qty
        self.filled_in = dict(sorted(kept.items())[-_MAX_OPEN:])

    def finish(self, status: Status, now: int, text: str | None = None) -> None:
        """End the order at event time `now`."""
        self.status = status
        self.text = text
        self.ended_at = now
        self.schedule = Schedule()

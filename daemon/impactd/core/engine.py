"""The engine: one partition's state machine, events in, messages out.

`Engine.apply` takes the inputs of one commit and returns everything that the
commit publishes: outputs, changed state keys and the journal record.  It reads
no clock: time is the time of events and of idle moves, which are inputs too.

Within a commit events apply in the order of the inbox: each order, execution
and control event before the first tick whose key is not smaller.  A minute
closes before the first tick past its end: its estimate is published, its models
are refitted and published, and its symbol's orders are planned.  Minutes that
close together do so by time, then by symbol.

With ``apply = "in_event_time"`` an event first closes the minutes that ended
before its own time.  Otherwise an idle move, which may or may not have closed
them already, would decide which state the event meets.

`apply` changes the engine's memory.  If a commit's outcome is not known to be
good, the engine is discarded and another is loaded from the state topic: memory
counts only after its commit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, cast

import numpy as np
import orjson

from impactd.__about__ import __version__
from impactd.core.base.settings import CoreSettings
from impactd.core.base.stateful import Foreign, SingleKey, Stateful
from impactd.core.base.timing import Probe, unwatched
from impactd.core.base.topics import INPUT_TOPICS, SIDES, Side, Topic
from impactd.core.base.venue import venue_of, whole_of
from impactd.core.books.aggregator import MinuteAggregator
from impactd.core.books.minute import MinuteStats
from impactd.core.books.store import FOREVER
from impactd.core.desk import Desk
from impactd.core.inputs.alerts import FeedAlerts
from impactd.core.inputs.anchors import Anchor
from impactd.core.inputs.events import NewOrder
from impactd.core.inputs.idle import idle_boundary
from impactd.core.inputs.inbox import Inputs, Pending
from impactd.core.inputs.instruments import Instruments
from impactd.core.inputs.ticks import Refused, TickBatch
from impactd.core.market.markets import Markets
from impactd.core.market.symbol import SymbolMarket
from impactd.core.model.learned.trained import learned_of
from impactd.core.orders.halts import Halts
from impactd.core.orders.ledger import Ledger
from impactd.core.orders.market_status import MarketStatus
from impactd.core.orders.order import Order
from impactd.core.outputs.messages import DeadLetter
from impactd.core.outputs.outbox import Outbox
from impactd.core.planning.estimate import CostEstimate, NoEstimateError, estimate
from impactd.core.state.commit import Commit, inputs_record
from impactd.core.state.identity import Identity, Opened
from impactd.core.state.schema import META, SETTINGS
from impactd.core.state.snapshot import is_due, snapshot_records
from impactd.core.state.whole import WHOLE, WholeState

__all__ = ["Commit", "Engine"]


class Engine:
    """The state machine of one partition.

    Parameters
    ----------
    release : str
        Names the code in the journal: the same release derives the same bytes.
    snapshot_ns : int, optional
        A commit that carries event time past a multiple of this puts the
        whole state into the journal; 0 for never.

    Attributes
    ----------
    positions : dict of Topic to int
        Next offset of each input topic.
    clocks : dict of Topic to int
        Running maximum of the keys of each input topic, ns.
    anchors : dict of Topic to Anchor
        Last record applied of each input, where the inbox was given records.
    built : Foreign
        Books that are built from changes, as the reader of the ticks saves them (`impactd.wire.live_books`).
    desk : type of Desk
        Works the orders.
    """

    desk: ClassVar[type[Desk]] = Desk

    def __init__(
        self,
        settings: CoreSettings,
        *,
        partition: int = 0,
        partitions: int = 1,
        release: str = __version__,
        probe: Probe = unwatched,
        snapshot_ns: int = 0,
    ) -> None:
        self.settings = settings
        self.partition = partition
        self.partitions = partitions
        self.positions: dict[Topic, int] = dict.fromkeys(INPUT_TOPICS, 0)
        self.clocks: dict[Topic, int] = dict.fromkeys(INPUT_TOPICS, 0)
        self.anchors: dict[Topic, Anchor] = {}
        self.commit_seq = 0
        self._identity = Identity(settings, partition, partitions, release)
        self._whole = WholeState()
        self._snapshot_ns = snapshot_ns
        #: The state that was loaded, until it is handed over.
        self._opened: Opened | None = None
        self._in_event_time = settings.apply == "in_event_time"
        self._interval = settings.books.interval_ns
        learned = learned_of(settings)  # refuses a bad file before the first event, not at the first symbol
        #: Symbols that the trained file knows; empty where there is none, or it does not say.
        self._taught = () if learned is None else learned.symbols
        self._probe = probe
        self._outbox = Outbox()
        self.halts = Halts(markets=MarketStatus(settings.max_symbols))
        self.instruments = Instruments(settings)
        self._books = MinuteAggregator(
            settings.books,
            settings.max_symbols,
            self.halts.halted_since,
            self.instruments.negative_px,
            settings.venues,
        )
        self._markets = Markets(settings, self._books)
        self.orders = Ledger()
        self._desk = self.desk(
            settings, self.orders, self.halts, self.instruments, self._books, self._markets, self._outbox, probe
        )
        self._alerts = FeedAlerts(settings, self._outbox)
        self.invalid = self._alerts.invalid
        self.built = Foreign("built/", "changes/")
        self._stateful: tuple[Stateful, ...] = (
            self.instruments,
            self.halts.markets,
            self._books,
            self._markets,
            *self._desk.stateful,
            SingleKey("feed", self._alerts.dump, self._alerts.load),
            self.built,
        )

    # --- commits ----------------------------------------------------------

    def genesis(self, positions: Mapping[Topic, int]) -> Commit:
        """Return the first commit of an empty state: explicit positions and the full settings."""
        self.positions = {topic: positions.get(topic, 0) for topic in INPUT_TOPICS}
        journal = self._identity.record("genesis", self.commit_seq) | {
            "positions": {str(topic): self.positions[topic] for topic in INPUT_TOPICS},
            **self._identity.terms,
        }
        state = self._with_meta(self._changed() | {SETTINGS: self._identity.saved_settings()})
        return Commit((), state, journal)

    def handover(self) -> Commit | None:
        """Return the commit with which a loaded state continues if settings, release or schema have changed."""
        opened, self._opened = self._opened, None
        if opened is None or opened.previous is None:
            return None
        self.commit_seq += 1
        journal = self._identity.record("settings", self.commit_seq) | {"previous": opened.previous}
        # Parts may read a state of other settings as less than it holds: what is written is what they continue from.
        now = self.dump()
        gone = dict.fromkeys(key for key in opened.items if key not in now)
        held = {key: value for key, value in now.items() if key != META and opened.items.get(key) != value}
        state = self._with_meta({**opened.rewritten, **gone, **held, SETTINGS: self._identity.saved_settings()})
        return Commit((), state, journal | self._identity.terms, self.snapshot())

    def snapshot(self) -> tuple[Mapping[str, object], ...]:
        """Return the journal records that hold the whole current state."""
        return snapshot_records(self._identity.record("snapshot", self.commit_seq), self._identity.terms, self.dump())

    def apply(self, inputs: Inputs) -> Commit:
        """Apply the inputs of one commit and return what it publishes.

        Parameters
        ----------
        inputs : Inputs
            From this partition's inbox; its spans begin at `positions`.

        Raises
        ------
        ValueError
            If the spans do not begin at the engine's positions: the caller
            has lost or repeated input.
        """
        for topic, (start, _) in inputs.spans.items():
            if start != self.positions[topic]:
                raise ValueError(f"{topic}: the inputs begin at {start}, the state at {self.positions[topic]}")
        self.positions |= {topic: to for topic, (_, to) in inputs.spans.items()}
        self.anchors |= inputs.anchors
        self.built.put(inputs.built)
        self.commit_seq += 1
        outbox = self._outbox
        row, before_ns = 0, outbox.clock
        outbox.trigger = None
        for control in inputs.controls:
            self._desk.switch(control, max(outbox.clock, *self.clocks.values()))
        for pending in inputs.events:
            if pending.topic is Topic.TICKS:
                before = int(np.searchsorted(inputs.ticks.offset, pending.offset))
            else:
                before = int(np.searchsorted(inputs.tick_keys, pending.key))
                self.clocks[pending.topic] = max(self.clocks[pending.topic], pending.key)
            row = self._run(inputs, row, before)
            outbox.trigger = (pending.topic, pending.offset)
            if self._in_event_time and pending.topic is not Topic.TICKS:
                self._reach(pending.key)
                self._close_until(pending.key // self._interval * self._interval)
                self._reach_pace(pending.key)
            self._receive(pending, max(pending.key, outbox.clock))
        self._run(inputs, row, len(inputs.ticks))
        if inputs.idle_to is not None:
            self._idle(inputs.idle_to)
        outbox.counts.ticks += len(inputs.ticks)
        journal = self._identity.record("commit", self.commit_seq) | inputs_record(inputs)
        outputs, counts = outbox.take()
        due = is_due(self._snapshot_ns, before_ns, outbox.clock)
        return Commit(outputs, self._with_meta(self._changed()), journal, self.snapshot() if due else (), counts)

    def estimate(self, new: NewOrder, max_cost_bps: float | None = None) -> CostEstimate:
        """Return what an order would cost from now on; no state changes.

        Parameters
        ----------
        new : NewOrder
            Which need not be of this partition's orders; a window that has begun begins now.
        max_cost_bps : float, optional
            Cost limit for the largest size.

        Raises
        ------
        NoEstimateError
            If there is no data on the symbol, or the window is over.
        """
        market = self._markets.get(new.symbol)
        if market is None:
            near = next((name for name in self._books.symbols if name.casefold() == new.symbol.casefold()), None)
            remedy = (
                "check its spelling, or ask for a time after its first ticks"
                if near is None
                else f"there is some on {near}: give that"
            )
            raise NoEstimateError(f"symbol: no data on {new.symbol} yet; {remedy}")
        now = self._outbox.clock or new.ts_event
        order = Order.open(dataclasses.replace(new, ts_event=now), now, self.instruments.of(new.symbol))
        return estimate(
            order,
            now,
            market.view(new.side, now),
            self.settings.plans,
            self._interval,
            lambda starts: self._desk.planned(new.symbol, new.side, starts),
            max_cost_bps,
        )

    # --- inputs -----------------------------------------------------------

    def _run(self, inputs: Inputs, row: int, stop: int) -> int:
        """Apply the tick rows from `row` to `stop` and return where the next begin."""
        batch, keys = inputs.ticks, inputs.tick_keys
        self.invalid.used_rows(keys[row:stop])
        while row < stop:
            self._desk.wake(int(keys[row]))
            mark = self._desk.next
            is_due = int(keys[row]) >= mark
            if not is_due:
                until = stop if mark == FOREVER else row + int(np.searchsorted(keys[row:stop], mark))
                row = self._books.run(batch, row, until)
                if row == until:
                    continue
            time = int(keys[row])
            self._outbox.trigger = (Topic.TICKS, int(batch.offset[row]))
            self._reach(time)
            self._close_before(batch, row)
            if is_due:
                # In the order of time: minutes that end before what is due close first, as silence would close them,
                # also if the row itself is refused.
                self._close_due(time)
                self._reach_pace(time)
        if row:
            self._reach(int(keys[row - 1]))
            self.clocks[Topic.TICKS] = max(self.clocks[Topic.TICKS], int(keys[row - 1]))
        return row

    def _reach(self, time: int) -> None:
        self._outbox.clock = max(self._outbox.clock, time)

    def _reach_pace(self, time: int) -> None:
        """Plan by price and by volume and decide on slices, as far as is due by `time`, ns."""
        if self._desk.next <= time:
            self._reach(time)
            self._desk.reach(time)

    def _receive(self, pending: Pending, now: int) -> None:
        item = pending.item
        if isinstance(item, Refused):
            self._outbox.counts.refused += 1
            letter = DeadLetter(pending.topic, item.offset, item.reason, item.detail, item.codec, item.raw, item.key)
            self._outbox.publish(Topic.DLQ, None, letter)
            self._alerts.refused(pending.topic, item, pending.key, now)
        else:
            self.invalid.used(pending.key)
            self._desk.receive(item, now, pending.topic)

    def _idle(self, watermark: int) -> None:
        self._outbox.trigger = None
        self._reach(watermark)
        self._books.idle(watermark)
        self._close_until(watermark)
        self._reach_pace(watermark)
        self._desk.expire_held(watermark)

    # --- minutes ----------------------------------------------------------

    def _close_before(self, batch: TickBatch, row: int) -> None:
        """Close every minute that must have closed before a tick row is applied."""
        ts_event = int(batch.ts_event[row])
        while closing := self._books.closing(batch, row):
            self._close_earliest(closing, ts_event)

    def _close_until(self, time: int) -> None:
        """Close every minute that ended by `time`."""
        self._close_due(time + self.settings.books.grace_ns, time)

    def _close_due(self, clock: int, time: int | None = None) -> None:
        """Close every minute whose grace is over by `clock`, ns, at event time `time`, by default the clock's."""
        while due := self._books.due(clock):
            self._close_earliest(due, clock if time is None else time)

    def _close_earliest(self, symbols: list[str], time: int) -> None:
        """Close the earliest open minutes among `symbols`, which are due at `time`."""
        earliest = cast(int, self._books.minute(symbols[0]))  # what is due has an open minute
        for symbol in symbols:
            if self._books.minute(symbol) == earliest:
                self._close(symbol, earliest, time)
        self._alerts.dropped(self._books.unknown_rows, earliest + self._interval)
        self._desk.expire_held(time)

    def _close(self, symbol: str, minute: int, time: int) -> None:
        """Close a minute, or skip minutes without a prevailing book or a working order."""
        self._desk.reach(minute + self._interval)
        idle = self._books.is_idle(symbol)
        if idle:
            until = self.orders.begins(symbol) // self._interval * self._interval
            if until > minute:
                last_due = (time - self.settings.books.grace_ns) // self._interval * self._interval
                next_minute = max(min(last_due, until), minute + self._interval)
                self._books.skip_to(symbol, next_minute)
                self._desk.forget(symbol, next_minute)
                return
        stats = self._books.close_minute(symbol)
        counts = self._outbox.counts
        if not self._books.venues(symbol):  # what a venue's ticks count for is counted there
            counts.rows_accepted += stats.n_books + stats.n_trades
        counts.rows_late += stats.n_late
        counts.rows_rejected.update(stats.rejected)
        end = minute + self._interval
        if venue_of(symbol) is not None:
            self._close_venue(stats, end, idle=idle)
            return
        shifted: set[Side] = set()
        if not idle:
            counts.minutes += 1
            market = self._markets.of(symbol)
            self._markets.mark(symbol)
            if market.publishes:
                for side in SIDES:
                    self._outbox.publish(Topic.ESTIMATES, symbol, stats.estimate(side, self._interval // 1_000_000_000))
            with self._probe("refit"):
                models = market.close(stats, self._interval, counts, self._desk.slices.paid(symbol))
            shifted = market.shifted
            self._alerts.shifted(symbol, shifted, end)
            if market.switched:
                self._alerts.forecaster_changed(
                    symbol, end, market.learned_lead, learned=market.learned, taught=self._taught
                )
            for model in models:
                counts.refits += 1
                self._outbox.publish(Topic.MODELS, symbol, model)
            self._alerts.bad_books(symbol, stats.rejected, stats.n_books, end)
            self._alerts.other_publisher(symbol, stats.rejected, (stats.publisher, stats.other_publisher), end)
            self._alerts.other_instrument(symbol, stats.rejected, (stats.instrument, stats.other_instrument), end)
        if not idle or not self._books.sizes(symbol):
            # Without books there is no depth to choose by: the current grid stays.
            self._regrid(symbol, stats)
        self._desk.on_minute_close(symbol, end, self._books.last_ts(symbol), stats, shifted)

    def _close_venue(self, stats: MinuteStats, end: int, *, idle: bool) -> None:
        """Publish the closed minute of a symbol at a venue; alert if its book has become too old in it."""
        symbol, venue = whole_of(stats.symbol), str(venue_of(stats.symbol))
        if not idle:
            for side in SIDES:
                self._outbox.publish(Topic.ESTIMATES, symbol, stats.estimate(side, self._interval // 1_000_000_000))
            self._alerts.bad_books(symbol, stats.rejected, stats.n_books, end, venue)
            instruments = stats.instrument, stats.other_instrument
            self._alerts.other_instrument(symbol, stats.rejected, instruments, end, venue)
        if not idle or not self._books.sizes(stats.symbol):
            self._regrid(symbol, stats)
        old = self._books.became_old(stats.symbol, stats.minute)
        if old is not None and self._markets.session(symbol).open_at(np.array([stats.minute]), self._interval).all():
            self._alerts.venue_lost(symbol, venue, old, end)

    def _regrid(self, symbol: str, stats: MinuteStats) -> None:
        """Choose the sizes at which the books of a minute's symbol, or of its venue, are walked next."""
        demand, lot = self.orders.demand_range(symbol, self._interval), self.orders.lot(symbol)
        self._books.regrid(stats.symbol, stats, demand, lot)

    def idle_target(self, elapsed_ns: int, now_ns: int) -> int | None:
        """Return the watermark that an idle partition may move to, or None if nothing is due by then.

        A minute's close or the expiry of a held event is due;
        `impactd.core.inputs.idle` bounds the watermark.

        Parameters
        ----------
        elapsed_ns : int
            Monotonic time since the partition's last tick was fetched.
        now_ns : int
            Wall clock, ns since the epoch.
        """
        last = self.clocks[Topic.TICKS] or max(self.clocks.values())
        boundary = idle_boundary(self.settings, last, elapsed_ns, now_ns)
        due = self._books.due(boundary + self.settings.books.grace_ns) or self._desk.held.expires_by(boundary)
        return boundary if due else None

    def market(self, symbol: str) -> SymbolMarket | None:
        """Return a symbol's market, for a study to read; None before its first minute or order."""
        return self._markets.get(symbol)

    def rejected(self) -> dict[str, dict[str, int]]:
        """Return the number of rows that the book checks rejected since the state began, by symbol and reason."""
        return {symbol: self._books.rejected_total(symbol) for symbol in sorted(self._books.symbols)}

    # --- state ------------------------------------------------------------

    def _meta(self) -> bytes:
        return orjson.dumps(
            {
                **self._identity.meta(),
                "commit_seq": self.commit_seq,
                "positions": {str(topic): at for topic, at in self.positions.items()},
                "clocks": {str(topic): at for topic, at in self.clocks.items()},
                "anchors": {str(t): list(self.anchors[t]) for t in INPUT_TOPICS if t in self.anchors},
                WHOLE: self._whole.mark(),
                "time": self._outbox.clock,
            }
        )

    def _with_meta(self, changes: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
        """Return changed keys with the ``meta`` that goes with them."""
        self._whole.update(changes)
        return {META: self._meta(), **changes}

    def _changed(self) -> dict[str, bytes | None]:
        changes: dict[str, bytes | None] = {}
        for part in self._stateful:
            changes |= part.changes()
        return changes

    def dump(self) -> dict[str, bytes]:
        """Return the whole state by key."""
        items = {META: self._meta(), SETTINGS: self._identity.saved_settings()}
        for part in self._stateful:
            items |= part.dump()
        return items

    def load(self, items: Mapping[str, bytes], *, accept_settings: bool = False) -> None:
        """Continue from a saved state; the engine must be new.

        If settings, release or schema have changed, `handover` is the next
        commit.

        Parameters
        ----------
        accept_settings : bool, optional
            Continue a state of other settings, if these can.

        Raises
        ------
        StateMismatchError
            If the state is not whole, or has another schema, other settings
            or another partition count; the message names the remedy.
        """
        opened = self._opened = self._identity.open(items, accept_settings=accept_settings)
        meta = opened.meta
        self.commit_seq = meta["commit_seq"]
        self.positions = {topic: meta["positions"][topic] for topic in INPUT_TOPICS}
        self.clocks = {topic: meta["clocks"][topic] for topic in INPUT_TOPICS}
        self.anchors = {Topic(name): Anchor(*anchor) for name, anchor in meta["anchors"].items()}
        self._whole = opened.whole
        self._outbox.clock = meta["time"]
        for part in self._stateful:
            part.load(opened.items)
        self._desk.loaded()
        self._desk.check_units()

"""The engine: one partition's state machine, events in, messages out.

`Engine.apply` takes what one commit takes in and returns all that this commit
publishes: outputs, changed state keys and the journal record.  It reads no
clock: time is the time of events, and of idle moves, which are inputs too.

The order of things within a commit is that of the inbox: each order,
execution and control event applies before the first tick whose key is not
smaller.  Before a tick that lies past the end of an open minute, that minute
closes: its estimate is published, its models are refitted and published, and
its symbol's orders are planned anew.  Minutes that close together do so by
time, then by symbol.

Where events apply in event time, an event closes the minutes that ended by
its own time before it applies.  Without that an idle move, which may or may
not have closed them before, would decide what the event meets.

`apply` changes the engine's memory.  After a commit whose outcome is not
known to be good the engine is thrown away and another is loaded from the
state topic: memory counts only after its commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, cast

import numpy as np
import orjson

from impactd.__about__ import __version__
from impactd.core.base.session import Session
from impactd.core.base.settings import CoreSettings
from impactd.core.base.timing import Probe, unwatched
from impactd.core.base.topics import INPUT_TOPICS, SIDES, Side, Topic
from impactd.core.books.aggregator import MinuteAggregator
from impactd.core.desk import Desk
from impactd.core.inputs.alerts import FeedAlerts
from impactd.core.inputs.anchors import Anchor
from impactd.core.inputs.idle import idle_boundary
from impactd.core.inputs.inbox import Inputs, Pending
from impactd.core.inputs.ticks import Refused, TickBatch
from impactd.core.market.symbol import SymbolMarket
from impactd.core.model.curves import BookCurve
from impactd.core.model.learned.trees import learned_of
from impactd.core.model.profile.profile import Profile
from impactd.core.outputs.messages import DeadLetter, Message, Output
from impactd.core.state.commit import Commit, inputs_record
from impactd.core.state.identity import Identity, Opened
from impactd.core.state.schema import META, SETTINGS
from impactd.core.state.snapshot import is_due, snapshot_records
from impactd.core.state.whole import WHOLE, WholeState

__all__ = ["Commit", "Engine"]

_TAPE: Final = "tape/"
_MARKET: Final = "market/"


class Engine:
    """The state machine of one partition.

    Parameters
    ----------
    partition, partitions : int
        Which partition number, of how many.
    release : str
        Names the code in the journal: the same release derives the same bytes.
    probe : Probe, optional
        Times refits and solves.
    snapshot_ns : int, optional
        A commit that carries event time past a multiple of this holds the
        whole state in its journal; 0 for never.
    """

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
        #: Last record applied of each input, where the inbox was given records.
        self.anchors: dict[Topic, Anchor] = {}
        self.commit_seq = 0
        #: Totals since this engine was made, for metrics and summaries.
        self.counters: Counter[str] = Counter()
        self._identity = Identity(settings, partition, partitions, release)
        self._whole = WholeState()
        self._snapshot_ns = snapshot_ns
        #: The state that was loaded, until it is handed over.
        self._opened: Opened | None = None
        self._in_event_time = settings.apply == "in_event_time"
        self._interval = settings.books.interval_ns
        self._session = Session(settings.session)
        learned_of(settings)  # refused before the first event, not at the first symbol
        self._profile = Profile.of(settings.model, self._session)
        self._tape = MinuteAggregator(settings.books, settings.max_symbols)
        self._markets: dict[str, SymbolMarket] = {}
        self._changed_markets: set[str] = set()
        self._desk = Desk(settings, self._tape.open, self._market, self._say, self.counters, probe)
        #: Returns how many orders are active, and how many of them are halted.
        self.order_counts = self._desk.active
        self._probe = probe
        self._alerts = FeedAlerts(self._say, settings)
        #: What is halted, and whether too much of the input was invalid; for the shell to read.
        self.halts, self.invalid = self._desk.halts, self._alerts.invalid
        #: Event time reached: the largest tick key or idle move so far, ns.
        self._time = 0
        self._outputs: list[Output] = []
        self._trigger: tuple[Topic, int] | None = None

    # --- commits ----------------------------------------------------------

    def genesis(self, positions: Mapping[Topic, int]) -> Commit:
        """Return the first commit of an empty state: explicit positions, and the settings in full."""
        self.positions = {topic: positions.get(topic, 0) for topic in INPUT_TOPICS}
        journal = self._identity.record("genesis", self.commit_seq) | {
            "positions": {str(topic): self.positions[topic] for topic in INPUT_TOPICS},
            **self._identity.terms,
        }
        return Commit((), self._with_meta({SETTINGS: self._identity.saved_settings()}), journal)

    def handover(self) -> Commit | None:
        """Return the commit that a loaded state goes on with where settings, release or schema changed; else None."""
        opened, self._opened = self._opened, None
        if opened is None or opened.previous is None:
            return None
        self.commit_seq += 1
        journal = self._identity.record("settings", self.commit_seq) | {"previous": opened.previous}
        state = self._with_meta({**opened.rewritten, SETTINGS: self._identity.saved_settings()})
        return Commit((), state, journal | self._identity.terms, self.snapshot())

    def snapshot(self) -> tuple[Mapping[str, object], ...]:
        """Return the journal records that hold the whole state as it is now."""
        return snapshot_records(self._identity.record("snapshot", self.commit_seq), self._identity.terms, self.save())

    def apply(self, inputs: Inputs) -> Commit:
        """Apply what one commit takes in and return what it publishes.

        Parameters
        ----------
        inputs : Inputs
            From this partition's inbox; its spans begin at `positions`.

        Raises
        ------
        ValueError
            If the spans do not begin where the engine's positions stand: the
            caller has lost or repeated input.
        """
        for topic, (start, _) in inputs.spans.items():
            if start != self.positions[topic]:
                raise ValueError(f"{topic}: the inputs begin at {start}, the state at {self.positions[topic]}")
        self.positions |= {topic: to for topic, (_, to) in inputs.spans.items()}
        self.anchors |= inputs.anchors
        self.commit_seq += 1
        row, before_ns = 0, self._time
        self._trigger = None
        for control in inputs.controls:
            self._desk.switch(control, max(self._time, *self.clocks.values()))
        for pending in inputs.events:
            if pending.topic is Topic.TICKS:
                before = int(np.searchsorted(inputs.ticks.offset, pending.offset))
            else:
                before = int(np.searchsorted(inputs.tick_keys, pending.key))
                self.clocks[pending.topic] = max(self.clocks[pending.topic], pending.key)
            row = self._run(inputs, row, before)
            self._trigger = (pending.topic, pending.offset)
            if self._in_event_time and pending.topic is not Topic.TICKS:
                self._reach(pending.key)
                self._close_until(pending.key // self._interval * self._interval)
            self._receive(pending, max(pending.key, self._time))
        self._run(inputs, row, len(inputs.ticks))
        if inputs.idle_to is not None:
            self._idle(inputs.idle_to)
        self.counters["ticks"] += len(inputs.ticks)
        journal = self._identity.record("commit", self.commit_seq) | inputs_record(inputs)
        outputs, self._outputs = tuple(self._outputs), []
        due = is_due(self._snapshot_ns, before_ns, self._time)
        return Commit(outputs, self._changes(), journal, self.snapshot() if due else ())

    # --- inputs -----------------------------------------------------------

    def _run(self, inputs: Inputs, row: int, stop: int) -> int:
        """Apply the tick rows from `row` to `stop` and return where the next begin."""
        batch, keys = inputs.ticks, inputs.tick_keys
        self.invalid.used_rows(keys[row:stop])
        while row < stop:
            row = self._tape.run(batch, row, stop)
            if row < stop:
                self._trigger = (Topic.TICKS, int(batch.offset[row]))
                self._reach(int(keys[row]))
                self._close_before(batch, row)
        if row:
            self._reach(int(keys[row - 1]))
            self.clocks[Topic.TICKS] = max(self.clocks[Topic.TICKS], int(keys[row - 1]))
        return row

    def _reach(self, time: int) -> None:
        self._time = max(self._time, time)

    def _receive(self, pending: Pending, now: int) -> None:
        item = pending.item
        if isinstance(item, Refused):
            self.counters["refused"] += 1
            letter = DeadLetter(pending.topic, item.offset, item.reason, item.detail, item.codec, item.raw, item.key)
            self._say(Topic.DLQ, None, letter)
            self._alerts.refused(pending.key)
        else:
            self.invalid.used(pending.key)
            self._desk.receive(item, now)

    def _idle(self, watermark: int) -> None:
        self._trigger = None
        self._reach(watermark)
        self._tape.idle(watermark)
        self._close_until(watermark)
        self._desk.expire_held(watermark)

    # --- minutes ----------------------------------------------------------

    def _close_before(self, batch: TickBatch, row: int) -> None:
        """Close every minute that must have closed before a tick row is applied."""
        ts_event = int(batch.ts_event[row])
        while closing := self._tape.closing(batch, row):
            self._close_earliest(closing, ts_event)

    def _close_until(self, time: int) -> None:
        """Close every minute that ended by `time`."""
        while due := self._tape.due(time + self.settings.books.grace_ns):
            self._close_earliest(due, time)

    def _close_earliest(self, symbols: list[str], time: int) -> None:
        """Close the earliest open minutes among `symbols`, of which `time` says that they are due."""
        earliest = cast(int, self._tape.minute(symbols[0]))  # what is due has an open minute
        for symbol in symbols:
            if self._tape.minute(symbol) == earliest:
                self._close(symbol, earliest, time)
        self._alerts.dropped(self._tape.unknown_rows, earliest + self._interval)
        self._desk.expire_held(time)

    def _close(self, symbol: str, minute: int, time: int) -> None:
        """Close a minute, or skip a stretch in which nothing stands and no order works."""
        idle = self._tape.is_idle(symbol)
        if idle:
            until = self._desk.begins(symbol) // self._interval * self._interval
            if until > minute:
                last_due = (time - self.settings.books.grace_ns) // self._interval * self._interval
                next_minute = max(min(last_due, until), minute + self._interval)
                self._tape.skip_to(symbol, next_minute)
                self._desk.forget(symbol, next_minute)
                return
        stats = self._tape.close_minute(symbol)
        self.counters.update(stats.rows())
        end = minute + self._interval
        shifted: set[Side] = set()
        if not idle:
            self.counters["minutes"] += 1
            market = self._market(symbol)
            self._changed_markets.add(symbol)
            for side in SIDES:
                self._say(Topic.ESTIMATES, symbol, stats.estimate(side, self._interval // 1_000_000_000))
            with self._probe("refit"):
                models = market.close(stats, self._interval)
            self.counters.update(market.scores())
            shifted = market.shifted
            self._alerts.shifted(symbol, shifted, end)
            for model in models:
                self.counters["refits"] += 1
                self._say(Topic.MODELS, symbol, model)
            self._alerts.bad_books(symbol, stats.rejected, stats.n_books, end)
        if not idle or not self._tape.sizes(symbol):
            # Without books there is no depth to choose by: a grid that is there stays.
            self._tape.regrid(symbol, stats, self._desk.demand_range(symbol), self._desk.lot(symbol))
        self._desk.on_minute_close(symbol, end, self._tape.last_ts(symbol), stats, shifted)

    def idle_target(self, elapsed_ns: int, now_ns: int) -> int | None:
        """Return the watermark that an idle partition may move to, or None if nothing is due by then.

        What is due is a minute's close, or the end of a held event's wait; see
        `impactd.core.inputs.idle` for how far silence moves it.

        Parameters
        ----------
        elapsed_ns : int
            Monotonic time since the partition's last tick was fetched.
        now_ns : int
            Wall clock, ns since the epoch.
        """
        last = self.clocks[Topic.TICKS] or max(self.clocks.values())
        boundary = idle_boundary(self.settings, last, elapsed_ns, now_ns)
        due = self._tape.due(boundary + self.settings.books.grace_ns) or self._desk.held.expires_by(boundary)
        return boundary if due else None

    def market(self, symbol: str) -> SymbolMarket | None:
        """Return what is known of a symbol, for a study to read; None before its first minute or order."""
        return self._markets.get(symbol)

    def rejected(self) -> dict[str, dict[str, int]]:
        """Return by symbol how many rows its checks rejected, by reason, since its state began."""
        return {symbol: self._tape.rejected_total(symbol) for symbol in sorted(self._tape.symbols)}

    # --- outputs ----------------------------------------------------------

    def _say(self, topic: Topic, key: str | None, message: Message) -> None:
        self.counters[str(topic)] += 1
        self._outputs.append(Output(topic, key, message, self._time, self._trigger))

    # --- symbols ----------------------------------------------------------

    def _market(self, symbol: str) -> SymbolMarket:
        """Return what is known of a symbol; an order may name it before its first tick."""
        market = self._markets.get(symbol)
        if market is None:
            market = SymbolMarket(
                symbol, self.settings, self._session, self._profile, lambda side, at: self._standing(symbol, side, at)
            )
            self._markets[symbol] = market
            self._changed_markets.add(symbol)
        return market

    def _standing(self, symbol: str, side: Side, at: int) -> BookCurve | None:
        book = self._tape.standing(symbol, at)
        return None if book is None else BookCurve.of(book, side, self._tape.sizes(symbol))

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
                "time": self._time,
                "tape": self._tape.save_clock().hex(),
                **self._desk.meta(),
                **self._alerts.save(),
            }
        )

    def _with_meta(self, changes: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
        """Return changed keys with the ``meta`` that goes with them."""
        self._whole.update(changes)
        return {META: self._meta(), **changes}

    def _changes(self) -> dict[str, bytes | None]:
        changes: dict[str, bytes | None] = {}
        for symbol in sorted(self._tape.dirty):
            changes[_TAPE + symbol] = self._tape.save(symbol)
        self._tape.clear_dirty()
        for symbol in sorted(self._changed_markets):
            changes[_MARKET + symbol] = orjson.dumps(self._markets[symbol].save())
        self._changed_markets.clear()
        return self._with_meta(changes | self._desk.changes())

    def save(self) -> dict[str, bytes]:
        """Return the whole state by key."""
        items = {META: self._meta(), SETTINGS: self._identity.saved_settings()}
        for symbol in self._tape.symbols:
            items[_TAPE + symbol] = self._tape.save(symbol)
        for symbol, market in sorted(self._markets.items()):
            items[_MARKET + symbol] = orjson.dumps(market.save())
        return items | self._desk.save()

    def load(self, items: Mapping[str, bytes], *, accept_settings: bool = False) -> None:
        """Continue from a saved state; the engine must be new.

        Where settings, release or schema have changed, `handover` is the next
        commit.

        Parameters
        ----------
        items : mapping of str to bytes
            The state by key.
        accept_settings : bool, optional
            Continue a state of other settings, if these can.

        Raises
        ------
        StateMismatchError
            If the state is not whole, or has another schema, other settings or another number of partitions; the
            message names the remedy.
        """
        opened = self._opened = self._identity.open(items, accept_settings=accept_settings)
        items, meta = opened.items, opened.meta
        self.commit_seq = meta["commit_seq"]
        self.positions = {topic: meta["positions"][topic] for topic in INPUT_TOPICS}
        self.clocks = {topic: meta["clocks"][topic] for topic in INPUT_TOPICS}
        self.anchors = {Topic(name): Anchor(*anchor) for name, anchor in meta["anchors"].items()}
        self._whole = opened.whole
        self._time = meta["time"]
        self._tape.load_clock(bytes.fromhex(meta["tape"]))
        self._desk.load_meta(meta)
        self._alerts.load(meta)
        for key in sorted(items):
            if key.startswith(_TAPE):
                self._tape.load(key.removeprefix(_TAPE), items[key])
            elif key.startswith(_MARKET):
                self._market(key.removeprefix(_MARKET)).load(orjson.loads(items[key]))
        self._changed_markets.clear()
        self._desk.load(items)

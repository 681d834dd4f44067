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

`apply` changes the engine's memory.  After a commit whose outcome is not
known to be good the engine is thrown away and another is loaded from the
state topic: memory counts only after its commit.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from impactd.__about__ import __version__
from impactd.core.desk import Desk
from impactd.core.events import SIDES, Received, Side
from impactd.core.forecast import BookCurve
from impactd.core.inbox import Inputs
from impactd.core.market import SymbolMarket
from impactd.core.messages import INPUT_TOPICS, Alert, DeadLetter, Estimate, Model, Output, Plan, Topic
from impactd.core.profile import Profile
from impactd.core.saved import SCHEMA_VERSION, StateMismatchError, settings_hash
from impactd.core.session import Session
from impactd.core.settings import CoreSettings
from impactd.core.slippage import BUY, SELL, walk_curve
from impactd.core.tape import Tape
from impactd.core.ticks import Refused, TickBatch

Message = Estimate | Model | Plan | Alert | DeadLetter

_TAPE: Final = "tape/"
_MARKET: Final = "market/"
_META: Final = "meta"


@dataclass(frozen=True, slots=True)
class Commit:
    """What one application gives; it is published in one transaction.

    Attributes
    ----------
    outputs : tuple of Output
    state : mapping of str to bytes or None
        Changed state keys; None is a tombstone.
    journal : mapping
        The journal record, ready for JSON.
    """

    outputs: tuple[Output, ...]
    state: Mapping[str, bytes | None]
    journal: Mapping[str, object]


class Engine:
    """The state machine of one partition.

    Parameters
    ----------
    settings : CoreSettings
    partition, partitions : int
        Which partition number, of how many.
    release : str
        Names the code in the journal: the same release derives the same bytes.
    profile : Profile, optional
        Profile of the session to start from; the generic prior by default.
    """

    def __init__(
        self,
        settings: CoreSettings,
        *,
        partition: int = 0,
        partitions: int = 1,
        release: str = __version__,
        profile: Profile | None = None,
    ) -> None:
        self.settings = settings
        self.partition = partition
        self.partitions = partitions
        self.release = release
        self.positions: dict[Topic, int] = dict.fromkeys(INPUT_TOPICS, 0)
        self.clocks: dict[Topic, int] = dict.fromkeys(INPUT_TOPICS, 0)
        self.commit_seq = 0
        #: Totals since this engine was made, for metrics and summaries.
        self.counters: Counter[str] = Counter()
        self._hash = settings_hash(settings)
        self._interval = settings.books.interval_ns
        self._session = Session(settings.session)
        if profile is None:
            profile = Profile.generic(self._session) if settings.model.prior_profile else Profile.flat()
        self._profile = profile
        self._tape = Tape(settings.books, settings.max_symbols)
        self._markets: dict[str, SymbolMarket] = {}
        self._changed_markets: set[str] = set()
        self._desk = Desk(settings, self._market, self._say)
        #: Event time reached: the largest tick key or idle move so far, ns.
        self._time = 0
        self._outputs: list[Output] = []
        self._trigger: tuple[Topic, int] | None = None

    # --- commits ----------------------------------------------------------

    def genesis(self, positions: Mapping[Topic, int]) -> Commit:
        """Return the first commit of an empty state: explicit positions, and the settings in full."""
        self.positions = {topic: positions.get(topic, 0) for topic in INPUT_TOPICS}
        journal = self._journal("genesis") | {
            "positions": {str(topic): self.positions[topic] for topic in INPUT_TOPICS},
            "partitions": self.partitions,
            "settings": dataclasses.asdict(self.settings),
        }
        return Commit((), {_META: self._meta()}, journal)

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
        for topic, (start, to) in inputs.spans.items():
            if start != self.positions[topic]:
                raise ValueError(f"{topic}: the inputs begin at {start}, the state at {self.positions[topic]}")
            self.positions[topic] = to
        self.commit_seq += 1
        row = 0
        for pending in inputs.events:
            if pending.topic is Topic.TICKS:
                before = int(np.searchsorted(inputs.ticks.offset, pending.offset))
            else:
                before = int(np.searchsorted(inputs.tick_keys, pending.key))
                self.clocks[pending.topic] = max(self.clocks[pending.topic], pending.key)
            row = self._run(inputs, row, before)
            self._trigger = (pending.topic, pending.offset)
            self._receive(pending.topic, pending.item, max(pending.key, self._time))
        self._run(inputs, row, len(inputs.ticks))
        if inputs.idle_to is not None:
            self._idle(inputs.idle_to)
        self.counters["ticks"] += len(inputs.ticks)
        journal = self._journal("commit") | {
            "from": {str(topic): span[0] for topic, span in inputs.spans.items()},
            "to": {str(topic): span[1] for topic, span in inputs.spans.items()},
            "idle_to": inputs.idle_to,
            "deadlines": [],
        }
        outputs, self._outputs = tuple(self._outputs), []
        return Commit(outputs, self._changes(), journal)

    def _journal(self, kind: str) -> dict[str, object]:
        return {
            "type": kind,
            "partition": self.partition,
            "commit_seq": self.commit_seq,
            "config": self._hash,
            "release": self.release,
        }

    # --- inputs -----------------------------------------------------------

    def _run(self, inputs: Inputs, row: int, stop: int) -> int:
        """Apply the tick rows from `row` to `stop` and return where the next begin."""
        batch = inputs.ticks
        while row < stop:
            row = self._tape.run(batch, row, stop)
            self._reach(int(inputs.tick_keys[row - 1]) if row else self._time)
            if row < stop:
                self._trigger = (Topic.TICKS, int(batch.offset[row]))
                self._reach(int(inputs.tick_keys[row]))
                self._close_before(batch, row)
        if row:
            self.clocks[Topic.TICKS] = max(self.clocks[Topic.TICKS], int(inputs.tick_keys[row - 1]))
        return max(row, stop)

    def _reach(self, time: int) -> None:
        self._time = max(self._time, time)

    def _receive(self, topic: Topic, item: Received[Any] | Refused, now: int) -> None:
        if isinstance(item, Refused):
            self.counters["refused"] += 1
            letter = DeadLetter(topic, item.offset, item.reason, item.detail, item.codec, item.raw, item.key)
            self._say(Topic.DLQ, None, letter)
        else:
            self._desk.receive(item, now)

    def _idle(self, watermark: int) -> None:
        self._trigger = None
        self._reach(watermark)
        self._tape.idle(watermark)
        while due := self._tape.due():
            self._close_earliest(due, watermark)

    # --- minutes ----------------------------------------------------------

    def _close_before(self, batch: TickBatch, row: int) -> None:
        """Close every minute that must have closed before a tick row is applied."""
        ts_event = int(batch.ts_event[row])
        while closing := self._tape.closing(batch, row):
            self._close_earliest(closing, ts_event)

    def _close_earliest(self, symbols: list[str], time: int) -> None:
        """Close the earliest open minutes among `symbols`, of which `time` says that they are due."""
        earliest = self._tape.minute(symbols[0])
        for symbol in symbols:
            if self._tape.minute(symbol) == earliest:
                self._close(symbol, time)
        self._desk.expire_held(self._time)

    def _close(self, symbol: str, time: int) -> None:
        idle = self._tape.is_idle(symbol)
        if idle and not self._desk.has_orders(symbol):
            # Nothing stands and nobody waits: the silence until now is one step, not a thousand empty minutes.
            last_due = (time - self.settings.books.grace_ns) // self._interval * self._interval
            minute = self._tape.minute(symbol)
            self._tape.skip_to(symbol, max(last_due, (minute or 0) + self._interval))
            return
        stats = self._tape.close_minute(symbol)
        end = stats.minute + self._interval
        market = self._market(symbol, end)
        self._changed_markets.add(symbol)
        if not idle:
            self.counters["minutes"] += 1
            market.last_tick = self._tape.last_ts(symbol)
            for side in SIDES:
                self._say(Topic.ESTIMATES, symbol, stats.estimate(side, self._interval // 1_000_000_000))
            for model in market.close(stats, self._interval):
                self.counters["refits"] += 1
                self._say(Topic.MODELS, symbol, model)
            self._warn_bad_books(symbol, stats.rejected, stats.n_books, end)
        self._tape.regrid(symbol, stats, self._desk.asks(symbol), self._desk.lot(symbol))
        self._desk.roll(symbol, end, market, stats.volume_continuous or 0.0)

    def _warn_bad_books(self, symbol: str, rejected: Mapping[str, int], n_books: int, now: int) -> None:
        crossed = rejected.get("crossed", 0)
        if crossed and not n_books:
            text = f"all books of the minute were refused, {crossed} of them crossed"
            self._say(Topic.ALERTS, symbol, Alert("crossed_feed", symbol, None, now, text))

    def idle_target(self, elapsed_ns: int, now_ns: int) -> int | None:
        """Return the watermark that an idle partition may move to, or None if that closes no minute.

        The watermark follows the silence at the pace of the wall clock, never
        past (now - grace).  Where events apply in event time the day may be a
        recorded one, whose next tick can come later by the wall clock than by
        its own: there it never passes the end of the minute under way.

        Parameters
        ----------
        elapsed_ns : int
            Monotonic time since the partition's last tick was fetched.
        now_ns : int
            Wall clock, ns since the epoch.
        """
        last = self.clocks[Topic.TICKS] or max(self.clocks.values())
        reach = min(last + elapsed_ns, now_ns - self.settings.books.grace_ns)
        boundary = reach // self._interval * self._interval
        if self.settings.apply == "in_event_time":
            boundary = min(boundary, (last // self._interval + 1) * self._interval)
        return boundary if self._tape.due(boundary + self.settings.books.grace_ns) else None

    def rejected(self) -> dict[str, dict[str, int]]:
        """Return by symbol how many rows its checks rejected, by reason, since its state began."""
        return {symbol: self._tape.rejected_total(symbol) for symbol in sorted(self._tape.symbols)}

    # --- outputs ----------------------------------------------------------

    def _say(self, topic: Topic, key: str | None, message: Message) -> None:
        self.counters[str(topic)] += 1
        self._outputs.append(Output(topic, key, message, self._time, self._trigger))

    # --- symbols ----------------------------------------------------------

    def _market(self, symbol: str, now: int) -> SymbolMarket:
        """Return what is known of a symbol; an order may name it before its first tick."""
        market = self._markets.get(symbol)
        if market is None:
            self._tape.open(symbol, now)
            market = self._new_market(symbol)
            self._changed_markets.add(symbol)
        return market

    def _new_market(self, symbol: str) -> SymbolMarket:
        market = SymbolMarket(
            symbol, self.settings, self._session, self._profile, lambda side: self._standing(symbol, side)
        )
        self._markets[symbol] = market
        return market

    def _standing(self, symbol: str, side: Side) -> BookCurve | None:
        book = self._tape.standing(symbol, self._time)
        if book is None:
            return None
        sizes = np.array(self._tape.sizes(symbol))
        g, lower_bound, _ = walk_curve(book.bid_px, book.bid_sz, book.ask_px, book.ask_sz, sizes)
        row = BUY if side is Side.BUY else SELL
        return BookCurve(book.ts_event, sizes, g[row], lower_bound[row], book.half_spread, book.mid)

    # --- state ------------------------------------------------------------

    def _meta(self) -> bytes:
        return orjson.dumps(
            {
                "schema": SCHEMA_VERSION,
                "config": self._hash,
                "release": self.release,
                "partition": self.partition,
                "partitions": self.partitions,
                "commit_seq": self.commit_seq,
                "positions": {str(topic): at for topic, at in self.positions.items()},
                "clocks": {str(topic): at for topic, at in self.clocks.items()},
                "time": self._time,
                "tape": self._tape.save_clock().hex(),
                "halts": self._desk.halts,
            }
        )

    def _changes(self) -> dict[str, bytes | None]:
        changes: dict[str, bytes | None] = {_META: self._meta()}
        for symbol in sorted(self._tape.dirty):
            changes[_TAPE + symbol] = self._tape.save(symbol)
        self._tape.clear_dirty()
        for symbol in sorted(self._changed_markets):
            changes[_MARKET + symbol] = orjson.dumps(self._markets[symbol].save())
        self._changed_markets.clear()
        return changes | self._desk.changes()

    def save(self) -> dict[str, bytes]:
        """Return the whole state by key."""
        items = {_META: self._meta()}
        for symbol in self._tape.symbols:
            items[_TAPE + symbol] = self._tape.save(symbol)
        for symbol, market in sorted(self._markets.items()):
            items[_MARKET + symbol] = orjson.dumps(market.save())
        return items | self._desk.save()

    def load(self, items: Mapping[str, bytes]) -> None:
        """Continue from a saved state; the engine must be new.

        Raises
        ------
        StateMismatchError
            If the state has another schema, other settings or another number
            of partitions; the message names the remedy.
        """
        meta: dict[str, Any] = orjson.loads(items[_META])
        self._check(meta)
        self.commit_seq = meta["commit_seq"]
        self.positions = {topic: meta["positions"][topic] for topic in INPUT_TOPICS}
        self.clocks = {topic: meta["clocks"][topic] for topic in INPUT_TOPICS}
        self._time = meta["time"]
        self._tape.load_clock(bytes.fromhex(meta["tape"]))
        self._desk.halts.update(meta["halts"])
        for key in sorted(items):
            if key.startswith(_TAPE):
                self._tape.load(key.removeprefix(_TAPE), items[key])
            elif key.startswith(_MARKET):
                self._new_market(key.removeprefix(_MARKET)).load(orjson.loads(items[key]))
        self._desk.load(items)

    def _check(self, meta: Mapping[str, Any]) -> None:
        if meta["schema"] != SCHEMA_VERSION:
            raise StateMismatchError(
                f"the state has schema {meta['schema']}, this release ({self.release}) reads {SCHEMA_VERSION}: "
                f"run the release that wrote it ({meta['release']}), or begin again in a new environment"
            )
        if (meta["partition"], meta["partitions"]) != (self.partition, self.partitions):
            raise StateMismatchError(
                f"the state is that of partition {meta['partition']} of {meta['partitions']}, this is "
                f"{self.partition} of {self.partitions}: symbols have moved between partitions; begin again in a new "
                f"environment with the new number"
            )
        if meta["config"] != self._hash:
            raise StateMismatchError(
                f"the state was made under settings {meta['config']}, these are {self._hash}: go back to those, or "
                f"begin again in a new environment (kafka.environment)"
            )

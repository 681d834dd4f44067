"""Small random days for one partition, and ways of driving an engine through them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from impactd.core.base.instrument import Instrument
from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import BookSettings, CoreSettings, PlanSettings
from impactd.core.base.topics import Side, Topic
from impactd.core.inputs.events import Definition, Event, Received, TradingStatus
from impactd.core.inputs.inbox import EVENT_TOPICS, Inbox
from impactd.core.inputs.ticks import Refused, TickBatch
from impactd.wire.rows import by_first_appearance
from tests.core.builders import (
    T0,
    EngineHarness,
    M,
    S,
    bust,
    cancel,
    change,
    correct,
    fill,
    halt,
    new,
    random_rows,
    raw_of,
    resume,
    topic_for,
)
from tests.core.rows import batch_of

SYMBOLS = ("AA", "BB", "CC")
MINUTES = 6
#: In the midst of the books.
PX = 100.0


@dataclass(frozen=True)
class Day:
    """What stands in the input topics of one partition at the end of a day."""

    rows: TickBatch
    refused: list[Refused]
    n_records: int
    events: dict[Topic, list[Received[Any]]]

    def put_events(self, inbox: Inbox, positions: dict[Topic, int]) -> None:
        """Put all events from `positions` on into an inbox."""
        for topic, events in self.events.items():
            inbox.put_events(topic, events[positions[topic] :], [], len(events))

    def put_ticks(self, inbox: Inbox, start: int, stop: int) -> None:
        """Put the tick records `start` to `stop` - 1 into an inbox, as one decoded fetch."""
        mine = (self.rows.offset >= start) & (self.rows.offset < stop)
        refused = [item for item in self.refused if start <= item.offset < stop]
        inbox.put_ticks(by_first_appearance(self.rows.take(mine)), refused, min(stop, self.n_records))


def random_day(seed: int, n_rows: int = 150, n_events: int = 30) -> Day:
    """Return a day of three symbols, one of them quiet, with everything that may come wrong."""
    rng = np.random.default_rng(seed)
    batch = batch_of(random_rows(rng, n_rows, SYMBOLS, MINUTES * M))
    offsets, refused, at = [], [], 0
    for i in range(n_rows):
        if rng.random() < 0.04:
            refused.append(Refused(at, "truncated", "cut", b"{", None, "json", T0))
            at += 1
        offsets.append(at)
        at += int(i + 1 == n_rows or rng.random() < 0.8)  # else the next row stands in the same record
    events: dict[Topic, list[Received[Any]]] = {topic: [] for topic in EVENT_TOPICS}
    for _ in range(n_events):
        event = random_event(rng)
        queue = events[topic_for(event)]
        queue.append(Received(event, len(queue), event.ts_event, raw_of(event), b"key"))
    for topic, queue in events.items():
        queue.sort(key=lambda item: item.event.ts_event + int(rng.integers(0, 20 * S)))
        events[topic] = [replace(item, offset=k) for k, item in enumerate(queue)]
    return Day(replace(batch, offset=np.array(offsets, np.int64)), refused, at, events)


def random_event(rng: np.random.Generator) -> Event:
    """Return an event of some order: early, late, repeated, orphaned or in place."""
    n = int(rng.integers(5))
    cl_ord_id, symbol = "PQRST"[n], (*SYMBOLS, "AA", "ZZ")[n]
    side, start = (Side.BUY, Side.SELL)[n % 2], T0 + (n % 3) * M
    ts = T0 + int(rng.integers(0, MINUTES * M))
    fills = tuple(f"E{k}" for k in range(4))
    ref = fills[int(rng.integers(4))]
    k = int(rng.integers(12))
    makers: list[Callable[[], Event]] = [
        lambda: new(
            cl_ord_id,
            900 + 0.5 * (n == 1),
            T0 + n * 13 * S,
            start=start,
            length=(MINUTES - n) * M + 17 * S,
            symbol=symbol,
            side=side,
            participation_rate=0.3 if n == 2 else None,
            max_interval_qty=400 * QUANTA if n == 3 else None,
            lot_size=(QUANTA, 100 * QUANTA)[n % 2],
            risk_aversion=1e-6 if n == 3 else 0.0,
            blackouts=((start + M, start + M + 9 * S),) if n == 0 else (),
            limit_px=PX if n == 1 else None,
            would_px=PX if n == 4 else None,
            would_rate=0.2 if n == 4 else None,
            min_participation_rate=0.05 if n == 2 else None,
        ),
        lambda: change(ts, cl_ord_id, symbol, order_qty=int(rng.integers(100, 1_500))),
        lambda: change(ts, cl_ord_id, symbol, end=ts + int(rng.integers(-1, 4)) * M),
        lambda: cancel(ts, cl_ord_id, symbol),
        lambda: fill(ts, ref, int(rng.choice([900, rng.integers(1, 300)], p=[0.2, 0.8])), cl_ord_id, symbol),
        lambda: fill(ts, ref, int(rng.integers(1, 30)), cl_ord_id, "BB"),
        lambda: bust(ts, "B" + ref, ref, cl_ord_id, symbol),
        lambda: correct(ts, "C" + ref, ref, int(rng.integers(1, 300)), cl_ord_id, symbol),
        lambda: halt(ts, ("*", symbol, cl_ord_id)[int(rng.integers(3))]),
        lambda: resume(ts, ("*", symbol, cl_ord_id)[int(rng.integers(3))]),
        lambda: TradingStatus(symbol, ts, ("halt", "closed", "trading", None)[k % 4], "", (None, True, False)[k % 3]),
        lambda: Definition(symbol, ts, Instrument(tick_size=0.01, lot_size=1.0 + k % 3, multiplier=1.0 + k % 5 // 4)),
    ]
    weights = np.array([8, 2, 2, 1, 5, 0.5, 2, 2, 0.7, 1.5, 1, 1])
    return makers[int(rng.choice(len(makers), p=weights / weights.sum()))]()


def random_settings(seed: int, apply: str) -> CoreSettings:
    """Return settings under which short times already matter."""
    rng = np.random.default_rng(seed)
    return CoreSettings(
        books=BookSettings(max_silence_ns=int(rng.choice([40 * S, 3_600 * S]))),
        plans=PlanSettings(
            act=str(np.random.default_rng([seed, 1]).choice(["minute", "slices"])),
            child_slices=int(rng.integers(1, 3)),
            fills=str(rng.choice(["reported", "scheduled"])),
            hold_ns=50 * S,
            max_held=6,
            keep_ended_ns=70 * S,
            missing_ticks_ns=30 * S,
            replan_threshold_bps=float(rng.choice([0.0, 0.5])),
            solvers=("exact",),
        ),
        max_symbols=int(rng.choice([2, 5_000])),
        apply=apply,
    )


def drive(day: Day, core: CoreSettings, *, batch: int, max_rows: int = 50_000, reload_every: int = 0) -> EngineHarness:
    """Run a day in event time to its end.

    Parameters
    ----------
    batch : int
        Tick records decoded together.
    max_rows : int
        Rows in a commit.
    reload_every : int
        After so many commits, engine and inbox are thrown away and made
        again from what the commits have written; 0 for never.
    """
    harness, at, n = EngineHarness(core), 0, 0
    day.put_events(harness.inbox, harness.engine.positions)
    while at < day.n_records:
        day.put_ticks(harness.inbox, at, at + batch)
        at = min(at + batch, day.n_records)
        while (inputs := harness.inbox.take(max_rows=max_rows)) is not None:
            harness.apply(inputs)
            n += 1
            if reload_every and n % reload_every == 0:
                restart(harness, day)
                at = harness.engine.positions[Topic.TICKS]
    finish(harness)
    return harness


def restart(harness: EngineHarness, day: Day) -> None:
    """Throw engine and inbox away, as after a failed commit, and go on from the written state."""
    harness.reload()
    harness.inbox = Inbox(harness.core, harness.engine.positions, harness.engine.clocks)
    day.put_events(harness.inbox, harness.engine.positions)


def finish(harness: EngineHarness) -> None:
    """Close the minute under way, as a replay does at the end of its data."""
    target = harness.engine.idle_target(2**62, 2**62)
    if target is not None:
        harness.commit(idle_to=target)

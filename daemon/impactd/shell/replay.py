"""Derives a recorded day again from files, with the same core as the live service.

The day runs in event time: orders, executions and control wait until the
ticks have passed their time, so that the result depends on the files and
the settings alone, not on batch size or pace.
The same day through Kafka, applied in event time, gives the same bytes.

At the end of the data the current minute is closed by an idle move, as it
is live when a feed falls silent.  Events that would apply only later stay unapplied, and the summary lists them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from impactd.core.base.instrument import Instrument
from impactd.core.base.session import Sessions
from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import Topic
from impactd.core.base.venue import whole_of
from impactd.core.books.checks import most_rejected
from impactd.core.engine import Engine
from impactd.core.inputs.events import Control, NewOrder, Received
from impactd.core.inputs.inbox import EVENT_TOPICS, Inbox
from impactd.core.inputs.ticks import BOOK, TickBatch
from impactd.core.orders.halts import EVERYTHING
from impactd.core.orders.order import Status
from impactd.shell.calendar_check import CalendarCheck
from impactd.shell.files import FileReport, merge_files
from impactd.shell.outputs import OutputFiles
from impactd.shell.realised import price
from impactd.shell.recorded import read_events
from impactd.shell.tally import OrderSummary, Tally
from impactd.wire.codec import Decoded, Limits
from impactd.wire.message_types import Timestamps
from impactd.wire.murmur2 import partition_for
from impactd.wire.records import encode_line

#: An elapsed time and a wall clock that bound no idle move, ns.
_EVER_NS: Final = 2**62

#: Called after each batch: tick rows so far, event time reached (ns).
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Sources:
    """Files that make up a recorded day: ticks, and JSON lines of the other inputs."""

    #: Ticks; several files are merged by time.
    data: Sequence[Path]
    orders: Path | None = None
    executions: Path | None = None
    control: Path | None = None
    #: Codec of `data`; None: told from each file.
    codec: str | None = None
    #: Symbol of `data` that names none; None: taken from the file's name.
    symbol: str | None = None
    instruments: Path | None = None
    status: Path | None = None

    def events(self) -> Mapping[Topic, Path]:
        """Return the files of all inputs but ticks that are given."""
        files = {
            Topic.CONTROL: self.control,
            Topic.INSTRUMENTS: self.instruments,
            Topic.STATUS: self.status,
            Topic.ORDERS: self.orders,
            Topic.EXECUTIONS: self.executions,
        }
        return {topic: path for topic, path in files.items() if path is not None}


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """What a replay read, and what it gave."""

    ticks: int
    books: int
    trades: int
    #: Rows that the core's checks rejected, by reason.
    rejected: dict[str, int]
    #: Records that went to the dead letters, by reason.
    refused: dict[str, int]
    skipped_unknown: int
    #: Rows that came after their minute had closed.
    late: int
    #: Closed minutes over all symbols; refitted models; published plans.
    minutes: int
    models: int
    plans: int
    alerts: dict[str, int]
    orders: tuple[OrderSummary, ...]
    #: Events whose time the data never reached, by topic.
    waiting: dict[str, int]
    #: Event time of the first and of the latest row.
    first_ns: int | None
    last_ns: int | None
    #: What a person should know before trusting the result.
    warnings: tuple[str, ...]
    #: Inputs of which nothing could be used, each with its first reason.
    unusable: tuple[str, ...]
    #: Controls whose scope is no symbol of the data and no id of an order, each in words.
    unmatched: tuple[str, ...]
    directory: str
    files: dict[str, int]
    #: Wall time.
    seconds: float


@dataclass(slots=True)
class Partition:
    """One partition's engine with its inbox."""

    number: int
    engine: Engine
    inbox: Inbox
    #: Offsets of the events that belong here.
    offsets: dict[Topic, list[int]] = field(default_factory=dict)

    def waiting(self) -> Counter[str]:
        """Return how many events were never applied, by topic."""
        at = self.engine.positions
        return Counter({topic.value: sum(o >= at[topic] for o in offsets) for topic, offsets in self.offsets.items()})


@dataclass(slots=True)
class Reading:
    """What was read so far."""

    ticks: int = 0
    books: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    skipped: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    records: int = 0
    symbols: set[str] = field(default_factory=set)
    unusable: list[str] = field(default_factory=list)
    #: Every id that an order or a request has.
    ids: set[str] = field(default_factory=set)
    controls: list[Control] = field(default_factory=list)
    #: Files whose events are not in the order of time, each in words.
    unsorted: list[str] = field(default_factory=list)
    #: Symbols that the caller has given to data that name none.
    given: set[str] = field(default_factory=set)

    def add(self, decoded: Decoded) -> None:
        """Count one batch of ticks."""
        batch = decoded.batch
        self.skipped += decoded.skipped_unknown
        self.refused.update(item.reason for item in decoded.refused)
        if len(batch):
            self.ticks += len(batch)
            self.symbols.update(map(whole_of, batch.symbols))
            self.books += int(np.count_nonzero(batch.kind == BOOK))
            first, last = int(batch.ts_event[0]), int(batch.ts_event.max())
            self.first_ns = first if self.first_ns is None else self.first_ns
            self.last_ns = last if self.last_ns is None else max(self.last_ns, last)


def replay(
    sources: Sources,
    settings: CoreSettings,
    out: Path,
    *,
    partitions: int = 1,
    batch_rows: int = 5_000,
    limits: Limits | None = None,
    timestamps: Timestamps = "int",
    close_last: bool | Collection[int] = True,
    progress: Progress | None = None,
) -> ReplaySummary:
    """Replay files in event time and write what comes of them.

    Parameters
    ----------
    settings : CoreSettings
        `apply` must be ``in_event_time``.
    partitions : int
        Over how many the symbols are spread, by murmur2 as on the topics.
    batch_rows : int
        Records decoded together; changes no byte.
    close_last : bool or collection of int
        Whether, or in which partitions, the current minute at the end of the data is closed.
    progress : callable, optional
        Called after each batch with the rows so far and the event time.

    Raises
    ------
    OSError
        If a file cannot be read, or the results cannot be written.
    ValueError
        If `settings` do not apply events in event time.
    """
    if settings.apply != "in_event_time":
        raise ValueError("plans.apply: files are replayed in_event_time; on_arrival needs a journal")
    started = time.monotonic()
    limits = limits or Limits(max_levels=settings.books.max_levels)
    tally, reading, calendars = Tally(settings.plans.fills, Sessions(settings)), Reading(), CalendarCheck(settings)
    zero = dict.fromkeys((*EVENT_TOPICS, Topic.TICKS), 0)
    parts = [
        Partition(number, Engine(settings, partition=number, partitions=partitions), Inbox(settings, zero, {}))
        for number in range(partitions)
    ]
    with OutputFiles(out, lambda output: encode_line(output, timestamps), partitions) as files:

        def advance(part: Partition, idle_to: int | None = None) -> None:
            while (inputs := part.inbox.take(idle_to=idle_to)) is not None:
                outputs = part.engine.apply(inputs).outputs
                tally.count(outputs)
                calendars.count(outputs)
                files.write(part.number, outputs)
                if inputs.idle_to is not None:
                    break

        for part in parts:
            part.engine.genesis(zero)
        reading.given |= {part.rpartition("=")[2].strip() for part in (sources.symbol or "").split(",") if part}
        lot_sizes = _put_events(sources.events(), parts, limits, reading)
        ticks = merge_files(sources.data, sources.codec, sources.symbol, batch_rows, limits)
        for decoded in ticks:
            reading.add(decoded)
            _put_ticks(decoded, parts, reading)
            for part in parts:
                advance(part)
            if progress is not None:
                progress(reading.ticks, reading.last_ns or 0)
        for part in parts:
            advance(part)
            closes = close_last if isinstance(close_last, bool) else part.number in close_last
            idle_to = part.engine.idle_target(_EVER_NS, _EVER_NS) if closes else None
            if idle_to is not None:
                advance(part, idle_to)
        written = files.finish()
    reading.unusable += ticks.unusable()
    waiting = sum((part.waiting() for part in parts), Counter[str]())
    engines = [part.engine for part in parts]
    again = merge_files(sources.data, sources.codec, sources.symbol, batch_rows, limits)
    questions = {
        name: replace(asked, negative_px=bool(_instrument(asked.symbol, parts).negative_px))
        for name, asked in tally.questions(_in_lots(lot_sizes, parts)).items()
    }
    answers = price(questions, (decoded.batch for decoded in again), settings.books)
    orders = tally.orders(answers)
    if sources.orders is not None and (why := _none_taken(orders, waiting)) is not None:
        reading.unusable.append(f"{sources.orders}: {why}")
    summary = summarise(tally, orders, reading, engines, written, out, time.monotonic() - started, waiting)
    return replace(summary, warnings=(*summary.warnings, *calendars.warnings()))


def _split(batch: TickBatch, partitions: int) -> Iterator[TickBatch]:
    """Yield the rows of each partition."""
    if partitions == 1:
        yield batch
        return
    home = np.array([partition_for(whole_of(symbol), partitions) for symbol in batch.symbols], np.int64)
    for number in range(partitions):
        mine = np.flatnonzero(home == number)
        rows = batch.take(np.isin(batch.symbol, mine))
        # A symbol of another partition must not even be named here.
        codes = np.searchsorted(mine, rows.symbol).astype(np.int32)
        yield replace(rows, symbols=tuple(batch.symbols[code] for code in mine), symbol=codes)


def _put_ticks(decoded: Decoded, parts: Sequence[Partition], reading: Reading) -> None:
    batch = decoded.batch
    ends = [int(batch.offset[-1]) + 1] if len(batch) else []
    ends += [item.offset + 1 for item in decoded.refused]
    ends += [item.offset + 1 for item in decoded.events]
    reading.records = max([reading.records, *ends])
    for part, rows in zip(parts, _split(batch, len(parts)), strict=True):
        # A record that cannot be decoded has no symbol: the first partition reports it.
        events = [item for item in decoded.events if _is_home(item, part.number, len(parts))]
        refused = decoded.refused if part.number == 0 else []
        part.inbox.put_ticks(rows, refused, reading.records, events=events)


def _put_events(
    files: Mapping[Topic, Path], parts: Sequence[Partition], limits: Limits, reading: Reading
) -> dict[str, tuple[str, int]]:
    """Put the events of files into their partitions' inboxes; return each order's symbol and lot, quanta or 0."""
    lot_sizes: dict[str, tuple[str, int]] = {}
    for topic, path in files.items():
        decoded = read_events(path, topic, limits)
        received, refused = decoded.events, decoded.refused
        reading.refused.update(item.reason for item in refused)
        report = FileReport(path)
        report.add(len(received), refused, 0)
        # No fill and no halt may be all that there was of them; no order is not.
        if (why := report.unusable()) is not None and (refused or topic is Topic.ORDERS):
            reading.unusable.append(why)
        end = max([0, *(item.offset + 1 for item in received), *(item.offset + 1 for item in refused)])
        for part in parts:
            mine = [item for item in received if _is_home(item, part.number, len(parts))]
            part.offsets[topic] = [item.offset for item in mine]
            part.inbox.put_events(topic, mine, refused if part.number == 0 else [], end)
        times = np.array([item.event.ts_event for item in received], np.int64)
        if (late := int(np.count_nonzero(times < np.maximum.accumulate(times)))) > 0:
            reading.unsorted.append(
                f"{path}: {late:,} of {len(times):,} records are earlier than one before them and wait for it, as on "
                "the topic; sort the file by ts_event"
            )
        reading.controls += [item.event for item in received if isinstance(item.event, Control)]
        if topic is Topic.ORDERS:
            reading.ids |= {item.event.cl_ord_id for item in received}
        orders = [item.event for item in received if isinstance(item.event, NewOrder)]
        lot_sizes |= {order.cl_ord_id: (order.symbol, order.terms.lot_size) for order in orders}
    return lot_sizes


def _instrument(symbol: str, parts: Sequence[Partition]) -> Instrument:
    """Return a symbol's definition, as it is known at the end."""
    return parts[partition_for(symbol, len(parts))].engine.instruments.of(symbol)


def _in_lots(lot_sizes: Mapping[str, tuple[str, int]], parts: Sequence[Partition]) -> dict[str, int]:
    """Return the lot of each order, quanta: the instrument's where the order states none."""
    return {cl_ord_id: lot or _instrument(symbol, parts).lot for cl_ord_id, (symbol, lot) in lot_sizes.items()}


def _is_home(item: Received[Any], number: int, partitions: int) -> bool:
    if isinstance(item.event, Control):
        return True
    return partition_for(item.event.symbol, partitions) == number


def summarise(
    tally: Tally,
    orders: tuple[OrderSummary, ...],
    reading: Reading,
    engines: Sequence[Engine],
    written: Sequence[Path],
    out: Path,
    seconds: float,
    waiting: Counter[str] | None = None,
) -> ReplaySummary:
    """Return the summary of a finished replay."""
    rejected: Counter[str] = Counter()
    for engine in engines:
        for reasons in engine.rejected().values():
            rejected.update(reasons)
    waiting = waiting or Counter()
    return ReplaySummary(
        ticks=reading.ticks,
        books=reading.books,
        trades=reading.ticks - reading.books,
        rejected=dict(sorted(rejected.items())),
        refused=dict(sorted(tally.dead.items())),
        skipped_unknown=reading.skipped,
        late=tally.late,
        minutes=tally.minutes,
        models=tally.models,
        plans=tally.plans,
        alerts=dict(sorted(tally.alerts.items())),
        orders=orders,
        waiting=dict(sorted(waiting.items())),
        first_ns=reading.first_ns,
        last_ns=reading.last_ns,
        warnings=tuple(_warnings(reading, tally, waiting)),
        unusable=tuple(_unusable(reading, tally, rejected)),
        unmatched=tuple(_unmatched(reading, tally)),
        directory=str(out),
        files={path.name: path.stat().st_size for path in written},
        seconds=seconds,
    )


def _none_taken(orders: Sequence[OrderSummary], waiting: Mapping[str, int]) -> str | None:
    """Return why no order was worked at all, or None."""
    if not orders and waiting.get(Topic.ORDERS):
        return "all of it lies after the end of the data; send times of the recorded day"
    if orders and all(order.status == Status.REJECTED for order in orders):
        return f"all {len(orders):,} orders were rejected; the first: {orders[0].cl_ord_id}: {orders[0].text}"
    return None


def _unmatched(reading: Reading, tally: Tally) -> Iterator[str]:
    """Yield the controls whose scope matches nothing."""
    known = {EVERYTHING, *reading.symbols, *tally.symbols(), *reading.ids}
    for control in reading.controls:
        if control.scope not in known:
            yield (
                f"{control.type} of {control.scope} matches no symbol of the data and no order; check its spelling "
                f"(there are {some(known - {EVERYTHING})})"
            )


def _lifts_nothing(reading: Reading) -> Iterator[str]:
    """Yield the resumes of scopes that were not halted by themselves while others were."""
    halted: set[str] = set()
    for control in sorted(reading.controls, key=lambda item: item.ts_event):
        if control.type == "halt":
            halted.add(control.scope)
        elif control.scope not in halted and halted:
            yield f"resume of {control.scope} lifts nothing: what was halted is {some(halted)}; resume that"
        halted -= {control.scope} if control.type == "resume" else set()


def _unusable(reading: Reading, tally: Tally, rejected: Mapping[str, int]) -> Iterator[str]:
    """Yield what could not be used at all, with the first reason."""
    yield from reading.unusable
    if not reading.ticks:
        return
    if sum(rejected.values()) >= reading.ticks:
        n, why = most_rejected(rejected)
        yield f"all {reading.ticks:,} ticks were rejected, {n:,} as {why}"
    elif not tally.minutes_with_mid:
        yield "no minute has a book with both sides within the session: there is no estimate"


def _warnings(reading: Reading, tally: Tally, waiting: Mapping[str, int]) -> Iterator[str]:
    for symbol in sorted(tally.symbols() - reading.symbols):
        yield f"no tick of {symbol}, which has an order; there are ticks of {some(reading.symbols)}"
    for symbol in sorted(reading.given - reading.symbols if reading.ticks else ()):
        yield f"--symbol {symbol} names no tick: the data are of {some(reading.symbols)}"
    for reason in ("truncated", "corrupt"):
        if reading.refused[reason]:
            yield f"{reading.refused[reason]} records are {reason}: is a file cut short? See dlq.jsonl"
    yield from reading.unsorted
    yield from _lifts_nothing(reading)
    for topic, n in waiting.items():
        yield f"{n} {topic} records lie after the end of the data and were not applied"
    if tally.dead["orphan"]:
        yield f"{tally.dead['orphan']} events name an order or execution that never came; see dlq.jsonl"
    if tally.late:
        yield f"{tally.late} rows came after their minute had closed and are in no estimate"


def some(names: Collection[str], n: int = 5) -> str:
    """Return some of the names, and how many more there are."""
    shown = ", ".join(sorted(names)[:n]) or "none"
    return shown if len(names) <= n else f"{shown} and {len(names) - n:,} more"

"""Prices the executed quantity of a replayed day's orders, and the same quantity at an even pace, at its books.

The files are read a second time, since what an even pace trades in an interval is known only when the order has ended.
No more is held than a batch of rows and the current interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import BookSettings
from impactd.core.base.topics import SIDES, Side
from impactd.core.books.interval_cost import Intervals, Prevailing
from impactd.core.inputs.ticks import TickBatch, by_record_time

Path = Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be priced of one order."""

    symbol: str
    side: Side
    #: When the order began to work, ns: its arrival price is the mid of then.
    begin: int
    #: Quanta by start of an interval, ns, for each path.
    paths: tuple[Path, ...]
    negative_px: bool = False


@dataclass(slots=True)
class Answer:
    """What one order's paths cost."""

    #: Mid when the order began to work, or the first one after it.
    arrival_px: float | None = None
    #: Price times quantity over mid, by path; NaN where an interval that trades has no book.
    costs: list[float] = field(default_factory=list)
    #: Shares priced beyond the visible depth, averaged over time, by path.
    beyond_qty: list[float] = field(default_factory=list)


def price(questions: Mapping[str, Question], batches: Iterable[TickBatch], settings: BookSettings) -> dict[str, Answer]:
    """Return what each order's paths cost.

    Parameters
    ----------
    questions : mapping of str to Question
        By order.
    batches : iterable of TickBatch
        The day's rows, in the order in which they arrived.
    """
    by_symbol: dict[str, list[str]] = {}
    for name, question in questions.items():
        by_symbol.setdefault(question.symbol, []).append(name)
    tapes = {
        symbol: _Tape([(questions[name], Answer()) for name in names], settings) for symbol, names in by_symbol.items()
    }
    if tapes:
        for batch in batches:
            for code, symbol in enumerate(batch.symbols):
                if symbol in tapes:
                    tapes[symbol].add(batch.take(batch.symbol == code))
    answers: dict[str, Answer] = {}
    for symbol, names in by_symbol.items():
        answers |= zip(names, tapes[symbol].finish(), strict=True)
    return answers


class _Tape:
    """One symbol's rows since the last interval that was priced."""

    def __init__(self, asked: Sequence[tuple[Question, Answer]], settings: BookSettings) -> None:
        self._asked = asked
        self._settings = settings
        self._rows: list[TickBatch] = []
        interval = settings.interval_ns
        wanted = {start for question, _ in asked for path in question.paths for start in path}
        wanted |= {question.begin // interval * interval for question, _ in asked}
        self._wanted = sorted(wanted)
        self._costs: list[list[list[float]]] = [[[] for _ in question.paths] for question, _ in asked]
        self._beyond: list[list[list[float]]] = [[[] for _ in question.paths] for question, _ in asked]

    def add(self, batch: TickBatch) -> None:
        """Take rows in, and price the intervals that they have closed."""
        if not (self._wanted and len(batch)):
            return
        batch = by_record_time(batch, self._settings.max_clock_skew_ns)
        self._rows.append(batch)
        timely = batch.ts_event <= batch.ts_record + self._settings.max_clock_skew_ns
        if timely.any():
            self._advance(int(batch.ts_event[timely].max()))

    def finish(self) -> list[Answer]:
        """Return the answers, once all rows have been taken in."""
        if self._wanted:
            self._advance(self._wanted[-1] + self._settings.interval_ns)
        for (_, answer), costs, beyond in zip(self._asked, self._costs, self._beyond, strict=True):
            answer.costs = [math.fsum(of_path) for of_path in costs]
            answer.beyond_qty = [math.fsum(of_path) for of_path in beyond]
        return [answer for _, answer in self._asked]

    def _advance(self, clock: int) -> None:
        interval = self._settings.interval_ns
        n = sum(start + interval <= clock for start in self._wanted)
        if n == 0 and len(self._rows) < 2:
            return
        rows = TickBatch.concat(self._rows) if self._rows else TickBatch.empty()
        negative_px = any(question.negative_px for question, _ in self._asked)
        books = Prevailing.of(rows, self._settings, negative_px=negative_px)
        if n:
            done, self._wanted = self._wanted[:n], self._wanted[n:]
            self._price(books, np.array(done, np.int64))
        # The book that prevails when the next interval of interest begins, and all that came after it.
        before = books.start[books.start <= (self._wanted[0] if self._wanted else clock)]
        kept = rows.take(rows.ts_event >= before[-1]) if len(before) else rows
        self._rows = [kept] if self._wanted and len(kept) else []

    def _price(self, books: Prevailing, starts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        interval = self._settings.interval_ns
        first = int(starts[0])
        intervals = Intervals.of(books, first, (int(starts[-1]) - first) // interval + 1, interval)
        for k, (question, answer) in enumerate(self._asked):
            if answer.arrival_px is None and question.begin < starts[-1] + interval:
                answer.arrival_px = books.mid_from(question.begin)
            row = SIDES.index(question.side)
            for j, path in enumerate(question.paths):
                mine = [start for start in starts.tolist() if path.get(start)]
                at = np.array([(start - first) // interval for start in mine], np.int64)
                x = np.array([path[start] / QUANTA for start in mine])
                costs, beyond = intervals.costs(row, at, x)
                self._costs[k][j] += costs.tolist()
                self._beyond[k][j] += beyond.tolist()

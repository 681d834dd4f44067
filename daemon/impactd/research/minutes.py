"""Minute estimates of a history, by the service's own aggregator.

The same rows through the same `impactd.core.books.aggregator.MinuteAggregator` as the service uses, so
that a study and the service see the same figures to the last bit: each book
prevails until the next one, each minute weights its books by time, and the grid
of sizes follows the same rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from impactd.core.base.settings import BookSettings
from impactd.core.books.aggregator import MinuteAggregator
from impactd.core.books.minute import MinuteStats
from impactd.core.inputs.ticks import Float, Int32, TickBatch
from impactd.research.frames import Books

_SYMBOL = "-"
_MILLISECOND_NS = 1_000_000


def closed_minutes(parts: Iterable[Books], settings: BookSettings) -> list[MinuteStats]:
    """Return every minute in which a book prevailed.

    Parameters
    ----------
    parts : iterable of Books
        In the order of time.

    Returns
    -------
    list of MinuteStats
        In order.  The last book prevails to the end of its minute.
    """
    aggregator = MinuteAggregator(settings, max_symbols=1)
    stats: list[MinuteStats] = []
    n_rows = 0
    for books in parts:
        batch = as_batch(books, n_rows)
        n_rows += len(batch)
        at = 0
        while (at := aggregator.run(batch, at, len(batch))) < len(batch):
            if aggregator.is_idle(_SYMBOL):
                ts = int(batch.ts_event[at])
                aggregator.skip_to(_SYMBOL, ts - ts % settings.interval_ns)
            else:
                stats.append(_close(aggregator))
    if n_rows:
        stats.append(_close(aggregator))
    return [closed for closed in stats if closed.covered_ns]


def _close(aggregator: MinuteAggregator) -> MinuteStats:
    closed = aggregator.close_minute(_SYMBOL)
    aggregator.regrid(_SYMBOL, closed)
    return closed


def as_batch(books: Books, n_before: int, symbol: str = _SYMBOL) -> TickBatch:
    """Return books as the rows that a codec would give.

    Parameters
    ----------
    n_before : int
        Rows before these; offsets continue from there.
    """
    n, width = books.bid_px.shape
    return replace(
        TickBatch.empty(n, width, (symbol,)),
        ts_event=books.ts_ns,
        ts_record=books.ts_ns // _MILLISECOND_NS * _MILLISECOND_NS,
        offset=np.arange(n_before, n_before + n),
        bid_px=books.bid_px,
        bid_sz=books.bid_sz,
        ask_px=books.ask_px,
        ask_sz=books.ask_sz,
        n_bid=_in_use(books.bid_sz),
        n_ask=_in_use(books.ask_sz),
    )


def _in_use(sizes: Float) -> Int32:
    """Return one more than the place of the last level of each book."""
    there = sizes > 0.0
    last = sizes.shape[1] - np.argmax(there[:, ::-1], axis=1)
    return np.where(there.any(axis=1), last, 0).astype(np.int32)

"""Identifies a recorded file and the fate of its rows: the checks of the service, without its models."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from impactd.core.base.settings import BookSettings
from impactd.core.base.venue import in_words
from impactd.core.books.aggregator import MinuteAggregator
from impactd.core.books.checks import USABLE, check_books
from impactd.core.inputs.ticks import BOOK, MID_EVENT, TRADE, Float, TickBatch
from impactd.shell.lines import open_content
from impactd.shell.recorded import read_ticks
from impactd.wire.codec import Limits
from impactd.wire.registry import detect

_UNIT: Final = re.compile(r'set wire\.time_unit = "(\w+)"')


@dataclass(slots=True)
class SymbolFacts:
    """The rows of one symbol."""

    books: int = 0
    trades: int = 0
    n_levels: int = 0
    #: Medians over its usable books of two sides.
    spread: float | None = None
    mid: float | None = None


@dataclass(slots=True)
class FileFacts:
    """What a file holds."""

    path: Path
    codec: str
    #: Unit in which its whole times were read.
    time_unit: str
    books: int = 0
    trades: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    symbols: dict[str, SymbolFacts] = field(default_factory=dict)
    #: Rows that the core's checks reject, by reason.
    rejected: dict[str, int] = field(default_factory=dict)
    #: Records that the codec refuses, by reason; `first_refused` states why the first is.
    refused: dict[str, int] = field(default_factory=dict)
    first_refused: str = ""
    skipped: int = 0
    #: Definitions, trading statuses and imbalances.
    events: int = 0
    usable: int = 0


def inspect_file(
    path: Path, codec: str | None, symbol: str | None, settings: BookSettings, limits: Limits
) -> FileFacts:
    """Read a file and return what it holds.

    Where nothing can be used because its times are in another unit, it is read in that unit.
    """
    facts = _read(path, codec, symbol, settings, limits)
    other = _UNIT.search(facts.first_refused) if not facts.usable else None
    return facts if other is None else _read(path, codec, symbol, settings, replace(limits, time_unit=other[1]))


def _read(path: Path, codec: str | None, symbol: str | None, settings: BookSettings, limits: Limits) -> FileFacts:
    facts = FileFacts(path, codec or _codec_of(path), limits.time_unit)
    aggregator = MinuteAggregator(settings)
    refused: Counter[str] = Counter()
    best: dict[str, list[tuple[Float, Float]]] = {}
    for decoded in read_ticks(path, codec, symbol, limits=limits):
        batch = decoded.batch
        refused.update(letter.reason for letter in decoded.refused)
        if decoded.refused and not facts.first_refused:
            letter = decoded.refused[0]
            facts.first_refused = f"record {letter.offset}: {letter.detail}"
        facts.skipped += decoded.skipped_unknown
        facts.events += len(decoded.events)
        if len(batch):
            _count(batch, facts, settings, best)
            _check(batch, aggregator, settings)
    rejected: Counter[str] = Counter()
    for name in facts.symbols:
        rejected.update(aggregator.rejected_total(name))
    facts.rejected = {reason: n for reason, n in rejected.items() if n}
    facts.refused = dict(refused.most_common())
    facts.usable = facts.books + facts.trades + facts.events - rejected.total()
    for name, found in facts.symbols.items():
        if name in best:
            bid, ask = (np.concatenate(side) for side in zip(*best[name], strict=True))
            found.spread, found.mid = float(np.median(ask - bid)), float(np.median((ask + bid) / 2))
    facts.symbols = {in_words(name): found for name, found in facts.symbols.items()}
    return facts


def _codec_of(path: Path) -> str:
    found: Any = detect(open_content(path).head)
    return "unknown" if found is None else found.name


def _count(
    batch: TickBatch, facts: FileFacts, settings: BookSettings, best: dict[str, list[tuple[Float, Float]]]
) -> None:
    first, last = int(batch.ts_event.min()), int(batch.ts_event.max())
    facts.first_ns = first if facts.first_ns is None else min(facts.first_ns, first)
    facts.last_ns = last if facts.last_ns is None else max(facts.last_ns, last)
    usable = check_books(batch.bid_px, batch.bid_sz, batch.ask_px, batch.ask_sz, settings.allow_locked) == USABLE
    usable &= (batch.kind == BOOK) & (batch.flags & MID_EVENT == 0) & (batch.n_bid > 0) & (batch.n_ask > 0)
    levels = np.maximum(batch.n_bid, batch.n_ask)
    for code, name in enumerate(batch.symbols):
        own = batch.symbol == code
        found = facts.symbols.setdefault(name, SymbolFacts())
        n_books, n_trades = (int(np.count_nonzero(own & (batch.kind == kind))) for kind in (BOOK, TRADE))
        found.books += n_books
        found.trades += n_trades
        facts.books += n_books
        facts.trades += n_trades
        found.n_levels = max(found.n_levels, int(levels[own].max(initial=0)))
        rows = np.flatnonzero(own & usable)
        if len(rows):
            best.setdefault(name, []).append((batch.bid_px[rows, 0], batch.ask_px[rows, 0]))


def _check(batch: TickBatch, aggregator: MinuteAggregator, settings: BookSettings) -> None:
    """Pass the rows through the checks of the service."""
    row = 0
    while (row := aggregator.run(batch, row, len(batch))) < len(batch):
        ts = int(batch.ts_event[row])
        for name in aggregator.closing(batch, row):
            if aggregator.is_idle(name):
                aggregator.skip_to(name, ts - ts % settings.interval_ns)
            else:
                aggregator.close_minute(name)

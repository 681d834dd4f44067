"""The tape once more, slow and obvious: exact fractions, and each minute from the whole history.

It shares no code and no idea of an accumulator with `impactd.core.books.aggregator`.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

from impactd.core.base.settings import BookSettings
from impactd.core.inputs.ticks import AUCTION, MID_EVENT, UNDECODABLE_BOOK
from tests.core.rows import Level, Row

_DAY_NS = 86_400 * 10**9


def slow_walk(levels: list[Level], best_other: float, size: float) -> tuple[Fraction | None, Fraction]:
    """Return slippage over mid (None where the levels do not hold `size`) and its lower bound."""
    mid = (Fraction(levels[0][0]) + Fraction(best_other)) / 2
    left, paid = Fraction(size), Fraction(0)
    for px, available in levels:
        taken = min(left, Fraction(available))
        paid += taken * Fraction(px)
        left -= taken
    bound = paid + left * Fraction(levels[-1][0])
    over = abs(bound / Fraction(size) - mid)
    return (over if left == 0 else None), over


def slow_reason(row: Row, settings: BookSettings) -> str | None:
    """Return why the content of a book is rejected."""
    if row.flags & MID_EVENT:
        return "mid_event"
    if row.flags & UNDECODABLE_BOOK:
        return "undecodable"
    if max(len(row.bids), len(row.asks)) > settings.max_levels:
        return "too_deep"
    bids = [level for level in row.bids if level[1] != 0]
    asks = [level for level in row.asks if level[1] != 0]
    values = [v for level in bids + asks for v in level]
    if not all(map(math.isfinite, values)):
        return "not_finite"
    if any(abs(v) >= 9_999_999_999 for v in values):
        return "sentinel"
    if any(px <= 0 for px, _ in bids + asks):
        return "price"
    if any(sz < 0 for _, sz in bids + asks):
        return "size"
    if [px for px, _ in bids] != sorted({px for px, _ in bids}, reverse=True):
        return "unsorted"
    if [px for px, _ in asks] != sorted({px for px, _ in asks}):
        return "unsorted"
    if bids and asks and bids[0][0] > asks[0][0]:
        return "crossed"
    if bids and asks and bids[0][0] == asks[0][0] and not settings.allow_locked:
        return "locked"
    return None


@dataclass
class SlowMinute:
    """What is counted row by row in one minute of one symbol."""

    rejected: Counter[str] = field(default_factory=Counter)
    n_late: int = 0
    n_books: int = 0
    trades: list[Row] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    other_instrument: int = 0


@dataclass
class SlowSymbol:
    """History of one symbol."""

    minute: int | None = None
    books: list[tuple[int, list[Level], list[Level]]] = field(default_factory=list)
    traded: bool = False
    publisher: int = 0
    instrument: int = 0
    counts: SlowMinute = field(default_factory=SlowMinute)


class SlowTape:
    """Takes rows one at a time and keeps what `MinuteStats` should say of each closed minute."""

    def __init__(self, settings: BookSettings) -> None:
        self.settings = settings
        self.symbols: dict[str, SlowSymbol] = {}
        self.clock = -math.inf
        self.closed: list[dict[str, object]] = []

    def take(self, row: Row) -> None:
        rule = self.settings
        its = self.symbols.setdefault(row.symbol, SlowSymbol())
        record = row.ts if row.ts_record is None else row.ts_record
        if row.ts > record + rule.max_clock_skew_ns:
            its.counts.rejected["future"] += 1
            return
        if its.minute is not None and row.ts < its.minute:
            its.counts.n_late += 1
            return
        if row.qty is None and its.books and row.ts < its.books[-1][0]:
            its.counts.rejected["clock_back"] += 1
            return
        self._close_before(row)
        if its.minute is not None and row.ts < its.minute:
            its.counts.n_late += 1  # the partition's clock has closed its minute just now
            return
        if its.minute is None:
            its.minute = row.ts // rule.interval_ns * rule.interval_ns
        self.clock = max(self.clock, row.ts)
        if row.publisher and its.publisher and row.publisher != its.publisher:
            is_silent = not its.books or row.ts - its.books[-1][0] > rule.max_silence_ns
            if not is_silent:
                its.counts.rejected["publisher"] += 1
                its.counts.others.append(row.publisher)
                return
            its.instrument = row.instrument
        its.publisher = row.publisher or its.publisher
        if row.instrument and its.instrument and row.instrument != its.instrument:
            last = its.books[-1][0] if its.books else -math.inf
            if row.ts // _DAY_NS == last // _DAY_NS:
                its.counts.other_instrument = its.instrument
                if row.ts - last < rule.interval_ns:
                    its.counts.rejected["instrument"] += 1
                    its.counts.other_instrument = row.instrument
                    return
        its.instrument = row.instrument or its.instrument
        if row.qty is not None:
            its.counts.trades.append(row)
            its.traded = True
            return
        reason = slow_reason(row, rule)
        if reason:
            its.counts.rejected[reason] += 1
            return
        bids = [level for level in row.bids if level[1] > 0]
        asks = [level for level in row.asks if level[1] > 0]
        its.books.append((row.ts, bids, asks))
        its.counts.n_books += bool(bids and asks)

    def _close_before(self, row: Row) -> None:
        while True:
            now = max(self.clock, row.ts)
            due = [
                (its.minute, name)
                for name, its in self.symbols.items()
                if its.minute is not None
                and (
                    its.minute + self.settings.interval_ns + self.settings.grace_ns <= now
                    or (name == row.symbol and its.minute + self.settings.interval_ns <= row.ts)
                )
            ]
            # A row that has become late meanwhile waits for nothing any more.
            own = self.symbols[row.symbol].minute
            if not due or (own is not None and row.ts < own):
                return
            self.close(min(due)[1])

    def close(self, name: str) -> None:
        its = self.symbols[name]
        rule = self.settings
        assert its.minute is not None
        begin, end = its.minute, its.minute + rule.interval_ns
        longest = min(rule.max_silence_ns, rule.max_book_age_ns or rule.max_silence_ns)
        stood = []
        for k, (ts, bids, asks) in enumerate(its.books):
            until = min(end, ts + longest, its.books[k + 1][0] if k + 1 < len(its.books) else end)
            if bids and asks and until > max(begin, ts):
                stood.append((until - max(begin, ts), bids, asks))
        covered = sum(time for time, _, _ in stood)

        def average(values: list[tuple[int, Fraction]]) -> Fraction | None:
            time = sum(t for t, _ in values)
            return sum((t * v for t, v in values), Fraction(0)) / time if time else None

        mids = [(t, (Fraction(b[0][0]) + Fraction(a[0][0])) / 2) for t, b, a in stood]
        spreads = [(t, (Fraction(a[0][0]) - Fraction(b[0][0])) / 2) for t, b, a in stood]
        last = its.books[-1] if its.books else (0, [], [])
        stands = last[1] and last[2] and end <= last[0] + longest
        slippage, coverage, bound, depth = [], [], [], []
        for side in ("buy", "sell"):
            walked = [(t, a, b[0][0]) if side == "buy" else (t, b, a[0][0]) for t, b, a in stood]
            depth.append(average([(t, sum((Fraction(v) for _, v in own), Fraction(0))) for t, own, _ in walked]))
            cells = [[(t, *slow_walk(own, other, q)) for t, own, other in walked] for q in rule.sizes]
            slippage.append([average([(t, g) for t, g, _ in cell if g is not None]) for cell in cells])
            bound.append([average([(t, low) for t, _, low in cell]) for cell in cells])
            held = [sum(t for t, g, _ in cell if g is not None) for cell in cells]
            coverage.append([h / covered if covered else 0.0 for h in held])
        volume, turnover = [0.0, 0.0], 0.0
        for print_ in its.counts.trades:
            assert print_.qty is not None
            volume[bool(print_.flags & AUCTION)] += print_.qty
            if not print_.flags & AUCTION:
                turnover += print_.px * print_.qty
        self.closed.append(
            {
                "symbol": name,
                "minute": begin,
                "n_books": its.counts.n_books,
                "n_rejected": its.counts.rejected.total(),
                "rejected": dict(its.counts.rejected),
                "n_late": its.counts.n_late,
                "n_trades": len(its.counts.trades),
                "covered_ns": covered,
                "mid": average(mids),
                "half_spread": average(spreads),
                "mid_close": (Fraction(last[1][0][0]) + Fraction(last[2][0][0])) / 2 if stands else None,
                "volume_continuous": volume[0] if its.traded else None,
                "volume_auction": volume[1] if its.traded else None,
                "turnover_continuous": turnover,
                "slippage": slippage,
                "coverage": coverage,
                "lower_bound": bound,
                "depth": depth,
                "other_publisher": (its.counts.others or [0])[-1],
                "instrument": its.instrument,
                "other_instrument": its.counts.other_instrument,
            }
        )
        its.minute = end
        its.counts = SlowMinute()

r"""The cost of an executed quantity: that of walking the prevailing books, over mid, by interval.

This is the one definition of a realised cost.  Replays, backtests, comparisons and the batch API
evaluate it on the books themselves; the live page, which has no books, on the sizes of each minute's estimate.

The books are those that `impactd.core.books.aggregator` accepts, and each weighs by the time for which it
prevailed.  In interval t, with :math:`w_i` the share of the covered time of two-sided book i,

.. math::

    C_t(x) = \sum_i w_i \, c_i(x), \qquad
    c_i(x) = h_i x + \sum_j (\text{shares taken of level } j) \, |p_{ij} - p_{i0}|,

currency above mid.  Beyond the visible depth V the marginal price rises on
from the last level's distance :math:`e` with the book's own slope
:math:`e / V`, so that :math:`c_i` stays convex:

.. math::

    c_i(x) = h_i x + E_i + (x - V) e + \tfrac{1}{2} \frac{e}{V} (x - V)^2, \qquad x > V,

with :math:`E_i` the cost of all levels beyond the best.  A book of one level
shows no slope; there the half-spread replaces e.  The quantity priced
beyond the depth is counted separately, so that it never looks like visible depth.

`Intervals.rising` scales that slope: it is 0 where another law takes its place.

Part of an order's own depletion may persist: a walk that begins at d shares
already taken costs :math:`C_t(d + x) - C_t(d)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import inner_kernel, kernel, uncounted_kernel
from impactd.core.base.limits import ANY_PX, SMALLEST_PX
from impactd.core.base.settings import BookSettings
from impactd.core.books.checks import USABLE, check_books
from impactd.core.books.walk import BUY, SELL
from impactd.core.inputs.ticks import BOOK, MID_EVENT, UNDECODABLE_BOOK, Float, Int, TickBatch


@dataclass(frozen=True, slots=True, eq=False)
class Prevailing:
    """The two-sided books of one symbol, and how long each prevailed."""

    #: Shape (n,). Each book prevailed in [start, end), ns.
    start: Int
    end: Int
    #: Shape (n,). Price.
    half_spread: Float
    mid: Float
    #: Shape (n, 2, n_levels). Of each level from the best one, price; sides are buy (the asks) and sell.
    distance: Float
    #: Shape (n, 2, n_levels). Shares; 0 beyond the book's own levels.
    size: Float
    #: Shape (n, 2). Shares that the book shows.
    depth: Float

    @classmethod
    def of(cls, batch: TickBatch, settings: BookSettings, *, negative_px: bool = False) -> Prevailing:
        """Return the books of one symbol's rows, in the order of their arrival."""
        rows = batch.take(_accepted(batch, settings, ANY_PX if negative_px else SMALLEST_PX))
        stand = settings.max_silence_ns
        if settings.max_book_age_ns is not None:
            stand = min(stand, settings.max_book_age_ns)
        end = rows.ts_event + stand
        end[:-1] = np.minimum(end[:-1], rows.ts_event[1:])
        bid_px, bid_sz = _compact(rows.bid_px, rows.bid_sz)
        ask_px, ask_sz = _compact(rows.ask_px, rows.ask_sz)
        real = (bid_sz[:, 0] > 0.0) & (ask_sz[:, 0] > 0.0) & (end > rows.ts_event)
        size = np.stack([ask_sz, bid_sz], axis=1)[real]
        px = np.stack([ask_px, bid_px], axis=1)[real]
        best = px[:, :, :1]
        return cls(
            start=rows.ts_event[real],
            end=end[real],
            half_spread=0.5 * (best[:, BUY, 0] - best[:, SELL, 0]),
            mid=0.5 * (best[:, BUY, 0] + best[:, SELL, 0]),
            distance=np.where(size > 0.0, np.abs(px - best), 0.0),
            size=size,
            depth=size.sum(axis=2),
        )

    def at(self, ts: int) -> int | None:
        """Return the index of the book that prevails at `ts`; None where none does."""
        i = int(np.searchsorted(self.start, ts, "right")) - 1
        return i if i >= 0 and self.end[i] > ts else None

    def mid_from(self, ts: int) -> float | None:
        """Return the mid at `ts`, or else the first one after it: the arrival price of an order that begins then."""
        i = self.at(ts)
        i = int(np.searchsorted(self.start, ts)) if i is None else i
        return float(self.mid[i]) if i < len(self.mid) else None


def _accepted(batch: TickBatch, settings: BookSettings, least_px: float) -> npt.NDArray[np.bool_]:
    """Say which rows are books that the tape of one symbol accepts; see `impactd.core.books.aggregator`."""
    timely = batch.ts_event <= batch.ts_record + settings.max_clock_skew_ns
    good = (batch.kind == BOOK) & ((batch.flags & (MID_EVENT | UNDECODABLE_BOOK)) == 0) & timely
    if settings.max_levels < batch.n_levels:
        good &= (batch.n_bid <= settings.max_levels) & (batch.n_ask <= settings.max_levels)
    reasons = check_books(batch.bid_px, batch.bid_sz, batch.ask_px, batch.ask_sz, settings.allow_locked, least_px)
    good &= reasons == USABLE
    return _in_time(batch.ts_event, timely, good, settings.interval_ns)


@kernel
def _in_time(
    ts: Int, timely: npt.NDArray[np.bool_], good: npt.NDArray[np.bool_], interval_ns: int
) -> npt.NDArray[np.bool_]:
    """Take out of `good` what comes before the last accepted book, or after its minute has closed."""
    kept = np.zeros(ts.shape[0], np.bool_)
    minute, last = -1, -1
    for i in range(ts.shape[0]):
        if not timely[i] or ts[i] < minute:
            continue
        minute = max(minute, ts[i] - ts[i] % interval_ns)
        if good[i] and ts[i] >= last:
            kept[i] = True
            last = ts[i]
    return kept


@kernel
def _compact(px: Float, sz: Float) -> tuple[Float, Float]:
    """Return the levels of positive size, best first, and zeros behind them; one column at least."""
    out_px, out_sz = np.zeros((px.shape[0], max(px.shape[1], 1))), np.zeros((px.shape[0], max(px.shape[1], 1)))
    for i in range(px.shape[0]):
        count = 0
        for j in range(px.shape[1]):
            if sz[i, j] > 0.0:
                out_px[i, count] = px[i, j]
                out_sz[i, count] = sz[i, j]
                count += 1
    return out_px, out_sz


@inner_kernel
def _book_cost(distance: Float, size: Float, half_spread: float, depth: float, x: float, rising: float) -> float:
    """Return c(x) of one side of one book, currency over mid."""
    cost, left, last = half_spread * x, x, 0.0
    for j in range(size.shape[0]):
        if left <= 0.0 or size[j] <= 0.0:
            break
        taken = min(left, size[j])
        last = distance[j]
        cost += taken * last
        left -= taken
    if left > 0.0:
        last = distance[0]
        for j in range(size.shape[0]):
            if size[j] > 0.0:
                last = distance[j]
        rise = rising * (last if last > 0.0 else half_spread)
        cost += left * (last + 0.5 * rise / depth * left)
    return cost


@uncounted_kernel
def walk_on(
    distance: Float, size: Float, half_spread: float, depth: float, begin: float, x: float, rising: float = 1.0
) -> float:
    """Return what `x` shares cost over mid on one side of one book after `begin` shares were taken, currency."""
    return float(
        _book_cost(distance, size, half_spread, depth, begin + x, rising)
        - _book_cost(distance, size, half_spread, depth, begin, rising)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """The books of successive intervals, and what walks through them cost."""

    #: Of the first interval, ns.
    start: int
    interval_ns: int
    #: Shape (n + 1,). Interval t has the pieces ``first[t]`` to ``first[t + 1] - 1``.
    first: Int
    #: Shape (n_pieces,). Which book, and for how long it prevailed in the interval.
    book: Int
    held_ns: Int
    #: Shape (n,).
    covered_ns: Int
    #: Shape (2, n). Visible depth averaged over the covered time, shares; NaN where no book prevailed.
    depth: Float
    prevailing: Prevailing
    #: How much of a book's own slope goes on beyond its visible depth.
    rising: float = 1.0

    @classmethod
    def of(cls, prevailing: Prevailing, start: int, n: int, interval_ns: int) -> Intervals:
        """Return the `n` intervals from `start` on."""
        first, book, held = _pieces(prevailing.start, prevailing.end, start, n, interval_ns)
        owner = np.repeat(np.arange(n), np.diff(first))
        covered = np.bincount(owner, held, n).astype(np.int64)
        with np.errstate(invalid="ignore", divide="ignore"):
            sums = np.stack([np.bincount(owner, held * prevailing.depth[book, side], n) for side in (BUY, SELL)])
            depth = sums / covered
        return cls(start, interval_ns, first, book, held, covered, depth, prevailing)

    def __len__(self) -> int:
        return int(self.covered_ns.shape[0])

    def index(self, ts: int) -> int:
        """Return which interval `ts` lies in; may lie outside of what is there."""
        return (ts - self.start) // self.interval_ns

    def costs(self, row: int, at: Int, x: Float, taken: Float | None = None) -> tuple[Float, Float]:
        """Return what walks of `x` shares cost in the intervals `at`.

        Parameters
        ----------
        row : int
            `BUY` or `SELL`.
        at : ndarray of int64, shape (n,)
        x : ndarray of float64, shape (n,)
            Shares.
        taken : ndarray of float64, shape (n,), optional
            Shares missing from each book before.

        Returns
        -------
        cost : ndarray of float64, shape (n,)
            Currency over mid; NaN for something in an interval without a book.
        beyond : ndarray of float64, shape (n,)
            Shares beyond the visible depth, averaged over time.
        """
        books = self.prevailing
        before = np.zeros(x.shape) if taken is None else taken
        return _walks(
            self.first, self.book, self.held_ns, books.distance, books.size, books.half_spread, books.depth,
            row, at, x, before, self.rising,
        )  # fmt: skip

    def table(self, row: int, first: int, last: int, step: float, n_steps: int) -> Float:
        """Return C of 0, 1, ... `n_steps` steps in the intervals [first, last), shape (last - first, n_steps + 1)."""
        books = self.prevailing
        return _tabulate(
            self.first, self.book, self.held_ns, books.distance, books.size, books.half_spread, books.depth,
            row, first, last, step, n_steps, self.rising,
        )  # fmt: skip

    def beyond(self, row: int, first: int, last: int, step: float, n_steps: int) -> Float:
        """Return the shares beyond the visible depth, averaged over time, of the walks of `table`."""
        return _beyond(self.first, self.book, self.held_ns, self.prevailing.depth, row, first, last, step, n_steps)


@kernel
def _pieces(begins: Int, ends: Int, start: int, n: int, interval_ns: int) -> tuple[Int, Int, Int]:
    """Cut books at the ends of intervals."""
    stop = start + n * interval_ns
    first = np.zeros(n + 1, np.int64)
    for i in range(begins.shape[0]):
        begin, end = max(begins[i], start), min(ends[i], stop)
        if begin < end:
            for t in range((begin - start) // interval_ns, (end - 1 - start) // interval_ns + 1):
                first[t + 1] += 1
    first = np.cumsum(first)
    book = np.empty(first[n], np.int64)
    held = np.empty(first[n], np.int64)
    at = first[:n].copy()
    for i in range(begins.shape[0]):
        begin, end = max(begins[i], start), min(ends[i], stop)
        if begin < end:
            for t in range((begin - start) // interval_ns, (end - 1 - start) // interval_ns + 1):
                lower = start + t * interval_ns
                book[at[t]] = i
                held[at[t]] = min(end, lower + interval_ns) - max(begin, lower)
                at[t] += 1
    return first, book, held


@kernel
def _walks(
    first: Int,
    book: Int,
    held: Int,
    distance: Float,
    size: Float,
    half_spread: Float,
    depth: Float,
    row: int,
    at: Int,
    x: Float,
    taken: Float,
    rising: float,
) -> tuple[Float, Float]:
    n = at.shape[0]
    cost, beyond = np.zeros(n), np.zeros(n)
    for k in range(n):
        if x[k] <= 0.0:
            continue
        t, d, covered = at[k], taken[k], 0
        for p in range(first[t], first[t + 1]):
            i, w = book[p], held[p]
            covered += w
            value = _book_cost(distance[i, row], size[i, row], half_spread[i], depth[i, row], d + x[k], rising)
            if d > 0.0:
                value -= _book_cost(distance[i, row], size[i, row], half_spread[i], depth[i, row], d, rising)
            cost[k] += w * value
            beyond[k] += w * min(max(d + x[k] - depth[i, row], 0.0), x[k])
        cost[k] /= covered
        beyond[k] /= covered
    return cost, beyond


@kernel
def _tabulate(
    first: Int,
    book: Int,
    held: Int,
    distance: Float,
    size: Float,
    half_spread: Float,
    depth: Float,
    row: int,
    begin: int,
    end: int,
    step: float,
    n_steps: int,
    rising: float,
) -> Float:
    out = np.zeros((end - begin, n_steps + 1))
    for t in range(begin, end):
        covered = 0
        for p in range(first[t], first[t + 1]):
            i, w = book[p], held[p]
            covered += w
            # One pass over the levels for all sizes, which ascend.
            total, spent, edge, last, j = 0.0, 0.0, 0.0, 0.0, 0
            n_levels = size.shape[2]
            edge = size[i, row, 0]
            for k in range(1, n_steps + 1):
                x = k * step
                while x > edge and j < n_levels and size[i, row, j] > 0.0:
                    spent += size[i, row, j] * distance[i, row, j]
                    total += size[i, row, j]
                    last = distance[i, row, j]
                    j += 1
                    edge = total + size[i, row, j] if j < n_levels and size[i, row, j] > 0.0 else np.inf
                value = half_spread[i] * x + spent
                if j < n_levels and size[i, row, j] > 0.0:
                    value += (x - total) * distance[i, row, j]
                else:
                    rise = rising * (last if last > 0.0 else half_spread[i])
                    over = x - depth[i, row]
                    value += over * (last + 0.5 * rise / depth[i, row] * over)
                out[t - begin, k] += w * value
        for k in range(n_steps + 1):
            out[t - begin, k] /= covered
    return out


@kernel
def _beyond(
    first: Int, book: Int, held: Int, depth: Float, row: int, begin: int, end: int, step: float, n_steps: int
) -> Float:
    out = np.zeros((end - begin, n_steps + 1))
    for t in range(begin, end):
        covered = 0
        for p in range(first[t], first[t + 1]):
            covered += held[p]
            for k in range(1, n_steps + 1):
                out[t - begin, k] += held[p] * max(k * step - depth[book[p], row], 0.0)
        out[t - begin] /= covered
    return out

r"""How books respond to fills: an event study against the same times of day without fills.

A fill of side :math:`s` at :math:`t` is followed over lags :math:`l`.  For each measure :math:`Y`

.. math:: \Delta_{t,l} = Y(t + l) - Y(t + l_0)

is its change since the lag :math:`l_0` just before the fill.  The measures, in basis points of mid:

- `mid`: ``sign * (mid / mid before - 1)``: positive where the price follows the fills;
- `half_spread`;
- `impact`: what a fixed size costs beyond the half-spread on the side that the fills take (asks for a buy);
- `other_impact`: the same on the other side.  More of it is a thinner book.

The response is the coefficient of a fill in the regression of :math:`\Delta` over moments with a fill and moments
without one, within cells of equal half hour of the session's local day and equal side, so that what the market does
at that time of day is not called response.  The other regressors are the spread and both impacts at :math:`l_0`
against their means of the day: orders that act when a book is cheap meet a book that returns to its mean, with or
without them.
Standard errors are clustered by blocks of half an hour.  Below `LEAST_BLOCKS` blocks with fills nothing is stated.

Rules:

- fills of one side that follow one another within `Lags.gap_ns` are one event, at the first;
- a lag counts only if no other event lies between it and its own event, so that later fills are not counted as the
  response to earlier ones.  `overlapping` counts the events that this shortens.  An order whose next slice waits for
  a cheap book ends its windows on cheap books: far lags with few events deserve less trust;
- a control has no event within the longest lag on either side;
- the time before a fill shows whether the market moved first: there a response cannot be.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np

from impactd.core.base.session import DAY_NS, Session
from impactd.core.base.settings import SECOND_NS
from impactd.core.books.interval_cost import Prevailing
from impactd.core.inputs.ticks import Float, Int

_BLOCK_NS: Final = 1_800 * SECOND_NS

#: Measures, in the order of the arrays.
MEASURES: Final = ("mid", "half_spread", "impact", "other_impact")

#: From this share of a minute on, a size counts as held in it.
_HELD: Final = 0.95

#: Sizes and price per share, as measured in one minute.
Curve = tuple[Sequence[float], Sequence[float | None]]

#: Blocks with fills and controls that it takes to state a response.
LEAST_BLOCKS: Final = 8


@dataclass(frozen=True, slots=True)
class Lags:
    """Where a fill's surroundings are looked at, ns; one of `lags_ns` is `before_ns`, against which changes count."""

    lags_ns: tuple[int, ...]
    before_ns: int
    #: Moments without fills are taken this often.
    step_ns: int
    #: Fills of a side with less between them are one event.
    gap_ns: int
    #: A fill counts as at the start of its interval of this length.
    grid_ns: int = 1

    @classmethod
    def of_intervals(cls, interval_ns: int) -> Self:
        """Return those of values that hold for one interval each; 0 is the interval of the fill."""
        lags = tuple(k * interval_ns for k in (-3, -2, -1, 0, 1, 2, 3, 5))
        return cls(lags, -interval_ns, interval_ns, interval_ns, interval_ns)


#: Of books, from 60 s before to 300 s after.
OF_BOOKS: Final = Lags(
    tuple(s * SECOND_NS for s in (-60, -30, -15, -1, 1, 5, 15, 30, 60, 120, 300)),
    -SECOND_NS,
    30 * SECOND_NS,
    5 * SECOND_NS,
)


class Series(NamedTuple):
    """One symbol over time."""

    #: Shape (n,), ns, ascending. Each value is in force in [start, end).
    start: Int
    end: Int
    mid: Float
    #: Basis points of mid, as the impact.
    half_spread: Float
    #: Shape (2, n). To buy and to sell.
    impact: Float

    @classmethod
    def of_books(cls, books: Prevailing, size: float) -> Self:
        """Return books as they came; what they do not hold of a size is priced at the last level."""
        before = np.cumsum(books.size, axis=2) - books.size
        taken = np.clip(size - before, 0.0, books.size)
        beyond = np.maximum(size - books.depth, 0.0) * books.distance.max(axis=2)
        excess = ((taken * books.distance).sum(axis=2) + beyond) / size
        mid = _positive(books.mid)
        to_bps = 1e4 / mid
        return cls(books.start, books.end, mid, books.half_spread * to_bps, excess.T * to_bps)

    @classmethod
    def of_minutes(
        cls,
        minutes: Int,
        mid: Float,
        half_spread: Float,
        curves: Sequence[Mapping[int, Curve]],
        size: float,
        interval_ns: int,
    ) -> Self:
        """Return minutes as they were published, `curves` by side and minute."""
        columns = [[price(of[minute], size) if minute in of else None for minute in minutes.tolist()] for of in curves]
        mid = _positive(mid)
        impact = np.array(columns, np.float64).reshape(2, len(minutes)) - half_spread
        return cls(minutes, minutes + interval_ns, mid, 1e4 * half_spread / mid, 1e4 * impact / mid)


def _positive(mid: Float) -> Float:
    """Return mids, NaN where none is above zero: basis points of it mean nothing."""
    return np.where(mid > 0.0, mid, np.nan)


def held(
    sizes: Sequence[float], slippage: Sequence[float | None], coverage: Sequence[float]
) -> list[tuple[float, float, float]]:
    """Return the sizes that a minute's books held, ascending, each with its price per share and its share of time."""
    cells = zip(sizes, slippage, coverage, strict=True)
    return [(q, g, share) for q, g, share in cells if g is not None and share >= _HELD]


def price(curve: Curve, quantity: float) -> float | None:
    """Return the measured price per share of a quantity; None where nothing was measured."""
    seen = [(size, g) for size, g in zip(*curve, strict=True) if g is not None]
    if not seen:
        return None
    quantity = abs(quantity)
    place = bisect_left(seen, (quantity, 0.0))
    if place in {0, len(seen)}:
        return seen[min(place, len(seen) - 1)][1]
    (low, g_low), (high, g_high) = seen[place - 1], seen[place]
    return g_low + (g_high - g_low) * (quantity - low) / (high - low)


class Panel(NamedTuple):
    """Moments of one symbol: those with a fill, then those without."""

    #: Shape (n, lags, measures); NaN where a value is unknown or belongs to another event.
    change: Float
    #: Shape (n, 3): spread and both impacts just before, against the day's mean.
    level: Float
    #: Shape (n,). Whether it is a fill; its half hour of the day and side; its block.
    filled: np.ndarray[Any, np.dtype[np.bool_]]
    cell: Int
    block: Int
    #: Events with another one within the lags.
    overlapping: int


@dataclass(frozen=True, slots=True)
class Response:
    """Mean response and its standard error, shape (lags, measures); NaN where too little was seen.

    Attributes
    ----------
    events, blocks : array of int
        Shape (lags,): those that count at each lag.
    """

    lags_ns: tuple[int, ...]
    mean: Float
    error: Float
    events: Int
    blocks: Int
    overlapping: int

    @property
    def text(self) -> str | None:
        """Why nothing is stated at any lag; None where something is."""
        if np.isfinite(self.error).any():
            return None
        most = int(self.blocks.max(initial=0))
        return (
            f"{most} half hours have both fills and, at their time of day, moments without fills; "
            f"it takes {LEAST_BLOCKS}"
        )

    def columns(self) -> dict[str, Any]:
        """Return the response by name: seconds, counts, each measure in basis points and its standard error."""
        found: dict[str, Any] = {"lag_s": np.array(self.lags_ns) / SECOND_NS, "events": self.events}
        found |= {"blocks": self.blocks, "overlapping": self.overlapping}
        for k, measure in enumerate(MEASURES):
            found |= {f"{measure}_bps": self.mean[:, k], f"{measure}_se": self.error[:, k]}
        return found | {"text": self.text}


def panel(
    series: Series, at: Int, sign: Int, lags: Lags, counted: np.ndarray[Any, np.dtype[np.bool_]], session: Session
) -> Panel:
    """Return the surroundings of fills and of moments without any.

    Parameters
    ----------
    at, sign : array of int
        All fills of the symbol: ns, and +1 for buys, -1 for sells.
    counted : array of bool
        Whose response is asked for; the others only keep their surroundings out.
    session : Session
        In whose zone days and half hours are.
    """
    at = at // lags.grid_ns * lags.grid_ns
    event_at, _ = _events(at, sign, lags.gap_ns)
    asked_at, asked_sign = _events(at[counted], sign[counted], lags.gap_ns)
    reach = max(abs(lag) for lag in lags.lags_ns)
    grid = _grid(series, lags.step_ns)
    near = np.searchsorted(event_at, grid + reach, "right") > np.searchsorted(event_at, grid - reach, "left")
    free = grid[~near]
    sides = np.unique(asked_sign)
    moment = np.concatenate([asked_at, np.tile(free, len(sides))])
    side = np.concatenate([asked_sign, np.repeat(sides, len(free))])
    filled = np.arange(len(moment)) < len(asked_at)
    seen = _seen(series, moment[:, None] + np.array(lags.lags_ns), side)
    before = lags.lags_ns.index(lags.before_ns)
    base = seen[:, before]
    change = seen - base[:, None]
    change[:, :, 0] = 1e4 * side[:, None] * (seen[:, :, 0] / base[:, None, 0] - 1.0)
    # The next event ends a window, the one before begins it.
    after = np.append(event_at, np.iinfo(np.int64).max)[np.searchsorted(event_at, asked_at, "right")]
    earlier = np.append(event_at, np.iinfo(np.int64).min)[np.searchsorted(event_at, asked_at, "left") - 1]
    when = asked_at[:, None] + np.array(lags.lags_ns)
    others = (when >= after[:, None]) | ((when <= earlier[:, None]) & (np.array(lags.lags_ns) != lags.before_ns))
    change[: len(asked_at)][others] = np.nan
    overlapping = int(((after - asked_at <= reach) | (asked_at - earlier <= reach)).sum())
    local = session.local_ns(moment)
    level = _level(series, grid, session.local_ns(grid) // DAY_NS, local // DAY_NS, base[:, 1:], side)
    cell = local % DAY_NS // _BLOCK_NS * 2 + (side > 0)
    return Panel(change, level, filled, cell, local // _BLOCK_NS, overlapping)


def respond(panels: Sequence[Panel], lags: Lags) -> Response:
    """Return the response over one or more symbols."""
    shape = len(lags.lags_ns), len(MEASURES)
    mean, error = np.full(shape, np.nan), np.full(shape, np.nan)
    events, blocks = np.zeros(shape[0], np.int64), np.zeros(shape[0], np.int64)
    if panels:
        change, level = np.concatenate([p.change for p in panels]), np.concatenate([p.level for p in panels])
        filled, block = np.concatenate([p.filled for p in panels]), np.concatenate([p.block for p in panels])
        cell = np.concatenate([p.cell + 96 * i for i, p in enumerate(panels)])
        for k in range(shape[0]):
            good = np.isfinite(change[:, k]).all(axis=1) & np.isfinite(level).all(axis=1)
            both = np.intersect1d(cell[good & filled], cell[good & ~filled])
            good &= np.isin(cell, both)
            events[k] = np.count_nonzero(good & filled)
            blocks[k] = len(np.unique(block[good & filled]))
            if blocks[k] >= LEAST_BLOCKS:
                arrays = change[good, k], filled[good], level[good], cell[good], block[good]
                mean[k], error[k] = _within(*arrays, int(blocks[k]))
    return Response(lags.lags_ns, mean, error, events, blocks, sum(p.overlapping for p in panels))


def _grid(series: Series, step_ns: int) -> Int:
    """Return a moment in each step, spread evenly over its step, so that none meets books that come by the clock."""
    step = np.unique(series.start // step_ns)
    # The golden ratio's multiples fill an interval most evenly.
    return step * step_ns + (step * 0.6180339887498949 % 1.0 * step_ns).astype(np.int64)


def _events(at: Int, sign: Int, gap_ns: int) -> tuple[Int, Int]:
    """Return time and side of each event, ascending."""
    found = []
    for one in (-1, 1):
        mine = np.sort(at[sign == one])
        # Linked to the fill before it, however long the chain.
        first = np.diff(mine, prepend=np.iinfo(np.int64).min // 2) >= gap_ns
        found.append((mine[first], np.full(int(first.sum()), one, np.int64)))
    times, signs = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(times, kind="stable")
    return times[order], signs[order]


def _seen(series: Series, when: Int, side: Int) -> Float:
    """Return the measures in force, shape (n, lags, measures); impacts by side."""
    out = np.full((*when.shape, len(MEASURES)), np.nan)
    if not len(series.start):
        return out
    place = np.searchsorted(series.start, when, "right") - 1
    known = (place >= 0) & (when < series.end[place])
    taken = np.where(side > 0, 0, 1)[:, None]
    columns = series.mid[place], series.half_spread[place], series.impact[taken, place], series.impact[1 - taken, place]
    for k, column in enumerate(columns):
        out[:, :, k] = np.where(known, column, np.nan)
    return out


def _level(series: Series, grid: Int, of_grid: Int, of_moment: Int, base: Float, side: Int) -> Float:
    """Return what was seen just before, against the mean of its day over the grid."""
    found = np.full_like(base, np.nan)
    usual = {one: _seen(series, grid[:, None], np.full(len(grid), one))[:, 0, 1:] for one in (-1, 1)}
    for day in np.unique(of_moment):
        for one in (-1, 1):
            rows = (of_moment == day) & (side == one)
            values = usual[one][of_grid == day]
            values = values[np.isfinite(values).all(axis=1)]
            if len(values):
                found[rows] = base[rows] - values.mean(axis=0)
    return found


def _within(
    change: Float, filled: np.ndarray[Any, np.dtype[np.bool_]], level: Float, cell: Int, block: Int, n_blocks: int
) -> tuple[Float, Float]:
    """Return the coefficient of `filled` and its standard error for each measure, within cells, clustered by block."""
    # Sums of products without BLAS, whose threads may change the last digit.
    y, x = _demeaned(change, cell), _demeaned(np.column_stack([filled, level]).astype(float), cell)
    gram = np.einsum("ij,ik->jk", x, x, optimize=False)
    inverse = np.linalg.pinv(gram, hermitian=True)
    slope = inverse @ np.einsum("ij,ik->jk", x, y, optimize=False)
    left = y - np.einsum("ij,jk->ik", x, slope, optimize=False)
    # Of the coefficient alone: each row's part of it.
    part = np.einsum("ij,j->i", x, inverse[0], optimize=False)
    _, number = np.unique(block, return_inverse=True)
    scores = np.stack([np.bincount(number, part * left[:, k]) for k in range(left.shape[1])])
    return slope[0], np.sqrt((scores**2).sum(axis=1) * n_blocks / (n_blocks - 1))


def _demeaned(values: Float, cell: Int) -> Float:
    _, number = np.unique(cell, return_inverse=True)
    count = np.bincount(number)
    means = np.stack([np.bincount(number, values[:, k]) / count for k in range(values.shape[1])], axis=1)
    return values - means[number]

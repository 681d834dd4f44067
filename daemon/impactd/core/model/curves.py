r"""Forecast impact curves of the intervals ahead.

A `Forecaster` adds closed minutes, and returns the coefficients of the intervals ahead.
`impactd.core.model.forecaster` is the default: a nowcast of the coming minute, which returns to a mean and a
session profile.  `impactd.core.model.learned.forecaster` wraps it with what was learned from its errors.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from impactd.core.base.elementary import powers
from impactd.core.base.jit import kernel
from impactd.core.base.quick import quick_dataclass
from impactd.core.base.topics import Side
from impactd.core.books.checks import Book
from impactd.core.books.walk import BUY, SELL, walk_curve
from impactd.core.outputs.messages import Model

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


class MinuteBooks(Protocol):
    """What a closed minute says about the books of one symbol; sides are (buy, sell)."""

    @property
    def sizes(self) -> Float:
        """Shares, shape (K,)."""
        ...

    @property
    def slippage(self) -> Float:
        """Price per share, shape (2, K); NaN where no book held the size."""
        ...

    @property
    def coverage(self) -> Float:
        """Share of `covered_ns` in which books held the size, shape (2, K)."""
        ...

    @property
    def lower_bound(self) -> Float:
        """Price per share with what books did not hold at their last level, shape (2, K)."""
        ...

    @property
    def depth(self) -> Float:
        """Visible depth, shares, shape (2,): the asks for buy, the bids for sell."""
        ...

    @property
    def covered_ns(self) -> int:
        """How long a two-sided book prevailed."""
        ...

    @property
    def half_spread(self) -> float | None:
        """Time-weighted half-spread."""
        ...

    @property
    def mid(self) -> float | None:
        """Time-weighted mid."""
        ...


@quick_dataclass(frozen=True, slots=True, eq=False)
class BookCurve:
    """The walks of one prevailing book, for a plan before any minute has closed."""

    #: Its time, UTC ns.
    ts_event: int
    #: Shape (K,). Shares; price per share, NaN where the book does not hold the size; and the price with what is
    #: missing at the last visible level.
    sizes: Float
    g: Float
    lower_bound: Float
    #: Price.
    half_spread: float
    mid: float
    #: Shares that the book shows on the side that is walked.
    depth: float

    @classmethod
    def of(cls, book: Book, sizes: Sequence[float]) -> dict[Side, BookCurve]:
        """Return the walks of `book` for orders of each side at `sizes`, shares."""
        at = np.array(sizes)
        g, lower_bound, _ = walk_curve(book.bid_px, book.bid_sz, book.ask_px, book.ask_sz, at)
        found = {}
        for side, row in ((Side.BUY, BUY), (Side.SELL, SELL)):
            depth = math.fsum(book.offers(side)[1].tolist())
            found[side] = cls(book.ts_event, at, g[row], lower_bound[row], book.half_spread, book.mid, depth)
        return found


@quick_dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Per-share impact ``g_t = s + beta q + alpha q^2 + eta q^delta`` by interval."""

    #: Shape (N,). s, price; 0 through the origin.
    half_spread: Float
    #: Shape (N,). None where the kind has no such term.
    beta: Float | None
    alpha: Float | None
    eta: Float | None
    #: Exponent; 1 where there is no power term.
    delta: float
    #: Whether it rests on a prior more than on this symbol's own minutes.
    prior: bool
    #: False where no book was ever seen: only ratios between intervals mean anything then, and no cost may be
    #: published.
    scaled: bool
    #: Close of the last minute taken in, UTC ns.
    as_of: int | None
    #: Shares of an interval at which the terms above the half-spread were measured.
    size: float = 1.0
    #: Shape (N,). Variance of the log half-spread that will have been seen by when an interval begins, beyond what is
    #: expected now; None for none.
    spread_variance: Float | None = None

    def first(self, n: int) -> Curves:
        """Return the curves of the first `n` intervals."""
        if n == len(self.half_spread):
            return self
        terms = (self.beta, self.alpha, self.eta, self.spread_variance)
        beta, alpha, eta, variance = (None if term is None else term[:n] for term in terms)
        half_spread = self.half_spread[:n]
        return dataclasses.replace(
            self, half_spread=half_spread, beta=beta, alpha=alpha, eta=eta, spread_variance=variance
        )

    def corrected(self, ratio: float) -> Curves:
        """Return the curves with every cost multiplied by `ratio`."""
        if ratio == 1.0:
            return self
        beta, alpha, eta = (None if term is None else term * ratio for term in (self.beta, self.alpha, self.eta))
        return dataclasses.replace(self, half_spread=self.half_spread * ratio, beta=beta, alpha=alpha, eta=eta)

    def shrunk(self, part: float) -> Curves:
        """Return the curves with their logs shrunk to the mean over the intervals: 0 = mean only, 1 = unchanged."""
        if part >= 1.0:
            return self
        terms = (self.beta, self.alpha, self.eta)
        level = next((term for term in terms if term is not None and np.all(term > 0.0)), None)
        scale = np.ones(len(self.half_spread)) if level is None else shrinkage(level, part)
        beta, alpha, eta = (None if term is None else term * scale for term in terms)
        spread = self.half_spread
        return dataclasses.replace(
            self,
            half_spread=spread * shrinkage(spread, part) if np.all(spread > 0.0) else spread,
            beta=beta,
            alpha=alpha,
            eta=eta,
            spread_variance=None if self.spread_variance is None else self.spread_variance * part * part,
        )

    def impact(self, qty: Float) -> Float:
        """Return g of `qty` shares in each interval, price per share, shape (N,)."""
        g = self.half_spread.copy()
        if self.beta is not None:
            g += self.beta * qty
        if self.alpha is not None:
            g += self.alpha * qty * qty
        if self.eta is not None:
            g += self.eta * powers(qty, self.delta)
        return g


@kernel
def shrinkage(level: Float, part: float) -> Float:
    """Return what positive levels are multiplied by to leave `part` of their logs' distance from the mean log."""
    n = level.shape[0]
    logs, mean = np.empty(n), 0.0
    for t in range(n):
        logs[t] = math.log(level[t])
        mean += logs[t] / n
    for t in range(n):
        logs[t] = math.exp((part - 1.0) * (logs[t] - mean))
    return logs


class Forecaster(Protocol):
    """The live model of one (symbol, side)."""

    def update(self, minute_ns: int, books: MinuteBooks) -> bool:
        """Add a closed minute, later than all before; return whether it changed the model."""
        ...

    def forecast(self, starts_ns: Int, rate: float = 0.0, book: BookCurve | None = None) -> Curves:
        """Return the curves, for plans that ask `rate` shares of an interval, of those that begin at `starts_ns`."""
        ...

    @property
    def fitted(self) -> tuple[float, float] | None:
        """Half-spread and slope of the last minute, price and price per share; None where it had none."""
        ...

    def record(self, as_of: int) -> Model | None:
        """Return the summary to publish; None before any minute was added."""
        ...

    def save(self) -> dict[str, object]:
        """Return the state as JSON-ready values."""
        ...

    def load(self, saved: Mapping[str, object]) -> None:
        """Continue from what `save` returned."""
        ...

"""Shadow plans: schedules that nobody trades, planned and priced like orders.

A shadow is planned at its start as an order of its length would be: by the
forecast's curves and the exact allocator, without caps and without risk.  As its minutes close it is priced at their
walks.  It is not replanned before it ends.

The quantity of an interval is kept as a byte, a share of the largest.  Expected and realised cost both use these
shares, so the rounding costs resolution but no accuracy, and a shadow of four hours takes 240 bytes of state.
A size beyond the minute's grid is charged the last lower bound and its last slope,
as if the book continued with its last slope.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from impactd.core.allocator.cost import exact_sum
from impactd.core.allocator.curve import fill_costs
from impactd.core.allocator.optionality import NO_VARIANCE, anticipated
from impactd.core.allocator.problem import or_zeros, scaled_curve
from impactd.core.allocator.solvers.separable import solve_separable
from impactd.core.base.jit import kernel
from impactd.core.base.quick import quick_dataclass
from impactd.core.model.curves import Curves, Float, Int

#: The largest interval of a plan, in units.
WHOLE: Final = 255


@quick_dataclass(frozen=True, slots=True, eq=False)
class Shadow:
    """A schedule in progress that nobody trades.

    Attributes
    ----------
    start : int
        UTC ns.
    unit : float
        Shares in one unit.
    units : ndarray of uint8, shape (n,)
        What each interval trades.
    issued : tuple of float
        Middle and half-widths, in logs, of the bands in force when it began.
    expected_px : float
        Expected cost per share over mid, by the forecast at `start`.
    realised_cost : float
        What its intervals so far were charged, currency.
    charged : int
        Units that were charged: those of intervals without a book are not.
    paid : tuple of float
        What slices had paid when it began, where orders act so (`impactd.core.slices.worth.Worth.paid`); else empty.
    """

    start: int
    unit: float
    units: npt.NDArray[np.uint8]
    issued: tuple[float, ...]
    expected_px: float
    realised_cost: float = 0.0
    charged: int = 0
    paid: tuple[float, ...] = ()

    @classmethod
    def plan(
        cls,
        start: int,
        qty: float,
        curves: Curves,
        issued: tuple[float, ...],
        child_slices: int,
        paid: tuple[float, ...] = (),
    ) -> Self | None:
        """Return the plan of `qty` shares by `curves`, or None where they have no price."""
        units, unit, cost = in_units(curves, qty, child_slices)
        if not (curves.scaled and unit > 0.0):
            return None
        expected_px = cost / float((units * unit).sum())
        return cls(start, unit, units, issued, expected_px, paid=paid) if expected_px > 0.0 else None

    def error(self) -> float | None:
        """Return log(realised / expected cost); None where less than half of it was charged."""
        total = int(self.units.sum(dtype=np.int64))
        if 2 * self.charged < total or self.realised_cost <= 0.0:
            return None
        return math.log(self.realised_cost / (self.charged * self.unit) / self.expected_px)

    def error_by_slices(self, paid: tuple[float, ...]) -> float | None:
        """Return `error` for who acts within the minute; None where slices took nothing.

        The minutes' walks are multiplied by what slices `paid` a share since the start over what equal ones did.
        """
        error = self.error()
        shares, cost, even_shares, even_cost = (now - then for now, then in zip(paid, self.paid, strict=True))
        if error is None or not (shares > 0.0 and even_shares > 0.0 and cost > 0.0 and even_cost > 0.0):
            return None
        return error + math.log(cost / shares * even_shares / even_cost)


class Shadows:
    """The shadows of one length in progress, as columns, in the order in which they began.

    Parameters
    ----------
    n : int
        Their length, intervals.
    """

    __slots__ = ("_charged", "_cost", "_rest", "_start", "_unit", "_units", "changed")

    def __init__(self, n: int) -> None:
        #: By shadow: see `Shadow`.
        self._start = np.empty(0, np.int64)
        self._unit = np.empty(0)
        self._units = np.empty((0, n), np.uint8)
        self._cost = np.empty(0)
        self._charged = np.empty(0, np.int64)
        #: What only its end reads: the number of its size, `issued`, `expected_px` and `paid`.
        self._rest: list[tuple[int, tuple[float, ...], float, tuple[float, ...]]] = []
        self.changed = False

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._rest)

    def begin(self, shadows: Sequence[tuple[int, Shadow]]) -> None:
        """Add shadows, each with the number of its size."""
        if not shadows:
            return
        new = [shadow for _, shadow in shadows]
        self._start = np.append(self._start, [shadow.start for shadow in new])
        self._unit = np.append(self._unit, [shadow.unit for shadow in new])
        self._units = np.concatenate([self._units, [shadow.units for shadow in new]])
        self._cost = np.append(self._cost, [shadow.realised_cost for shadow in new])
        self._charged = np.append(self._charged, [shadow.charged for shadow in new])
        self._rest += [(j, shadow.issued, shadow.expected_px, shadow.paid) for j, shadow in shadows]
        self.changed = True

    def charge(self, minute: int, interval_ns: int, sizes: Float, g: Float, child_slices: int) -> None:
        """Charge the minute that began at `minute` (ns), whose walks cost `g` per share at `sizes`."""
        if self._rest:
            columns = self._start, self._unit, self._units, self._cost, self._charged
            _charge(minute, interval_ns, sizes, g, child_slices, *columns)

    def clear(self) -> None:
        """Drop all."""
        self._drop(len(self._rest))

    def take(self, until: int) -> list[tuple[int, Shadow]]:
        """Drop the shadows that began by `until`, ns, and return each with the number of its size."""
        n = int(self._start.searchsorted(until, side="right")) if self._rest else 0
        if n == 0:
            return []
        taken = [(self._rest[i][0], self._shadow(i)) for i in range(n)]
        self._drop(n)
        return taken

    def _drop(self, n: int) -> None:
        self._start, self._unit, self._units = self._start[n:].copy(), self._unit[n:].copy(), self._units[n:].copy()
        self._cost, self._charged = self._cost[n:].copy(), self._charged[n:].copy()
        del self._rest[:n]
        self.changed = True

    def _shadow(self, i: int) -> Shadow:
        _, issued, expected_px, paid = self._rest[i]
        made = int(self._start[i]), float(self._unit[i]), self._units[i], issued, expected_px
        return Shadow(*made, float(self._cost[i]), int(self._charged[i]), paid)

    def save(self) -> list[Any]:
        """Return what changes with each minute, as JSON-ready values."""
        return [self._cost.tolist(), self._charged.tolist()]

    def load(self, saved: list[Any]) -> None:
        """Continue from what `save` returned, after `load_lasting`."""
        self._cost, self._charged = np.array(saved[0], np.float64), np.array(saved[1], np.int64)

    def save_lasting(self) -> list[Any] | None:
        """Return what does not change from a shadow's begin to its end, None without any."""
        if not self._rest:
            return None
        units = base64.b64encode(self._units.tobytes()).decode("ascii")
        return [self._start.tolist(), self._unit.tolist(), units, self._rest]

    def load_lasting(self, saved: list[Any]) -> None:
        """Continue from what `save_lasting` returned."""
        start, unit, units, rest = saved
        self._start, self._unit = np.array(start, np.int64), np.array(unit, np.float64)
        n = self._units.shape[1]
        self._units = np.frombuffer(base64.b64decode(units), np.uint8).reshape(-1, n).copy()
        self._rest = [(j, tuple(issued), expected_px, tuple(paid)) for j, issued, expected_px, paid in rest]
        self._cost, self._charged = np.zeros(len(rest)), np.zeros(len(rest), np.int64)


def in_units(
    curves: Curves, qty: float, child_slices: int, *, waits: bool = True
) -> tuple[npt.NDArray[np.uint8], float, float]:
    """Return the cheapest schedule of `qty` shares in units, shape (N,); the unit, shares; and its cost, currency.

    One that `waits` counts on being planned again (`impactd.core.allocator.optionality`).
    """
    s, seen = curves.half_spread, curves.spread_variance
    variance = seen if waits and seen is not None else np.empty(0)
    return _in_units(qty, s, *or_zeros(s, curves.beta, curves.alpha, curves.eta), curves.delta, variance, child_slices)


@kernel
def _in_units(
    qty: float, s: Float, beta: Float, alpha: Float, eta: Float, delta: float, variance: Float, child_slices: int
) -> tuple[npt.NDArray[np.uint8], float, float]:
    """Return what `in_units` does; no spread swings where `variance` is empty."""
    n = s.shape[0]
    x, free, whole, units = np.empty(n), np.full(n, np.inf), np.ones(n), np.zeros(n, np.uint8)
    base = scaled_curve(s, beta, alpha, eta, delta, whole, child_slices)
    curve = base
    if variance.shape[0] > 0 and np.max(variance) >= NO_VARIANCE:
        curve = anticipated(qty, base, s, beta, alpha, eta, variance, free, whole, child_slices, x)
    solve_separable(qty, curve, free, whole, x)
    unit = np.max(x) / WHOLE
    if not unit > 0.0:
        return units, 0.0, 0.0
    for t in range(n):
        units[t] = np.uint8(np.rint(x[t] / unit))
        x[t] = units[t] * unit
    cost = np.empty(n)
    fill_costs(x, base.s, base.b, base.a, base.e, delta, cost)
    return units, unit, exact_sum(cost)


@kernel
def _charge(
    minute: int,
    interval_ns: int,
    sizes: Float,
    g: Float,
    child_slices: int,
    start: Int,
    unit: Float,
    units: npt.NDArray[np.uint8],
    cost: Float,
    charged: Int,
) -> None:
    """Add to `cost` and `charged` what each shadow asks of a minute; see `Shadows.charge`."""
    for i in range(start.shape[0]):
        interval = (minute - start[i]) // interval_ns
        if 0 <= interval < units.shape[1] and units[i, interval] > 0:
            shares = units[i, interval] * unit[i]
            cost[i] += shares * price_on(shares / child_slices, sizes, g)
            charged[i] += units[i, interval]


@kernel
def price_on(qty: float, sizes: Float, g: Float) -> float:
    """Return the price per share of `qty` shares on a curve: between its sizes, or on by its last slope.

    Parameters
    ----------
    qty : float
        Shares.
    sizes, g : ndarray of float64, shape (K,)
        Shares, ascending; price per share.  K >= 1.
    """
    n = sizes.shape[0]
    if qty <= sizes[0] or n < 2:
        return float(g[0])
    k = 1
    while k < n - 1 and sizes[k] < qty:
        k += 1
    slope = (g[k] - g[k - 1]) / (sizes[k] - sizes[k - 1])
    return float(g[k - 1] + slope * (qty - sizes[k - 1]))

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
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from impactd.core.allocator.cost import schedule_cost
from impactd.core.allocator.optionality import anticipate, plain
from impactd.core.allocator.solvers.exact import cheapest
from impactd.core.base.jit import kernel
from impactd.core.model.curves import Curves, Float

#: The largest interval of a plan, in units.
WHOLE: Final = 255


@dataclass(frozen=True, slots=True, eq=False)
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
        free = np.full(len(curves.half_spread), np.inf)
        expected = plain(curves, child_slices=child_slices)
        x, _ = cheapest(anticipate(curves, expected, qty, free, child_slices=child_slices), qty)
        unit = float(np.max(x)) / WHOLE
        if not (curves.scaled and unit > 0.0):
            return None
        units = np.rint(x / unit).astype(np.uint8)
        sizes = np.asarray(units * unit, np.float64)
        expected_px = schedule_cost(expected, sizes) / float(np.sum(sizes))
        return cls(start, unit, units, issued, expected_px, paid=paid) if expected_px > 0.0 else None

    def charge(self, interval: int, sizes: Float, g: Float, child_slices: int) -> Shadow:
        """Return the shadow after its `interval`-th interval, whose walks cost `g` per share at `sizes`."""
        units = int(self.units[interval])
        if units == 0:
            return self
        shares = units * self.unit
        cost = shares * price_on(shares / child_slices, sizes, g)
        # Thousands a minute: `dataclasses.replace` takes three times as long.
        return Shadow(
            self.start,
            self.unit,
            self.units,
            self.issued,
            self.expected_px,
            self.realised_cost + cost,
            self.charged + units,
            self.paid,
        )

    def error(self) -> float | None:
        """Return log(realised / expected cost); None where less than half of it was charged."""
        total = int(np.sum(self.units, dtype=np.int64))
        if 2 * self.charged < total or self.realised_cost <= 0.0:
            return None
        return float(np.log(self.realised_cost / (self.charged * self.unit) / self.expected_px))

    def error_by_slices(self, paid: tuple[float, ...]) -> float | None:
        """Return `error` for who acts within the minute; None where slices took nothing.

        The minutes' walks are multiplied by what slices `paid` a share since the start over what equal ones did.
        """
        error = self.error()
        shares, cost, even_shares, even_cost = (now - then for now, then in zip(paid, self.paid, strict=True))
        if error is None or not (shares > 0.0 and even_shares > 0.0 and cost > 0.0 and even_cost > 0.0):
            return None
        return error + float(np.log(cost / shares * even_shares / even_cost))

    def save(self) -> list[Any]:
        """Return the state as JSON-ready values."""
        units = base64.b64encode(self.units.tobytes()).decode("ascii")
        charged = [self.expected_px, self.realised_cost, self.charged]
        return [self.start, self.unit, units, list(self.issued), *charged, list(self.paid)]

    @classmethod
    def load(cls, saved: list[Any]) -> Self:
        """Return the shadow that `save` has given."""
        start, unit, units, issued, expected_px, cost, charged, paid = saved
        asked = np.frombuffer(base64.b64decode(units), np.uint8)
        return cls(start, unit, asked, tuple(issued), expected_px, cost, charged, tuple(paid))


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

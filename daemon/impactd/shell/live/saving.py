r"""What an order has saved so far against an even pace of the same quantity, priced by what was measured.

Each closed minute is priced on its own curve: what the order has executed in it, and what TWAP would have.  TWAP is
scaled to the quantity that the order has executed in the priced minutes, so that like is compared with like.
Where the order's fills account for all that it executed in a minute, what they
paid over mid counts instead.  Sizes between two of the grid are interpolated, sizes
beyond it cost the last one's price: this sets these costs apart from a replay's, which has the books ("size grid").

No saving is stated where nothing was executed or no fill was reported: quantity that is only assumed to be executed
has a cost, but no realised saving.

The band
--------
A child order meets a moment of its minute, and what is measured of the minute is off its level too.
How far is read from how much the price per share :math:`g_m` of TWAP's mean size moves from one minute to
the next: half the mean square of :math:`\log g_m - \log g_{m-1}` estimates the variance :math:`\rho^2` of
one minute about a level that moves slowly ([1]_).  With the order's cost :math:`c_m`, TWAP's
:math:`e_m`, and all three taken as independent, the saving's variance is

.. math:: \rho^2 \sum_m c_m^2 + e_m^2 + (e_m - c_m)^2,

where fills have their own certain price and leave :math:`2 e_m^2`.

References
----------
.. [1] von Neumann, Kent, Bellinson and Hart (1941), The Mean Square Successive Difference, Ann. Math. Stat. 12(2).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

from impactd.core.base.settings import SECOND_NS
from impactd.core.tca.response import Curve, price

#: Half-width of a band of 95%, in standard errors.
_Z95: Final = 1.959964

#: Minutes that it takes to state how much they differ.
_LEAST_MINUTES: Final = 3

Knots = Sequence[tuple[int, float]]


class Point(NamedTuple):
    """Where an order stood when a plan was published; `end` is the plan's, 0 without one."""

    as_of: int
    order_qty: float
    cum_qty: float
    shortfall_qty: float
    end: int


class FillPaid(NamedTuple):
    """One fill: event time, shares, and what it paid over mid, currency; None where no mid was known."""

    at: int
    qty: float
    over_mid: float | None


@dataclass(frozen=True, slots=True)
class Saving:
    """What was saved, as currency."""

    #: Shares executed in the minutes that are priced.
    qty: float
    #: What the order and an even pace of that quantity have paid over mid; None where it is 0.
    cost: float | None
    twap_cost: float | None
    #: One less the other; None where nothing was executed or no fill was reported.
    saved: float | None
    #: Of the saving, at 95%; None while too few minutes are priced.
    band: tuple[float, float] | None
    #: Minutes that are priced, those of them by fills, and those that could not be.
    minutes: int
    by_fills: int
    unpriced: int


def twap_path(first: Mapping[str, Any], path: Sequence[Point]) -> list[tuple[int, float]]:
    """Return the knots (ns, shares) of an even pace; an amended quantity or window bends it from then on."""
    if not first["start"]:
        return []
    knots = [(int(first["start"][0]), 0.0)]
    quantity = float(first["order_qty"])
    end = int(first["start"][-1]) + int(first["interval_s"]) * SECOND_NS
    for point in path:
        if point.as_of > knots[0][0] and (point.order_qty != quantity or (point.end and point.end != end)):
            knots.append((point.as_of, _toward(knots[-1], (end, quantity), point.as_of)))
            quantity, end = point.order_qty, point.end or end
    return [*knots, (end, quantity)] if end > knots[-1][0] else knots


def saving(
    twap: Knots,
    path: Sequence[Point],
    curves: Mapping[int, Curve],
    fills: Iterable[FillPaid],
    interval_ns: int,
    multiplier: float = 1.0,
) -> Saving:
    """Return what was saved over the minutes that have been measured since TWAP began.

    Parameters
    ----------
    twap : sequence of (int, float)
        Knots of the even pace.
    path : sequence of Point
        Ascending.
    curves : mapping of int to Curve
        By minute, ns.
    multiplier : float
        Of the instrument: curves are prices, and what fills paid is currency.
    """
    reported = list(fills)
    paid = _by_minute(reported, interval_ns)
    times = [point.as_of for point in path]
    unpriced = 0
    priced: list[tuple[int, Curve, float, float]] = []
    for minute, curve in curves.items() if twap else ():
        end = minute + interval_ns
        if end <= twap[0][0] or end > path[-1].as_of + interval_ns // 2:
            continue
        if price(curve, 0.0) is None:
            unpriced += 1
            continue
        ours = _cum_at(path, times, end) - _cum_at(path, times, minute)
        priced.append((minute, curve, ours, _on(twap, end) - _on(twap, minute)))
    qty, pace = math.fsum(ours for _, _, ours, _ in priced), math.fsum(theirs for *_, theirs in priced)
    if qty <= 0.0 or pace <= 0.0:
        return Saving(0.0, None, None, None, None, len(priced), 0, unpriced)
    cost = even = 0.0
    by_fills = 0
    loose: list[float] = []
    for minute, curve, ours, theirs in priced:
        same = theirs * qty / pace
        paid_even = same * (price(curve, same) or 0.0) * multiplier
        filled, over_mid = paid.get(minute, (0.0, 0.0))
        if over_mid is not None and filled and math.isclose(filled, ours):
            by_fills += 1
            cost += over_mid
            loose.append(paid_even)
        else:
            mine = ours * (price(curve, ours) or 0.0) * multiplier
            cost += mine
            loose += [mine, paid_even - mine]
        even += paid_even
        loose.append(paid_even)
    saved = even - cost if reported else None
    noise = _noise([curve for _, curve, _, _ in priced], twap[-1][1] / max(_length(twap) / interval_ns, 1.0))
    band = None
    if noise is not None and saved is not None:
        width = _Z95 * noise * math.hypot(*loose)
        band = saved - width, saved + width
    return Saving(qty, cost, even, saved, band, len(priced), by_fills, unpriced)


def _by_minute(fills: Iterable[FillPaid], interval_ns: int) -> dict[int, tuple[float, float | None]]:
    """Return shares and what they paid, by minute; None where it is not known of one of them."""
    found: dict[int, tuple[float, float | None]] = {}
    for fill in fills:
        minute = fill.at // interval_ns * interval_ns
        qty, over_mid = found.get(minute, (0.0, 0.0))
        known = over_mid is not None and fill.over_mid is not None
        found[minute] = qty + fill.qty, over_mid + fill.over_mid if known else None  # type: ignore[operator]
    return found


def _noise(curves: Sequence[Curve], quantity: float) -> float | None:
    """Return the standard deviation of one minute's log price of `quantity` about its level."""
    prices = [price(curve, quantity) for curve in curves]
    logs = [math.log(g) for g in prices if g is not None and g > 0.0]
    if len(logs) < _LEAST_MINUTES:
        return None
    steps = [later - earlier for earlier, later in pairwise(logs)]
    return math.sqrt(math.fsum(step * step for step in steps) / len(steps) / 2.0)


def _length(knots: Knots) -> int:
    return knots[-1][0] - knots[0][0]


def _toward(start: tuple[int, float], end: tuple[int, float], at: int) -> float:
    share = (at - start[0]) / max(end[0] - start[0], 1)
    return start[1] + (end[1] - start[1]) * min(max(share, 0.0), 1.0)


def _on(knots: Knots, at: int) -> float:
    if at <= knots[0][0]:
        return 0.0
    place = bisect_left(knots, (at, -1.0))
    return knots[-1][1] if place == len(knots) else _toward(knots[place - 1], knots[place], at)


def _cum_at(path: Sequence[Point], times: Sequence[int], at: int) -> float:
    """Return what was executed by a time, of the last plan up to then."""
    place = bisect_left(times, at + 1)
    return path[place - 1].cum_qty if place else 0.0

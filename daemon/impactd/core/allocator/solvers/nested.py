r"""The separable problem with bounds on its running sum, exactly.

Between two prefixes whose bound binds, the schedule trades at one price, as one
without such bounds does: so the problem falls into pieces of `solve_separable`
once it is known which bounds bind.  `impactd.core.allocator.solvers.decomposition`
finds that in integers, for the quantity cut into 2^40 parts; the pieces are then
solved in float64.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from impactd.core.allocator.bounds import keep_within, tighten
from impactd.core.allocator.curve import Curve, Float
from impactd.core.allocator.solvers.decomposition import decompose
from impactd.core.allocator.solvers.separable import solve_separable
from impactd.core.base.jit import kernel
from impactd.core.base.sums import sum_of

#: Parts that the quantity is cut into.
_PARTS: Final = 2**40

#: A running sum may exceed its bound by this part of the quantity, which is rounding.
_ROUNDING: Final = 2.0**-48


@kernel
def _outside(x: Float, low: Float, high: Float, slack: float) -> bool:
    """Return whether the running sum of `x` leaves its bounds by more than `slack`."""
    done = 0.0
    for t in range(x.shape[0]):
        done += x[t]
        if done > high[t] + slack or done < low[t] - slack:
            return True
    return False


@kernel
def _piece(qty: float, c: Curve, fraction: Float, cap: Float, x: Float) -> int:
    """Fill `x` with the cheapest schedule of `qty` under caps alone; return the steps taken."""
    room = sum_of(cap)
    if qty <= 0.0:
        x[:] = 0.0
        return 0
    if qty >= room:
        x[:] = cap
        return 0
    _, steps = solve_separable(qty, c, cap, fraction, x)
    return steps


@kernel
def solve_nested(qty: float, c: Curve, fraction: Float, cap: Float, low: Float, high: Float, x: Float) -> int:
    """Fill `x` with the optimum; return the steps taken.

    Parameters
    ----------
    qty : float
        Shares, which the bounds hold.
    c, fraction, cap
        See `Problem`.
    low, high : ndarray of float64, shape (N,)
        As `impactd.core.allocator.bounds.tighten` leaves them.
    """
    n = x.shape[0]
    steps = _piece(qty, c, fraction, cap, x)
    if not _outside(x, low, high, _ROUNDING * qty):
        return steps
    part = qty / _PARTS
    parts, least, most = np.empty((1, n), np.int64), np.empty((1, n), np.int64), np.empty((1, n), np.int64)
    path, start, level = np.empty(n, np.int64), np.empty((1, n), np.int64), np.empty(n)
    done = 0.0
    for t in range(n):
        parts[0, t] = np.int64(min(cap[t], qty) / part + 0.5)
        least[0, t] = np.int64(low[t] / part + 0.5)
        most[0, t] = np.int64(min(high[t], qty) / part + 0.5)
        done += x[t]
        path[t] = np.int64(min(done, qty) / part + 0.5)
    tighten(np.int64(_PARTS), parts[0], least[0], most[0])
    keep_within(path, parts[0], least[0], most[0], start[0])
    steps += decompose(c, fraction, np.zeros(n), part, parts, least, most, np.ones(1, np.bool_), start, level)
    done, reached, first = 0.0, 0, 0
    for t in range(n):
        reached += start[0, t]
        if reached == most[0, t]:
            upto = high[t]
        elif reached == least[0, t]:
            upto = low[t]
        else:
            continue
        steps += _piece(
            upto - done, Curve(c.s[first : t + 1], c.b[first : t + 1], c.a[first : t + 1], c.e[first : t + 1], c.delta),
            fraction[first : t + 1], cap[first : t + 1], x[first : t + 1],
        )  # fmt: skip
        done, first = upto, t + 1
    path_of = np.cumsum(x)
    keep_within(path_of, cap, low, high, x)
    return steps

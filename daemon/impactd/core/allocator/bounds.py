r"""Bounds of the running sum: what a schedule may have traded by the end of each interval.

A participation limit is a bound on what has traded in total, and so is a least
rate: with X the running sum of a schedule x,

.. math::

   \ell_t \le X_t = x_0 + \dots + x_t \le h_t, \qquad 0 \le x_t \le u_t, \qquad X_{N-1} = R .

`tighten` makes every bound attainable: from any running sum between the tightened
bounds after t, the rest of the schedule can be completed.  It keeps this order of
precedence: caps and upper bounds are never broken; then R is as large as they allow; a lower bound gives way to both.

The kernels take int64 lots or float64 shares.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from impactd.core.allocator.curve import Float
from impactd.core.base.jit import kernel

Int = npt.NDArray[np.int64]
Number = TypeVar("Number", Int, Float)

#: A cap, or an upper bound of the running sum, that does not bind.
NO_CAP: Final = np.iinfo(np.int64).max

#: An order, or several together, are counted in at most this many lots: prices tell one lot from the next in float64,
#: and sums over a million intervals stay in int64.  Finer lots are taken by the dozen.
MOST_LOTS: Final = 2**43


@kernel
def tighten(total: Any, cap: Number, low: Number, high: Number) -> Any:
    """Tighten `cap`, `low` and `high` in place and return how much of `total` they can hold.

    `total` and what is returned are of the type of the arrays' numbers; no sum leaves its range, however large the
    caps are.
    """
    n = cap.shape[0]
    if n == 0:
        return total - total
    least = total
    for k in range(n):  # what has traded by t has traded by all later ones
        t = n - 1 - k
        least = min(least, high[t])
        high[t] = max(least, total - total)
    reached = total - total
    for t in range(n):
        cap[t] = min(cap[t], high[t])
        reached += min(cap[t], high[t] - reached)
        high[t] = reached
    owed = total - total
    for t in range(n):
        owed = max(owed, min(low[t], high[t]))
        low[t] = owed
    owed = reached
    for k in range(n):
        t = n - 1 - k
        low[t] = max(low[t], owed)
        owed = max(low[t] - cap[t], total - total)
    return reached


@kernel
def count_lots(lots: int, lot: int, cap_q: Int, low_q: Int, high_q: Int, cap: Int, low: Int, high: Int) -> None:
    """Fill `cap`, `low` and `high` with bounds in whole lots, none above `lots`; all others are in quanta."""
    for t in range(cap.shape[0]):
        cap[t] = min(cap_q[t] // lot, lots)
        low[t] = min((low_q[t] + lot - 1) // lot, lots) if low_q[t] < lots * lot else lots
        high[t] = min(high_q[t] // lot, lots)


@kernel
def never_bind(total: Any, cap: Number, low: Number, high: Number) -> bool:
    """Return whether caps and `total` alone imply the tightened bounds."""
    n = cap.shape[0]
    room = total - total
    for t in range(n):
        room += min(cap[t], total - room)
        if high[t] < room:
            return False
    for k in range(n):
        t = n - 1 - k
        if low[t] > room:
            return False
        room -= min(cap[t], room)
    return True


@kernel
def keep_within(path: Number, cap: Number, low: Number, high: Number, x: Number) -> None:
    """Fill `x` with the schedule whose running sum is nearest to `path` from the left, within tightened bounds."""
    zero = path[0] - path[0]
    done = zero
    for t in range(path.shape[0]):
        after = min(max(path[t], low[t], done), high[t])
        x[t] = max(min(after - done, cap[t]), zero)  # in floats the sum may be a rounding error above its bound
        done += x[t]

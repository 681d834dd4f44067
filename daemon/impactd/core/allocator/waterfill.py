"""Water-filling: share an amount in proportion to weights, under a limit each."""

from __future__ import annotations

import numpy as np

from impactd.core.allocator.curve import Float
from impactd.core.base.jit import kernel


@kernel
def share(amount: float, weight: Float, room: Float, x: Float) -> float:
    """Add `amount` to `x` in proportion to `weight`, no more than `room` each.

    Capped water-filling: raise one level until the amount is placed.  Each
    pass closes at least one full interval, or ends.

    Returns
    -------
    float
        What no room was left for.
    """
    n = x.shape[0]
    placed = np.zeros(n)
    left = amount
    for _ in range(n + 1):
        total = 0.0
        for t in range(n):
            if placed[t] < room[t]:
                total += weight[t]
        if left <= 0.0 or total <= 0.0:
            break
        level = left / total
        full = False
        for t in range(n):
            if placed[t] < room[t] and weight[t] * level >= room[t] - placed[t]:
                left -= room[t] - placed[t]
                placed[t] = room[t]
                full = True
        if not full:
            for t in range(n):
                if placed[t] < room[t]:
                    placed[t] += weight[t] * level
            left = 0.0
    for t in range(n):
        x[t] += placed[t]
    return max(left, 0.0)

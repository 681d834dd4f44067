"""Supply of an interval: how many shares it trades at a marginal price, the inverse of `marginal`.

Linear, quadratic and pure power terms invert in closed form; mixed terms take a
monotone Newton iteration in logs.
"""

from __future__ import annotations

import math

import numpy as np

from impactd.core.allocator.curve import Curve, Float, curvature
from impactd.core.base.jit import kernel

LINEAR, _QUADRATIC, _POWER, _MIXED = 0, 1, 2, 3

#: Keeps 0 / 0 from arising where an interval has no curvature.
_TINY = 1e-300

#: Keeps sums of slopes finite where a curvature is as good as none.
_STEEPEST = 1e290


@kernel
def model_kind(c: Curve) -> int:
    """Return which closed form inverts every marginal."""
    any_b, any_a, any_e = False, False, False
    for t in range(c.b.shape[0]):
        any_b |= c.b[t] > 0.0
        any_a |= c.a[t] > 0.0
        any_e |= c.e[t] > 0.0
    if not any_e:
        return _QUADRATIC if any_a else LINEAR
    return _MIXED if any_a or any_b else _POWER


@kernel
def _invert_mixed(m: float, b: float, a: float, e: float, delta: float, top: float) -> float:
    """Return x in [0, top] with ``2 b x + 3 a x^2 + e p x^delta = m``, m > 0, p = 1 + delta.

    The left side is a sum of powers, so its log is convex in log x, and
    Newton in logs from above comes down monotonically to the root.
    """
    p = 1.0 + delta
    x = top
    if b > 0.0:
        x = min(x, m / (2.0 * b))
    if a > 0.0:
        x = min(x, math.sqrt(m / (3.0 * a)))
    if e > 0.0:
        x = min(x, (m / (e * p)) ** (1.0 / delta))
    for _ in range(60):
        if x <= 0.0:
            return 0.0
        power = e * p * x**delta if e > 0.0 else 0.0
        value = 2.0 * b * x + 3.0 * a * x * x + power
        if value <= m:
            return x
        slope = (2.0 * b * x + 6.0 * a * x * x + delta * power) / value
        after = x * math.exp(-math.log(value / m) / slope)
        if after >= x:
            return x
        x = after
    return x


@kernel
def invert_marginal(m: float, kind: int, b: float, a: float, e: float, delta: float, top: float) -> tuple[float, float]:
    """Return x in [0, top] whose marginal above the spread is `m`, and dx/dm (0 on a bound)."""
    if kind <= _QUADRATIC:
        # without branches: which intervals trade is not predictable, and a missed
        # branch costs more than the arithmetic
        m = max(m, 0.0)
        half = b if kind == LINEAR else math.sqrt(b * b + 3.0 * a * m)
        # the root of 3a x^2 + 2b x = m, in the form that does not cancel
        value = m / max(b + half, _TINY)
        inside = (value > 0.0) & (value < top)
        return min(value, top), min(0.5 / half, _STEEPEST) if inside else 0.0
    if m <= 0.0 or top <= 0.0:
        return 0.0, 0.0
    if kind == _POWER:
        ratio = m / (e * (1.0 + delta))
        value = ratio * ratio if delta == 0.5 else ratio ** (1.0 / delta)
        rate = value / (delta * m)
    else:
        value = _invert_mixed(m, b, a, e, delta, top)
        rate = 1.0 / curvature(value, b, a, e, delta)
    if not value < top:  # also where no curvature made it inf
        return top, 0.0
    return value, min(rate, _STEEPEST)


@kernel
def supply_at(c: Curve, t: int, prices: Float, top: float) -> Float:
    """Return the shares in [0, `top`] that interval `t` trades at each of the marginal `prices`, shape (N,)."""
    kind = model_kind(Curve(c.s[t : t + 1], c.b[t : t + 1], c.a[t : t + 1], c.e[t : t + 1], c.delta))
    shares = np.zeros(prices.shape[0])
    for i in range(prices.shape[0]):
        if prices[i] > c.s[t]:
            shares[i], _ = invert_marginal(prices[i] - c.s[t], kind, c.b[t], c.a[t], c.e[t], c.delta, top)
    return shares

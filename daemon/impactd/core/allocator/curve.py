r"""The cost of trading in each interval, and the derivatives that solvers need.

.. math::

   C_t(x) = s_t x + b_t x^2 + a_t x^3 + e_t x^{1+\delta}, \qquad s, b, a, e \ge 0

is convex on x >= 0.  Value, marginal and curvature are written once here.  Every
solver, every certificate and every rounding to lots uses them.

Rules:

- a marginal is a price (currency per share): the cost of the next share;
- the cost of the n-th lot is computed as a difference of powers in closed
  form, never as ``C(nL) - C((n-1)L)``: at 1e9 lots that subtraction would
  keep no correct digit.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import kernel

Float = npt.NDArray[np.float64]

#: Floor of a scale of prices, as a part of the highest one or of the multiplier.
PRICE_FLOOR: Final = 2.0**-20

#: Floor of a scale of prices: keeps a market without any cost from dividing by zero.
SMALLEST_PRICE: Final = 2.0**-1000


class Curve(NamedTuple):
    """Cost of each of N intervals, currency.

    Kernels over intervals take it whole; kernels of one interval take its five
    numbers, since handing on a tuple of arrays counts references each time.
    """

    #: Shape (N,). Coefficients of x, x^2, x^3 and x^(1+delta); price per share^0, ^1, ^2, ^delta.
    s: Float
    b: Float
    a: Float
    e: Float
    #: Exponent of the power term, in (0, 1.5]; ignored where e is all 0.
    delta: float

    def scaled(self, qty: float, price: float) -> Curve:
        """Return the curve of quantities in parts of `qty` shares and prices in units of `price`."""
        return Curve(
            self.s / price,
            self.b * (qty / price),
            self.a * (qty * qty / price),
            self.e * (math.pow(qty, self.delta) / price),
            self.delta,
        )

    def above(self, base: float) -> Curve:
        """Return the curve with `base` (price) taken off every spread, which does not fall below 0."""
        return self._replace(s=np.maximum(self.s - base, 0.0))

    def at(self, rows: npt.NDArray[np.int64] | slice) -> Curve:
        """Return the curve of some of the intervals."""
        return Curve(self.s[rows], self.b[rows], self.a[rows], self.e[rows], self.delta)

    def cost(self, x: Float) -> Float:
        """Return C_t(x_t), currency, shape (N,), of `x` shares an interval."""
        cost = np.empty(len(x))
        fill_costs(x, self.s, self.b, self.a, self.e, self.delta, cost)
        return cost

    def marginal(self, x: Float) -> Float:
        """Return C_t'(x_t), price, shape (N,)."""
        price = np.empty(len(x))
        _fill_marginals(x, self.s, self.b, self.a, self.e, self.delta, price)
        return price


@kernel
def fill_costs(x: Float, s: Float, b: Float, a: Float, e: Float, delta: float, cost: Float) -> None:
    """Fill `cost` with that of `x`, currency."""
    for t in range(x.shape[0]):
        cost[t] = x[t] * (s[t] + x[t] * (b[t] + x[t] * a[t]))
        if e[t] != 0.0:
            cost[t] += e[t] * x[t] ** (1.0 + delta)


@kernel
def _fill_marginals(x: Float, s: Float, b: Float, a: Float, e: Float, delta: float, price: Float) -> None:
    """Fill `price` with the marginal of `x`."""
    for t in range(x.shape[0]):
        price[t] = s[t] + x[t] * (2.0 * b[t] + 3.0 * x[t] * a[t])
        if e[t] != 0.0:
            price[t] += e[t] * (1.0 + delta) * x[t] ** delta


@kernel
def less(curve: Curve, base: float) -> Curve:
    """Return the curve with `base` taken off every spread, so that a common spread takes no digits from the impact."""
    s = np.empty(curve.s.shape[0])
    for t in range(s.shape[0]):
        s[t] = curve.s[t] - base
    return Curve(s, curve.b, curve.a, curve.e, curve.delta)


@kernel
def flat_at(b: float, a: float, e: float) -> bool:
    """Return whether an interval costs its spread only."""
    return bool(b == 0.0 and a == 0.0 and e == 0.0)


@kernel
def marginal(x: float, s: float, b: float, a: float, e: float, delta: float) -> float:
    """Return C'(x), price: the cost of the next share at `x` shares."""
    value = s + x * (2.0 * b + 3.0 * a * x)
    if e > 0.0 and x > 0.0:
        value += e * (1.0 + delta) * x**delta
    return value


@kernel
def curvature(x: float, b: float, a: float, e: float, delta: float) -> float:
    """Return C''(x), price per share; inf at x = 0 where delta < 1 and e > 0."""
    value = 2.0 * b + 6.0 * a * x
    if e > 0.0:
        if x > 0.0:
            value += e * (1.0 + delta) * delta * x ** (delta - 1.0)
        elif delta < 1.0:
            value = math.inf
        elif delta == 1.0:
            value += 2.0 * e
    return value


@kernel
def slope_and_curvature(x: float, s: float, b: float, a: float, e: float, delta: float) -> tuple[float, float]:
    """Return C'(x) and C''(x) with one power between them."""
    slope = s + x * (2.0 * b + 3.0 * a * x)
    bend = 2.0 * b + 6.0 * a * x
    if e > 0.0:
        if x > 0.0:
            power = e * (1.0 + delta) * x**delta
            slope += power
            bend += delta * power / x
        else:
            bend = curvature(x, b, a, e, delta)
    return slope, bend


@kernel
def lot_price(n: float, lot: float, s: float, b: float, a: float, e: float, delta: float) -> float:
    """Return ``(C(n L) - C((n - 1) L)) / L``, the price per share of the n-th lot, n >= 1.

    The power term is ``n^p - (n-1)^p = -n^p expm1(p log1p(-1/n))`` with
    p = 1 + delta, which loses no digits however large n is.
    """
    value = s
    if b > 0.0:
        value += b * lot * (2.0 * n - 1.0)
    if a > 0.0:
        value += a * lot * lot * (3.0 * n * (n - 1.0) + 1.0)
    if e > 0.0:
        p = 1.0 + delta
        if n <= 1.0:
            value += e * lot**delta
        else:
            value += e * (lot * n) ** delta * n * -math.expm1(p * math.log1p(-1.0 / n))
    return value


@kernel
def added_cost(x: float, q: float, s: float, b: float, a: float, e: float, delta: float) -> float:
    """Return ``C(x + q) - C(x)``, currency, without cancellation; x >= 0, q >= 0."""
    value = q * (s + b * (2.0 * x + q) + a * (3.0 * x * (x + q) + q * q))
    if e > 0.0 and q > 0.0:
        p = 1.0 + delta
        if x <= 0.0:
            value += e * q**p
        else:
            value += e * x**p * math.expm1(p * math.log1p(q / x))
    return value


@kernel
def mean_marginal(qty: float, c: Curve, open_: Float) -> float:
    """Return the marginal, price, of an equal split of `qty` over intervals with `open_` > 0, at their mean cost."""
    n, ms, mb, ma, me = 0, 0.0, 0.0, 0.0, 0.0
    for t in range(open_.shape[0]):
        if open_[t] > 0.0:
            n += 1
            ms += c.s[t]
            mb += c.b[t]
            ma += c.a[t]
            me += c.e[t]
    return float(marginal(qty / n, ms / n, mb / n, ma / n, me / n, c.delta))

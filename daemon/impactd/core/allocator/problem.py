r"""The allocation problem, in one shape for every kind of impact model.

.. math::

   \min_x \sum_t C_t(x_t) + \rho \sum_t y_t^2
   \quad\text{s.t.}\quad \sum_t x_t = R,\; 0 \le x_t \le u_t,\;
   \ell_t \le x_0 + \dots + x_t \le h_t

with caps u, and bounds of the running sum where an order has them.
:math:`y_t = R - x_0 - \dots - x_t` is the inventory after interval *t*, and C is a
`impactd.core.allocator.curve.Curve`: x times the per-share impact g of a linear
(b), quadratic (b, a) or power (e, delta) model.  A fraction f of an
interval, and k child slices with full resilience between them, cost
``x g(x / (f k))``; `from_impact` folds them into the coefficients, so that no
solver needs to know of either.

A part of the impact may last and decay (Obizhaeva and Wang 2013): trading x in
interval *i* leaves a displacement that intervals after it pay,

.. math::

   \tfrac12 x^T K x,\quad K_{ij} = r_i r_j e^{-\rho \tau |i-j|},
   \qquad r_t = \sqrt{2 w b_t}

with w the part of the linear term that lasts; what is charged at once is the
rest of it, so that an interval by itself costs what was measured.  The depth
of the two intervals enters by its geometric mean: with the depth of the
earlier or of the later one alone K would not be positive definite whatever
the forecast, and trading back and forth would pay (Fruth, Schoeneborn and
Urusov 2014).  For this K a matrix D of square roots of depth stands on both
sides of the exponential kernel, which is positive definite (Alfonsi, Schied
and Slynko 2012), so the problem stays convex.
"""

from __future__ import annotations

import math
from dataclasses import field
from typing import Final

import numpy as np

from impactd.core.allocator.curve import Curve, Float
from impactd.core.base.jit import kernel
from impactd.core.base.quick import quick_dataclass

#: Arrays of a problem, and what each has to hold.
_FIELDS: Final = dict.fromkeys(("s", "b", "a", "e"), "finite, non-negative values") | {
    "cap": "non-negative values (inf for none)",
    "fraction": "values in (0, 1]",
}


def _none() -> Float:
    return np.empty(0)


@kernel
def _first_wrong(s: Float, b: Float, a: Float, e: Float, cap: Float, fraction: Float) -> int:
    """Return the place of a field with a value out of its range, or -1; problems are made many times a minute."""
    for t in range(cap.shape[0]):
        if not 0.0 <= s[t] < np.inf:
            return 0
        if not 0.0 <= b[t] < np.inf:
            return 1
        if not 0.0 <= a[t] < np.inf:
            return 2
        if not 0.0 <= e[t] < np.inf:
            return 3
        if not cap[t] >= 0.0:
            return 4
        if not 0.0 < fraction[t] <= 1.0:
            return 5
    return -1


@quick_dataclass(frozen=True, slots=True)
class Problem:
    """One parent order's allocation problem over N intervals, in shares."""

    #: Cost of each interval; coefficients finite and >= 0.
    curve: Curve
    #: Shape (N,). Largest quantity of each interval, >= 0; inf where there is none.
    cap: Float
    #: Shape (N,). Part of an interval that each one lasts, in (0, 1]; ties in cost are shared in proportion to it, and
    #: TWAP follows it.
    fraction: Float
    #: Weight of squared inventory, currency per share^2: risk_aversion * sigma^2 * tau.  0 makes the problem separable.
    risk: float = 0.0
    #: Shape (N,). r_t, (price per share)^(1/2); empty where no impact lasts.
    root: Float = field(default_factory=_none)
    #: Shape (N,). Part of the displacement of the interval before that is left in this one, in [0, 1); the first is not
    #: used.
    keep: Float = field(default_factory=_none)
    #: Shape (N,). Least and most that may have traded by the end of each interval, shares
    #: (`impactd.core.allocator.bounds`); inf in `high` where there is no bound, empty where there is none at all.
    low: Float = field(default_factory=_none)
    high: Float = field(default_factory=_none)

    def __post_init__(self) -> None:
        c, n = self.curve, len(self)
        shaped = c.s.shape == c.b.shape == c.a.shape == c.e.shape == self.cap.shape == self.fraction.shape == (n,)
        wrong = _first_wrong(*c[:4], self.cap, self.fraction) if shaped else -1
        if not shaped or wrong >= 0:
            arrays = (*c[:4], self.cap, self.fraction)
            for k, (name, needs) in enumerate(_FIELDS.items()):
                if k == wrong or arrays[k].shape != (n,):
                    raise ValueError(f"{name}: needs {n} {needs}")
        if not 0 < self.curve.delta <= 1.5:
            raise ValueError("delta: must lie in (0, 1.5]")
        if not (math.isfinite(self.risk) and self.risk >= 0):
            raise ValueError("risk: must be finite and non-negative")
        if self.root.shape == self.keep.shape == self.low.shape == self.high.shape == (0,):
            return  # as most are, and hundreds are made as a minute closes
        if self.root.shape not in {(0,), (n,)} or self.keep.shape != self.root.shape:
            raise ValueError(f"root, keep: need {n} values each, or none")
        if self.root.size and not (
            np.isfinite(self.root).all() and ((self.root >= 0) & (self.keep >= 0) & (self.keep < 1)).all()
        ):
            raise ValueError("root: needs finite, non-negative values; keep: values in [0, 1)")
        if self.low.shape not in {(0,), (n,)} or self.high.shape != self.low.shape:
            raise ValueError(f"low, high: need {n} values each, or none")
        if self.low.size and not (np.isfinite(self.low).all() and (self.low >= 0).all() and (self.high >= 0).all()):
            raise ValueError("low: needs finite, non-negative values; high: non-negative ones (inf for none)")

    def __len__(self) -> int:
        return int(self.curve.s.shape[0])

    @property
    def separable(self) -> bool:
        """Whether no interval's cost depends on what another trades."""
        return self.risk == 0.0 and not self.transient

    @property
    def transient(self) -> bool:
        """Whether a part of the impact lasts beyond its interval."""
        return self.root.size > 0 and bool((self.root > 0.0).any())

    @property
    def nested(self) -> bool:
        """Whether the running sum is bounded."""
        return self.low.size > 0

    @classmethod
    def from_impact(
        cls,
        half_spread: Float,
        beta: Float | None = None,
        alpha: Float | None = None,
        eta: Float | None = None,
        delta: float = 1.0,
        *,
        cap: Float | None = None,
        fraction: Float | None = None,
        child_slices: int = 1,
        risk: float = 0.0,
        transient_share: float = 0.0,
        keep: Float | None = None,
    ) -> Problem:
        """Return the problem for a per-share impact ``g = s + beta q + alpha q^2 + eta q^delta``.

        Parameters
        ----------
        half_spread, beta, alpha, eta : ndarray of float64, shape (N,)
            Coefficients of g by interval; price, price per share, price per
            share^2, price per share^delta.  None stands for zeros.
        delta : float
            Exponent of the power term.
        cap, fraction : ndarray of float64, shape (N,), optional
            Default: no cap, whole intervals.
        child_slices : int
            k equal slices an interval: ``C(x) = x g(x / (k f))``.
        risk : float
            Weight of squared inventory.
        transient_share : float
            Part of the linear term that lasts and decays, in [0, 1].
        keep : ndarray of float64, shape (N,), optional
            Needed where something lasts: see `Problem`.

        Raises
        ------
        ValueError
            If an array has another shape or a value out of its range.
        """
        n = half_spread.shape[0]
        part = np.ones(n) if fraction is None else fraction
        curve = curve_of(half_spread, beta, alpha, eta, delta, part, child_slices)
        line = curve.b
        if not 0.0 <= transient_share <= 1.0:
            raise ValueError("transient_share: must lie in [0, 1]")
        some = transient_share > 0.0 and keep is not None
        return cls(
            curve._replace(b=(1.0 - transient_share) * line) if some else curve,
            cap=np.full(n, np.inf) if cap is None else cap,
            fraction=part,
            risk=risk,
            root=np.sqrt(2.0 * transient_share * line) if some else _none(),
            keep=keep if some and keep is not None else _none(),
        )


def curve_of(
    half_spread: Float,
    beta: Float | None,
    alpha: Float | None,
    eta: Float | None,
    delta: float,
    fraction: Float,
    child_slices: int,
) -> Curve:
    """Return the costs of `Problem.from_impact`, nothing of which lasts; values are not checked."""
    return scaled_curve(half_spread, *or_zeros(half_spread, beta, alpha, eta), delta, fraction, child_slices)


def or_zeros(
    half_spread: Float, beta: Float | None, alpha: Float | None, eta: Float | None
) -> tuple[Float, Float, Float]:
    """Return coefficients as kernels take them: zeros for None."""
    zero = np.zeros(half_spread.shape[0])
    return zero if beta is None else beta, zero if alpha is None else alpha, zero if eta is None else eta


@kernel
def scaled_curve(
    half_spread: Float, beta: Float, alpha: Float, eta: Float, delta: float, fraction: Float, child_slices: int
) -> Curve:
    """Return `curve_of` coefficients none of which is None."""
    n = half_spread.shape[0]
    b, a, e = np.empty(n), np.empty(n), np.empty(n)
    for t in range(n):
        scale = 1.0 / (fraction[t] * child_slices)
        b[t] = beta[t] * scale
        a[t] = alpha[t] * scale * scale
        e[t] = eta[t] * scale**delta if eta[t] > 0.0 else 0.0
    return Curve(half_spread, b, a, e, delta)

r"""A basket: several symbols whose returns move together, scheduled as one by CVXPY.

.. math::

   \min_x \sum_{kt} x_{kt} g_{kt}(x_{kt}) + \lambda \sum_t y_t^\top \Sigma y_t
   \quad\text{s.t.}\quad \sum_t x_{kt} = R_k,\; 0 \le x_{kt} \le u_{kt}

with :math:`y_{kt}` the signed inventory of symbol k after interval t (positive
where it is still to be bought) and :math:`\Sigma` the covariance of the mids'
changes over one interval: Almgren and Chriss (2000), J. Risk 3(2), appendix A,
with caps and without cross impact.  A buy hedges the sell of a symbol that
moves with it, so a basket may trade more slowly than its parts.

The price of risk is split among the symbols by Euler's rule,
:math:`\lambda \sum_t y_{kt} (\Sigma y_t)_k`: the parts sum to the whole, and a
symbol that hedges the rest has a negative one (Litterman 1996, "Hot Spots and
Hedges", Goldman Sachs Risk Management Series).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from impactd.core.inputs.ticks import Float
from impactd.research.errors import INFEASIBLE, MALFORMED, NOT_CONVERGED, OptimizationError, ValidationError
from impactd.research.options import check_number, without_rounding


def optimize_basket(
    legs: Sequence[Mapping[str, Any]], covariance: Any, risk_aversion: float = 0.0, *, solver: str = "CLARABEL"
) -> dict[str, Any]:
    """Return the schedules of a basket and who brings its risk.

    Parameters
    ----------
    legs : sequence of mapping
        One a symbol: ``symbol``, ``side`` ('buy' or 'sell'), ``qty`` (shares,
        positive), ``half_spread`` and ``beta`` (price, and price per share;
        one for all intervals, or an array of N), and optionally ``cap``
        (shares, one for all intervals or an array).
    covariance : array_like, shape (K, K)
        Of the mids' changes over one interval, currency^2 / share^2.
    risk_aversion : float
        1 / currency.
    solver : str
        Of CVXPY.

    Returns
    -------
    dict
        ``schedule`` (DataFrame, N rows, one column per symbol, shares),
        ``impact_cost`` and ``risk_cost`` (currency), ``risk`` (DataFrame by
        symbol: ``impact_cost``, ``risk_cost``, its parts of the whole, and
        ``alone_risk_cost``, without the others), ``solver_used``.

    Raises
    ------
    ValidationError
        1001 for input that cannot be used.
    OptimizationError
        3001 if the solver did not converge, 3002 if caps cannot hold a quantity.

    Examples
    --------
    >>> leg = {"qty": 9_000, "half_spread": 0.01, "beta": np.full(3, 1e-5)}
    >>> legs = [leg | {"symbol": "FROG", "side": "buy"}, leg | {"symbol": "ARL", "side": "sell"}]
    >>> hedged = optimize_basket(legs, [[0.01, 0.009], [0.009, 0.01]], 1e-5)
    >>> apart = optimize_basket(legs, [[0.01, 0.0], [0.0, 0.01]], 1e-5)
    >>> bool(hedged["schedule"]["FROG"][0] < apart["schedule"]["FROG"][0])
    True
    """
    check_number("risk_aversion", risk_aversion, 0.0)
    table = [_leg(leg) for leg in legs]
    if not table:
        raise ValidationError(MALFORMED, "legs: there are none", "give one mapping per symbol")
    names = [name for name, *_ in table]
    if len(set(names)) < len(names):
        raise ValidationError(MALFORMED, f"legs: {names} names a symbol twice", "join its legs")
    try:
        s, b, cap = (np.stack(np.broadcast_arrays(*column)) for column in zip(*(leg[3:] for leg in table), strict=True))
        s, b, cap = (np.array(part) for part in np.broadcast_arrays(s, b, cap))
    except ValueError as error:
        raise ValidationError(MALFORMED, f"legs: {error}", "give every leg the same number of intervals") from error
    sign, qty = (np.array([leg[k] for leg in table]) for k in (1, 2))
    sigma = _covariance(covariance, len(table))
    cap = np.stack([without_rounding(*leg) for leg in zip(cap, qty.tolist(), strict=True)])
    room = np.sum(np.minimum(cap, qty[:, None]), axis=1)
    if np.any(room < qty):
        worst = int(np.argmax(qty - room))
        raise OptimizationError(
            INFEASIBLE,
            f"cap: {names[worst]} holds {room[worst]:,.10g} of {qty[worst]:,.10g}",
            "raise it, or place less",
        )
    x = _solve(s, b, cap, qty, sign, sigma, risk_aversion, solver)
    left = sign[:, None] * (qty[:, None] - np.cumsum(x, axis=1))
    parts = risk_aversion * np.sum(left * (sigma @ left), axis=1)
    impact = np.sum(s * x + b * x * x, axis=1)
    alone = risk_aversion * np.diag(sigma) * np.sum(left * left, axis=1)
    risk = pd.DataFrame({"impact_cost": impact, "risk_cost": parts, "alone_risk_cost": alone}, index=names)
    return {
        "schedule": pd.DataFrame(x.T, columns=names),
        "impact_cost": float(np.sum(impact)),
        "risk_cost": float(np.sum(parts)),
        "risk": risk,
        "solver_used": solver.lower(),
    }


def _leg(leg: Mapping[str, Any]) -> tuple[str, float, float, Float, Float, Float]:
    """Return symbol, sign, quantity, half-spread, beta and cap."""
    missing = [name for name in ("symbol", "side", "qty", "half_spread", "beta") if name not in leg]
    if missing:
        raise ValidationError(MALFORMED, f"legs: {missing[0]} is missing", "give symbol, side, qty, half_spread, beta")
    if leg["side"] not in ("buy", "sell"):
        raise ValidationError(MALFORMED, f"side: {leg['side']!r} is none", "give 'buy' or 'sell'")
    check_number("qty", leg["qty"], 0.0, above=True)
    columns = []
    for name in ("half_spread", "beta", "cap"):
        values = np.atleast_1d(np.asarray(leg.get(name, np.inf), dtype=np.float64))
        finite = name == "cap" or bool(np.isfinite(values).all())
        if values.ndim != 1 or not finite or not (values >= 0.0).all():
            raise ValidationError(MALFORMED, f"{name}: needs numbers of 0 or more", "give one, or one an interval")
        columns.append(values)
    sign = 1.0 if leg["side"] == "buy" else -1.0
    return str(leg["symbol"]), sign, float(leg["qty"]), columns[0], columns[1], columns[2]


def _covariance(covariance: Any, k: int) -> Float:
    sigma = np.asarray(covariance, dtype=np.float64)
    if sigma.shape != (k, k) or not np.isfinite(sigma).all() or not np.allclose(sigma, sigma.T):
        raise ValidationError(MALFORMED, f"covariance: needs a symmetric {k} x {k} matrix", "estimate it from returns")
    if float(np.min(np.linalg.eigvalsh(sigma))) < -1e-10 * max(float(np.trace(sigma)), 1e-300):
        raise ValidationError(MALFORMED, "covariance: is not positive semidefinite", "shrink it toward its diagonal")
    return sigma


def _solve(
    s: Float, b: Float, cap: Float, qty: Float, sign: Float, sigma: Float, risk_aversion: float, solver: str
) -> Float:
    import cvxpy  # noqa: PLC0415  # half a second to import

    cp: Any = cvxpy  # its stubs do not know what it exports
    values, vectors = np.linalg.eigh(sigma)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))).T
    # Parts of each quantity and a typical price, so that tolerances mean the same for coins and shares.
    u = cp.Variable(s.shape)
    k, n = s.shape
    unit = float(np.sum(np.mean(s, axis=1) * qty + np.mean(b, axis=1) * qty * qty / n)) or 1.0
    cost = cp.sum(cp.multiply(s * qty[:, None] / unit, u))
    cost += cp.sum_squares(cp.multiply(np.sqrt(b / unit) * qty[:, None], u))
    if risk_aversion > 0.0:
        left = np.tile((sign * qty)[:, None], (1, n)) - cp.multiply((sign * qty)[:, None], cp.cumsum(u, axis=1))
        cost += cp.sum_squares(np.sqrt(risk_aversion / unit) * root @ left)
    terms = [u >= 0, u <= np.minimum(cap / qty[:, None], 1.0), cp.sum(u, axis=1) == np.ones(k)]
    problem = cp.Problem(cp.Minimize(cost), terms)
    try:
        problem.solve(solver=solver)
    except cp.error.SolverError as error:
        raise OptimizationError(NOT_CONVERGED, f"{solver}: {error}", "name another solver") from error
    if u.value is None or problem.status != cp.OPTIMAL:
        raise OptimizationError(NOT_CONVERGED, f"{solver}: ended as {problem.status}", "name another solver")
    x = np.clip(u.value, 0.0, np.minimum(cap / qty[:, None], 1.0))
    return np.asarray(x / np.sum(x, axis=1, keepdims=True) * qty[:, None], dtype=np.float64)

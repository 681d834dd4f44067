"""Random groups of orders, and the oracle that judges their joint schedules: Clarabel through CVXPY."""

from __future__ import annotations

from typing import Any

import numpy as np

from impactd.core.allocator.bounds import NO_CAP, Int
from impactd.core.allocator.joint.problem import Group, in_shares, joint_objective
from impactd.core.allocator.problem import Float, Problem
from impactd.core.base.quantity import QUANTA

#: Tolerances to try in turn.
_TOLERANCES = (1e-12, 1e-10, 1e-8)

#: A lot so small that whole lots cost what shares cost.
FINE = 1e-6


def group_of(n: int, *orders: dict[str, Any]) -> Group:
    """Return a group of orders given by their terms in shares.

    Terms: qty, lot (1), window ((0, n)), cap, low and high (arrays of running sums), risk, current (shares, (n,)).
    """
    rows: dict[str, list[Any]] = {name: [] for name in ("qty", "lot", "cap", "low", "high", "risk", "current")}
    for order in orders:
        first, last = order.get("window", (0, n))
        cap = np.zeros(n, np.int64)
        limit = order.get("cap")
        cap[first:last] = NO_CAP if limit is None else _quanta(np.broadcast_to(limit, n)[first:last])
        low, high, current = (order.get(name) for name in ("low", "high", "current"))
        rows["qty"].append(round(order["qty"] * QUANTA))
        rows["lot"].append(round(order.get("lot", 1.0) * QUANTA))
        rows["cap"].append(cap)
        rows["low"].append(np.zeros(n, np.int64) if low is None else _quanta(low))
        rows["high"].append(np.full(n, NO_CAP) if high is None else _quanta(high))
        rows["risk"].append(order.get("risk", 0.0))
        rows["current"].append(np.zeros(n, np.int64) if current is None else _quanta(current))
    return Group(**{name: np.array(row) for name, row in rows.items()})


def _quanta(shares: Float) -> Int:
    return np.rint(np.asarray(shares) * QUANTA).astype(np.int64)


def random_group(
    seed: int, *, most: int = 4, risky: bool = False, nested: bool = True, fine: bool = True
) -> tuple[Problem, Group]:
    """Return a problem and a group of 2 to `most` ordinary orders: windows, caps, participation, all sizes."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 31))
    s, beta = rng.uniform(0.005, 0.03, n), rng.uniform(1e-6, 5e-5, n)
    kind = seed % 3
    if kind == 0:
        problem = Problem.from_impact(s, beta)
    elif kind == 1:
        problem = Problem.from_impact(s, beta, rng.uniform(1e-10, 5e-9, n))
    else:
        problem = Problem.from_impact(s, eta=rng.uniform(1e-4, 4e-4, n), delta=0.6)
    volume = rng.gamma(2.0, 300.0, n)
    orders = []
    for _ in range(int(rng.integers(2, most + 1))):
        first = int(rng.integers(0, n)) if rng.random() < 0.6 else 0
        last = int(rng.integers(first + 1, n + 1)) if rng.random() < 0.7 else n
        order: dict[str, Any] = {"window": (first, last), "qty": float(np.round(10.0 ** rng.uniform(1.5, 4.0)))}
        order["lot"] = FINE if fine else float(rng.choice([1.0, 10.0, 100.0]))
        if rng.random() < 0.4:
            order["cap"] = np.round(rng.uniform(0.5, 4.0) * order["qty"] / (last - first) + 1.0)
        if nested and rng.random() < 0.5:
            traded = np.cumsum(np.where((np.arange(n) >= first) & (np.arange(n) < last), volume, 0.0))
            order["high"] = np.floor(float(rng.choice([0.05, 0.1, 0.3])) * traded)
            if rng.random() < 0.4:
                order["low"] = np.floor(0.5 * order["high"])
        if risky and rng.random() < 0.7:
            order["risk"] = float(rng.choice([1e-9, 1e-7, 1e-6, 1e-5]))
        orders.append(order)
    return problem, group_of(n, *orders)


def two_or_three(seed: int, *, risky: bool) -> tuple[Problem, Group]:
    """Return a problem and a group of two or three orders with windows and, some, a cap or risk."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 25))
    s, beta = rng.uniform(0.01, 0.03, n), rng.uniform(1e-5, 5e-5, n)
    if seed % 3 == 0:
        problem = Problem.from_impact(s, beta)
    elif seed % 3 == 1:
        problem = Problem.from_impact(s, beta, rng.uniform(1e-9, 5e-9, n))
    else:
        problem = Problem.from_impact(s, eta=rng.uniform(1e-4, 4e-4, n), delta=0.6)
    orders = []
    for _ in range(int(rng.integers(2, 4))):
        first = int(rng.integers(0, n))
        window = (first, int(rng.integers(first + 1, n + 1)))
        limit = float(rng.uniform(100, 900)) if rng.random() < 0.5 else None
        risk = float(rng.choice([0.0, 1e-6, 1e-5])) if risky else 0.0
        qty = float(rng.integers(100, 3_000))
        orders.append({"qty": qty, "lot": FINE, "window": window, "cap": limit, "risk": risk})
    return problem, group_of(n, *orders)


def schedules(lots: int, cap: Int, low: Int, high: Int) -> list[tuple[int, ...]]:
    """Return every schedule of `lots` within all bounds (in lots), one number an interval."""
    found: list[tuple[int, ...]] = [()]
    for t in range(len(cap)):
        found = [
            (*head, k)
            for head in found
            for k in range(min(int(cap[t]), lots - sum(head)) + 1)
            if low[t] <= sum(head) + k <= high[t]
        ]
    return [schedule for schedule in found if sum(schedule) == lots]


def least_cost(problem: Problem, group: Group, placed: Float) -> float | None:
    """Return what Clarabel finds that `placed` shares of each order cost at least, or None where it finds nothing.

    The bounds are the group's own, in shares.
    """
    import cvxpy  # noqa: PLC0415  # slow to import

    cp: Any = cvxpy  # its stubs do not know what it exports
    n = len(problem)
    unit = max(float(np.max(placed)), 1e-9)
    u = cp.Variable((len(group), n))
    total = cp.sum(u, axis=0)
    s, b, a, e, delta = problem.curve.above(float(np.min(problem.curve.s))).scaled(unit, 1.0)
    price = float(np.median(s + b / n + a / n**2 + e / n**delta)) or 1.0
    cost: Any = (s / price) @ total + cp.sum_squares(cp.multiply(np.sqrt(b / price), total))
    cap = np.minimum(in_shares(group.cap), placed[:, None]) / unit
    constraints = [u >= 0, u <= cap, cp.sum(u, axis=1) == placed / unit]
    for coefficient, exponent in ((a, 3.0), (e, 1.0 + delta)):
        if np.any(coefficient > 0.0):
            v = cp.Variable(n)
            cost += (coefficient / price) @ v
            constraints.append(cp.PowCone3D(v, np.ones(n), total, np.full(n, 1.0 / exponent)))
    for i, rho in enumerate(group.risk.tolist()):
        done = cp.cumsum(u[i])
        high = np.minimum(in_shares(group.high[i]), placed[i]) / unit
        if np.any(high < placed[i] / unit):
            constraints.append(done <= high)
        if np.any(group.low[i] > 0):  # a lower bound gives way to caps and upper bounds
            reached = np.minimum.accumulate(high[::-1])[::-1]
            for t in range(n):
                reached[t] = min(reached[t], (reached[t - 1] if t else 0.0) + cap[i, t])
            constraints.append(done >= np.minimum(in_shares(group.low[i]) / unit, reached))
        if rho > 0.0:
            cost += cp.sum_squares(np.sqrt(rho * unit / price) * (placed[i] / unit - done))
    compiled = cp.Problem(cp.Minimize(cost), constraints)
    for tolerance in _TOLERANCES:
        options = {"tol_gap_abs": tolerance, "tol_gap_rel": tolerance, "tol_feas": tolerance, "max_iter": 200}
        data, chain, inverse = compiled.get_problem_data("CLARABEL", solver_opts=options)
        raw = chain.solve_via_data(compiled, data, warm_start=False, verbose=False, solver_opts=options)
        solution = chain.invert(raw, inverse)
        value = solution.primal_vars.get(u.id) if solution.primal_vars else None
        if value is not None and np.all(np.isfinite(value)) and str(solution.status) == cp.OPTIMAL:
            x = np.maximum(np.asarray(value, dtype=np.float64) * unit, 0.0)
            return joint_objective(problem, group.risk, placed, x)
    return None

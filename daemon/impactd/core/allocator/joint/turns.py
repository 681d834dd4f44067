r"""Several orders on one symbol and side, scheduled together.

They trade into the same book, so the cost of an interval is that of their sum:

.. math::

   \min_x \sum_t C_t\Bigl(\sum_i x_{it}\Bigr) + \sum_i \rho_i \sum_t y_{it}^2
   \quad\text{s.t.}\quad \sum_t x_{it} = R_i,\; 0 \le x_{it} \le u_{it}

with each order's own window (u is 0 outside), caps, lots and risk.

- *Without risk* all orders are solved at once (`impactd.core.allocator.joint.interior`),
  with the split of their sum that is nearest to their current plans.
- *With risk* they take turns: each order with risk, and all others as one, is
  scheduled against what the rest trades, which shifts the coefficients of its cost,
  until the joint residual is met (block coordinate descent; for a convex cost
  its limits are optimal: Bertsekas 1999, *Nonlinear Programming*, prop. 2.7.1).
  A power term has no shifted form of its own; it is taken to second order about
  the point reached, and a step that would not lower the cost is halved.
- *Lots.*  Orders with risk are rounded along their paths, then the others, in
  the order given, and lots are exchanged until no chain of exchanges gains.
- Where turns do not get there (several orders with risk that is almost none),
  Clarabel's answer, where it is among the solvers, is where they start from.
- Current plans that cost no more than all this are kept as they are.

The certificate is the gap of Frank and Wolfe (1956; Jaggi 2013, ICML, sec. 2),

.. math::

   G = \sum_i \max_{z \in P_i} \sum_t \partial_{it} (x_{it} - z_t)
     \;\ge\; \text{objective}(x) - \text{optimum},

with P_i the schedules that order i may have: it is 0 just where every order's
KKT conditions hold at the joint prices.  It is measured in highest excess
marginal times quantity, as that of one order is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from impactd.core.allocator.certificate import CERTIFICATE_TOLERANCE
from impactd.core.allocator.cost import schedule_cost
from impactd.core.allocator.curve import Float
from impactd.core.allocator.joint.interior import solve_group
from impactd.core.allocator.joint.lots import exchange, nearest_feasible, round_split
from impactd.core.allocator.joint.problem import GroupOrder, JointAllocation, joint_objective, shifted
from impactd.core.allocator.lots.path import round_path
from impactd.core.allocator.lots.separable import Int, place_remainder
from impactd.core.allocator.problem import Problem
from impactd.core.allocator.solvers.base import Failure, SolveFailure
from impactd.core.allocator.solvers.chain import solve_chain
from impactd.core.base.quantity import QUANTA

#: Rounds in which every order takes its turn.
_MAX_ROUNDS: Final = 500

#: The residual at which turns end: far below what a certificate needs, and what rounding allows.
_SOLVED: Final = 1e-9

#: Rounds without progress, after which rounding must be what is left.
_STALE: Final = 40

_HALVINGS: Final = 40

#: Steps below this part of the largest order are rounding.
_NOISE: Final = 1e-14

#: Floor of the price scale, as a part of the marginal, and of everything.
_PRICE_FLOOR: Final = 2.0**-20
_SMALLEST_PRICE: Final = 2.0**-1000

#: Current plans are kept where they cost no more than this part above the new ones.
_SAME_COST: Final = 1e-12


def allocate_jointly(
    problem: Problem,
    members: Sequence[GroupOrder],
    *,
    solvers: Sequence[str] = ("exact",),
    tolerance: float = CERTIFICATE_TOLERANCE,
) -> JointAllocation | SolveFailure:
    """Return the schedules that cost least together, in whole lots.

    Parameters
    ----------
    problem : Problem
        N intervals that all orders share; its cap and risk do not count.
    members : sequence of GroupOrder
        Ties are broken in their order.
    solvers : sequence of str
        Chain for the turn of one order.
    tolerance : float
        Largest residual that passes.

    Returns
    -------
    JointAllocation or SolveFailure
    """
    shared = replace(problem, cap=np.full(len(problem), np.inf), risk=0.0)
    group = _Group(shared, members)
    found = group.solve(solvers, group.current / QUANTA)
    if isinstance(found, SolveFailure):
        return found
    x, rounds = found
    name = "joint"
    if group.certificate(x)[1] > tolerance and "clarabel" in solvers:
        again = _from_clarabel(group, solvers)
        if isinstance(again, SolveFailure):
            return again
        (x, rounds), name = again, "joint-clarabel"
    multipliers, residual = group.certificate(x)
    if residual > tolerance:
        text = f"joint residual {residual:.3g} after {rounds} rounds is above {tolerance:.3g}"
        return SolveFailure("joint", Failure.BAD_CERTIFICATE, text)
    quanta, left_over = group.whole_lots(x)
    residual = max(residual, left_over / max(*(abs(m) for m in multipliers), _SMALLEST_PRICE))
    if residual > tolerance:
        text = f"relative residual {residual:.3g} of the whole-lot schedules is above {tolerance:.3g}"
        return SolveFailure("joint", Failure.BAD_CERTIFICATE, text)
    gap = group.above_bound(quanta, x)
    quanta = group.kept(quanta)
    shortfall = tuple(
        member.qty_quanta - int(np.sum(row, dtype=np.int64)) for member, row in zip(members, quanta, strict=True)
    )
    return JointAllocation(quanta, shortfall, multipliers, residual, name, rounds, gap)


def _from_clarabel(group: _Group, solvers: Sequence[str]) -> tuple[Float, int] | SolveFailure:
    """Return what the turns make of Clarabel's answer, which is near the optimum but not exactly on its bounds."""
    from impactd.core.allocator.joint.cvxpy import solve_together  # noqa: PLC0415  # heavy, optional

    near = solve_together(group.problem, group.qty, group.cap, group.risk)
    return near if isinstance(near, SolveFailure) else group.solve(solvers, near)


class _Group:
    """The orders as arrays: shares by order and interval, of whole lots."""

    def __init__(self, problem: Problem, members: Sequence[GroupOrder]) -> None:
        self.problem = problem
        self.members = members
        self.lot = np.array([member.lot_quanta for member in members]) / QUANTA
        lots, caps = [], []
        for member in members:
            most = member.qty_quanta // member.lot_quanta
            cap = np.minimum(member.cap_quanta // member.lot_quanta, most)
            caps.append(cap)
            lots.append(min(most, sum(cap.tolist())))
        self.lots = np.array(lots, np.int64)
        self.cap_lots = np.stack(caps)
        self.cap = self.cap_lots * self.lot[:, None]
        self.qty = self.lots * self.lot
        self.risk = [member.risk for member in members]
        self.current = np.stack([member.current_quanta for member in members])

    def solve(self, solvers: Sequence[str], start: Float) -> tuple[Float, int] | SolveFailure:
        """Return the shares by order and interval, and the rounds taken, from what is nearest to `start`."""
        x = np.zeros(self.cap.shape)
        for i in range(len(self.members)):
            nearest_feasible(start[i], self.cap[i], float(self.qty[i]), x[i])
        averse = [i for i, risk in enumerate(self.risk) if risk > 0.0]
        free = [i for i, risk in enumerate(self.risk) if risk == 0.0]
        if not averse:
            return x, self._together(free, x)
        total = np.sum(x, axis=0)
        best, least, stale, rounds = x.copy(), np.inf, 0, 0
        while rounds < _MAX_ROUNDS and stale < _STALE:
            before = x.copy()
            if free:
                self._together(free, x)
                total = np.sum(x, axis=0)
            for i in averse:
                failure = self._turn(i, x, total, solvers)
                if failure is not None:
                    return failure
            rounds += 1
            if len(self.members) > 1:
                self._go_on(x, x - before)
            total = np.sum(x, axis=0)
            _, residual = self.certificate(x)
            stale = 0 if residual < 0.9 * least else stale + 1
            if residual < least:
                best, least = x.copy(), residual
            if residual <= _SOLVED:
                break
        return best, rounds

    def _together(self, free: list[int], x: Float) -> int:
        """Schedule the orders without risk against the others, changing their rows of `x`; return the steps."""
        p = self.problem
        rows = np.ascontiguousarray(x[free])
        others = np.maximum(np.sum(x, axis=0) - np.sum(rows, axis=0), 0.0)
        near = self.current[free] / QUANTA
        steps = int(solve_group(self.qty[free], p.curve, others, self.cap[free], near, rows))
        x[free] = rows
        return steps

    def _turn(self, i: int, x: Float, total: Float, solvers: Sequence[str]) -> SolveFailure | None:
        """Schedule order i against the others, changing its row of `x` and the `total`."""
        if self.qty[i] == 0.0:
            return None
        others = np.maximum(total - x[i], 0.0)
        problem = shifted(self.problem, others, x[i], self.cap[i], self.risk[i])
        found = solve_chain(problem, float(self.qty[i]), solvers)
        if isinstance(found, SolveFailure):
            return found
        after = found.qty
        if np.any(self.problem.curve.e > 0.0):
            after = self._descended(i, x[i], after, others)
        total += after - x[i]
        x[i] = after
        return None

    def _go_on(self, x: Float, step: Float) -> None:
        """Go on along a round's step as far as it lowers the cost and no bound is met.

        Turns alone crawl where orders with little risk exchange what hardly matters to either.
        """
        still = np.abs(step) <= _NOISE * max(float(np.max(self.qty)), _SMALLEST_PRICE)
        step = np.where(still, 0.0, step)
        room = np.where(step > 0.0, self.cap - x, x)
        moving = step != 0.0
        if not np.any(moving):
            return
        longest = float(np.min(room[moving] / np.abs(step[moving])))
        lo, hi = 0.0, longest
        if longest <= 0.0 or self._slope(x, step, 0.0) >= 0.0:
            return
        if self._slope(x, step, longest) > 0.0:
            for _ in range(_HALVINGS):
                middle = 0.5 * (lo + hi)
                if self._slope(x, step, middle) > 0.0:
                    hi = middle
                else:
                    lo = middle
        else:
            lo = longest
        x += lo * step
        np.clip(x, 0.0, self.cap, out=x)

    def _slope(self, x: Float, step: Float, length: float) -> float:
        """Return the derivative of the cost along `step` at `length`."""
        p = self.problem
        at = x + length * step
        total = np.maximum(np.sum(at, axis=0), 0.0)
        impact = p.curve.marginal(total)
        slope = float((impact - float(np.min(p.curve.s, initial=np.inf))) @ np.sum(step, axis=0))
        for row, along, qty, risk in zip(at, step, self.qty.tolist(), self.risk, strict=True):
            if risk > 0.0:
                slope -= 2.0 * risk * float((qty - np.cumsum(row)) @ np.cumsum(along))
        return slope

    def _descended(self, i: int, before: Float, after: Float, others: Float) -> Float:
        """Return the farthest halving of the step that costs no more than no step."""
        qty, risk = float(self.qty[i]), self.risk[i]

        def cost(row: Float) -> float:
            left = qty - np.cumsum(row)
            return schedule_cost(self.problem, others + row) + risk * float(left @ left)

        start = cost(before)
        for _ in range(_HALVINGS):
            if cost(after) <= start:
                return after
            after = 0.5 * (before + after)
        return before

    def certificate(self, x: Float) -> tuple[tuple[float, ...], float]:
        """Return each order's multiplier, and the relative residual of all."""
        multipliers, gap, unit, outside = self._frank_wolfe(x)
        return multipliers, max(gap / unit if unit > 0.0 else 0.0, outside)

    def money_left(self, x: Float) -> float:
        """Return a bound on what `x` costs above the optimum, currency."""
        return max(self._frank_wolfe(x)[1], 0.0)

    def _frank_wolfe(self, x: Float) -> tuple[tuple[float, ...], float, float, float]:
        """Return each order's multiplier, the gap, the unit that it is measured in, and how far `x` is infeasible."""
        p = self.problem
        total = np.maximum(np.sum(x, axis=0), 0.0)
        impact = p.curve.marginal(total)
        multipliers, gap, unit, outside = [], 0.0, 0.0, 0.0
        for row, cap, qty, risk in zip(x, self.cap, self.qty.tolist(), self.risk, strict=True):
            left = qty - np.cumsum(row)
            holding = 2.0 * risk * np.cumsum(left[::-1])[::-1]
            price = impact - holding
            order = np.argsort(price, kind="stable")
            ideal = np.zeros(len(p))
            room = np.cumsum(cap[order])
            ideal[order] = np.clip(qty - (room - cap[order]), 0.0, cap[order])
            at = min(int(np.searchsorted(room, qty)), len(p) - 1)
            level = float(price[order[at]])
            multipliers.append(level)
            if qty > 0.0:
                gap += float((price - level) @ (row - ideal))
                open_ = (cap > 0.0) & np.isfinite(p.curve.s)
                highest = float(np.max(impact[row > 0.0], initial=-np.inf))
                scale = (
                    highest - float(np.min(p.curve.s[open_], initial=np.inf)) + 2.0 * risk * float(np.sum(np.abs(left)))
                )
                unit += qty * max(scale, _PRICE_FLOOR * abs(highest), _SMALLEST_PRICE)
                bad = max(abs(float(np.sum(row)) - qty), float(np.max(row - cap)), float(np.max(-row)))
                outside = max(outside, bad / qty)
        return tuple(multipliers), gap, unit, outside

    def whole_lots(self, x: Float) -> tuple[Int, float]:
        """Return the schedules in quanta, odd remainders included, and what an exchange would still save, price."""
        p = self.problem
        n = np.zeros(x.shape, np.int64)
        carried = np.zeros(len(p))
        left_over = 0.0
        free = [i for i, risk in enumerate(self.risk) if risk == 0.0]
        for i, member in enumerate(self.members):
            if member.risk > 0.0:
                others = np.sum(x, axis=0) - x[i] - carried
                own = shifted(p, np.maximum(others, 0.0), x[i], self.cap[i], member.risk)
                start = member.qty_quanta / QUANTA
                saving = round_path(
                    int(self.lots[i]), float(self.lot[i]), start, own.curve,
                    own.risk, x[i], self.cap_lots[i], n[i],
                )  # fmt: skip
                left_over = max(left_over, saving)
                carried += x[i] - n[i] * self.lot[i]
        if free:
            rows = np.zeros((len(free), len(p)), np.int64)
            round_split(self.lots[free], self.lot[free], self.cap_lots[free], x[free], carried, rows)
            n[free] = rows
            left_over = max(left_over, self._exchanged(free, n))
        quanta = n * np.array([member.lot_quanta for member in self.members], np.int64)[:, None]
        for i, member in enumerate(self.members):
            rest = member.qty_quanta % member.lot_quanta
            if rest > 0 and len(p) > 0:
                row = np.ascontiguousarray(quanta[i] // member.lot_quanta)
                others = (np.sum(quanta, axis=0, dtype=np.float64) - quanta[i]) / QUANTA
                own = shifted(p, others, quanta[i] / QUANTA, self.cap[i], 0.0)
                where = place_remainder(
                    rest, member.lot_quanta, 1.0 / QUANTA, own.curve,
                    self.cap_lots[i], member.cap_quanta, row,
                )  # fmt: skip
                quanta[i] = row * member.lot_quanta
                if where >= 0:
                    quanta[i, where] += rest
        return quanta, left_over

    def _exchanged(self, free: list[int], n: Int) -> float:
        """Exchange lots among the orders without risk, those of one lot size together; return what is left to save."""
        p = self.problem
        left_over = 0.0
        most = 1_000 + 4 * n.size
        for lot in sorted(set(self.lot[free].tolist())):
            same = [i for i in free if self.lot[i] == lot]
            total = np.sum(n * self.lot[:, None], axis=0)
            rows = np.ascontiguousarray(n[same])
            saving = exchange(lot, p.curve, self.cap_lots[same], rows, total, most)
            left_over = max(left_over, saving)
            n[same] = rows
        return left_over

    def above_bound(self, quanta: Int, x: Float) -> float | None:
        """Return what whole lots cost above the bound from below on any schedules; None where they are the best."""
        if not any(self.risk) and len(set(self.lot.tolist())) == 1:
            return None
        p = replace(self.problem, curve=self.problem.curve.above(float(np.min(self.problem.curve.s, initial=np.inf))))
        lots = np.floor_divide(quanta, [[member.lot_quanta] for member in self.members]) * self.lot[:, None]
        qty = self.qty.tolist()
        bound = joint_objective(p, self.risk, qty, x) - self.money_left(x)
        return max(joint_objective(p, self.risk, qty, np.asarray(lots, np.float64)) - bound, 0.0)

    def kept(self, quanta: Int) -> Int:
        """Return the current plans where they can go on and cost no more, else `quanta`."""
        placed = np.sum(quanta, axis=1)
        for i, member in enumerate(self.members):
            row = self.current[i]
            odd = int(np.count_nonzero(row % member.lot_quanta))
            if (
                int(np.sum(row)) != placed[i]
                or np.any((row < 0) | (row > member.cap_quanta))
                or odd > (1 if member.qty_quanta % member.lot_quanta else 0)
            ):
                return quanta
        start = [member.qty_quanta / QUANTA for member in self.members]
        mine = joint_objective(self.problem, self.risk, start, quanta / QUANTA)
        theirs = joint_objective(self.problem, self.risk, start, self.current / QUANTA)
        return self.current.copy() if theirs <= mine + _SAME_COST * abs(mine) else quanta

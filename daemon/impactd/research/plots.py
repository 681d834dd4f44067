"""The charts of a study; each function returns its figure.

`backend` is 'matplotlib' for paper or 'plotly' for the browser.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from impactd.core.allocator.cost import objective, schedule_cost
from impactd.core.allocator.solvers.base import Solution
from impactd.core.allocator.solvers.registry import SOLVERS, get_solver
from impactd.core.base.settings import BookSettings
from impactd.core.inputs.ticks import Float
from impactd.research.errors import MALFORMED, ValidationError
from impactd.research.impact_model import ImpactModel
from impactd.research.options import OptimizerConfig, SolverType
from impactd.research.picture import Backend, Heat, Panel, Picture, Series
from impactd.research.trade_allocator import CHAINS, TradeAllocator

_PRICE: Final = "impact over mid (price per share)"
_TERMS: Final = {"half_spread": "price", "beta": "price per share²", "alpha": "price per share³", "eta": "price"}

#: Numbers of iterations at which solvers are stopped to see how near they are.
_STEPS: Final = tuple(np.unique(np.geomspace(1, 3_000, 18).astype(int)).tolist())

#: The solvers that are drawn.
_ITERATIVE: Final = (*CHAINS[SolverType.CVXPY], CHAINS[SolverType.SCIPY][0])

#: Share of the times that ask for the least and for the largest size that is drawn.
_ASKED: Final = 0.9

#: Sizes that curves are drawn at.
_N_SIZES: Final = 16

#: Share of a coefficient's values that the heatmap's scale spans: single spikes would leave one colour for the rest.
_SPANNED: Final = 0.98

#: A relative gap below this is rounding.
_NO_GAP: Final = 1e-16


def plot_impact_curves(
    slippage: pd.DataFrame, model: ImpactModel, *, side: str = "buy", backend: Backend = "matplotlib"
) -> Any:
    """Draw mean slippage by size with the model's mean curve, and shade the sizes that books did not hold.

    Parameters
    ----------
    slippage : DataFrame
        As `ImpactModel.estimate_slippage` returns it.
    model : ImpactModel
        Fitted to it.

    Returns
    -------
    matplotlib.figure.Figure or plotly.graph_objects.Figure
    """
    rows = slippage[slippage["side"] == side].copy()
    if not len(rows):
        raise ValidationError(MALFORMED, f"side: {side!r} is not in the table", "give 'buy' or 'sell'")
    sizes, slippage_by, bound_by, held_by = _on_one_grid(rows)
    held = held_by.mean(axis=0)
    # Where fewer minutes hold a size, their mean is that of the deep ones.
    kept = held >= BookSettings().min_coverage
    means = [float(np.mean(column[ok])) for column, ok in zip(slippage_by.T[kept], held_by.T[kept], strict=True)]
    grid = np.linspace(0.0, float(sizes[-1]), 200)
    curve = model.predict_impact(grid, side=side)
    series = [
        Series("lower bound, all minutes", sizes.tolist(), bound_by.mean(axis=0).tolist(), "rings", 3),
        Series("held by the books, mean", sizes[kept].tolist(), means, "points", 0),
        Series(f"{model.model_type}, mean curve", grid.tolist(), curve.tolist(), number=1),
    ]
    if not kept.all():
        # From the last size that is known to be held, so that a single censored size has a width too.
        first = int(np.argmin(kept))
        span = [float(sizes[max(first - 1, 0)]), float(sizes[-1])]
        series.append(Series("censored: held in fewer than 95% of the intervals", span, [], "region"))
    panel = Panel("size (shares)", _PRICE, tuple(series))
    n_times = len(held_by)
    return Picture(f"Impact of one trade to {side}, mean of {n_times:,} intervals", (panel,)).draw(backend)


def _on_one_grid(rows: pd.DataFrame) -> tuple[Float, Float, Float, npt.NDArray[np.bool_]]:
    """Return slippage, lower bound and whether it was held by (time, size), on sizes that nearly all times asked for.

    Grids differ from minute to minute, and a mean over those that happen to ask for a size would be a mean of
    other minutes at each size; so every minute is read off at the same sizes.
    """
    by_time = [part.sort_values("size") for _, part in rows.groupby("time", sort=True)]
    low = float(np.quantile([part["size"].iloc[0] for part in by_time], _ASKED))
    high = float(np.quantile([part["size"].iloc[-1] for part in by_time], 1.0 - _ASKED))
    sizes = np.geomspace(min(low, high), max(low, high), _N_SIZES)
    columns: dict[str, list[Float]] = {"slippage": [], "lower_bound": [], "coverage": []}
    for part in by_time:
        at = part["size"].to_numpy(np.float64)
        for name, values in columns.items():
            values.append(np.interp(sizes, at, part[name].to_numpy(np.float64)))
    slippage, bound, coverage = (np.stack(values) for values in columns.values())
    return sizes, slippage, bound, (coverage >= BookSettings().min_coverage) & np.isfinite(slippage)


def plot_coefficient(model: ImpactModel, *, term: str = "beta", backend: Backend = "matplotlib") -> Any:
    """Draw a coefficient by interval, as a heatmap over the sides and as lines.

    Parameters
    ----------
    model : ImpactModel
        Fitted.
    term : str
        half_spread, beta, alpha or eta.
    """
    if term not in _TERMS:
        raise ValidationError(MALFORMED, f"term: {term!r} is none", f"give one of {', '.join(_TERMS)}")
    table = model.fitted.params()["intervals"].pivot_table(index="time", columns="side", values=term)
    largest = float(np.nanmax(table.to_numpy(), initial=0.0))
    power = 3 * math.floor(math.log10(largest) / 3) if largest > 0.0 else 0
    table *= 10.0**-power
    unit = f"{term} ({'' if power == 0 else f'1e{power:+03d} '}{_TERMS[term]})"
    values = table.to_numpy().T
    heat = Heat(list(table.index), list(table.columns), values, unit, float(np.nanquantile(values, _SPANNED)) or None)
    lines = tuple(
        Series(str(side), list(table.index), table[side].tolist(), number=i) for i, side in enumerate(table.columns)
    )
    panels = (Panel("time (UTC)", "side", heat=heat), Panel("time (UTC)", unit, lines))
    first, last = (time.strftime("%Y-%m-%d") for time in (table.index[0], table.index[-1]))
    days = first if first == last else f"{first} to {last}"
    return Picture(f"{term} by interval, {model.model_type} model, {days}", panels).draw(backend)


def plot_allocation(allocator: TradeAllocator, result: dict[str, Any], *, backend: Backend = "matplotlib") -> Any:
    """Draw a schedule against equal parts and its caps.

    Parameters
    ----------
    result : dict
        As `TradeAllocator.optimize` returns it.
    """
    intervals = list(range(allocator.n_intervals + 1))
    series = [
        Series("least impact", intervals, result["optimal_allocation"].tolist(), "steps", 0),
        Series("equal parts (TWAP)", intervals, allocator.equal_allocation().tolist(), "steps", 1),
    ]
    if np.isfinite(allocator.problem.cap).any():
        cap = np.where(np.isfinite(allocator.problem.cap), allocator.problem.cap, np.nan)
        series.append(Series("cap", intervals, cap.tolist(), "steps", 2))
    said = f"{result['improvement_pct']:.1f}% less impact than equal parts, in hindsight"
    title = f"{allocator.total_shares:,.0f} shares, {allocator.side}: {said}"
    return Picture(title, (Panel(f"interval (of {allocator.n_intervals})", "quantity (shares)", tuple(series)),)).draw(
        backend
    )


def plot_cost_frontier(
    model: ImpactModel,
    total_shares: float,
    n_intervals: int = 50,
    *,
    side: str = "buy",
    risks: Sequence[float] | None = None,
    backend: Backend = "matplotlib",
) -> Any:
    """Draw expected impact against risk as the aversion to it grows (Almgren and Chriss 2000, sec. 2).

    Parameters
    ----------
    model : ImpactModel
        Fitted.
    risks : sequence of float, optional
        Weights of squared inventory; by default a range around the curve's own scale.
    """
    config = OptimizerConfig(default_solver=SolverType.EXACT)
    plain = TradeAllocator(model, total_shares, n_intervals, config, side=side)
    if risks is None:
        scale = plain.optimize()["optimal_cost"] / (total_shares**2 * n_intervals)
        risks = (scale * np.geomspace(1e-2, 1e2, 17)).tolist()
    cost, held = [], []
    for risk in [0.0, *risks]:
        allocator = TradeAllocator(model, total_shares, n_intervals, config, side=side, risk=risk)
        x = allocator.optimize()["optimal_allocation"]
        left = total_shares - np.cumsum(x)
        cost.append(schedule_cost(allocator.problem, x))
        held.append(float(np.sqrt(left @ left)))
    equal = plain.equal_allocation()
    left = total_shares - np.cumsum(equal)
    series = (
        Series("least cost by risk aversion", held, cost, "both", 0),
        Series("no aversion", held[:1], cost[:1], "rings", 1),
        Series("equal parts (TWAP)", [float(np.sqrt(left @ left))], [schedule_cost(plain.problem, equal)], "points", 2),
    )
    panel = Panel("root of the sum of squared inventory (shares)", "expected impact (currency)", series)
    title = f"Cost against risk, {total_shares:,.0f} shares in {n_intervals} intervals, {side}"
    return Picture(title, (panel,)).draw(backend)


def plot_convergence(
    allocator: TradeAllocator, *, solvers: Sequence[str] = _ITERATIVE, backend: Backend = "matplotlib"
) -> Any:
    """Draw how far from the least cost each solver is after this many of its iterations.

    An iteration of one solver is not the work of another's.

    Parameters
    ----------
    solvers : sequence of str
        CVXPY's and SciPy's; those that cannot take the problem are left out.
    """
    problem, total = allocator.problem, allocator.total_shares
    best = objective(problem, total, allocator.optimize(SolverType.EXACT)["optimal_allocation"])
    series = []
    for number, name in enumerate(solvers):
        if name not in _ITERATIVE:
            raise ValidationError(MALFORMED, f"solvers: {name!r} cannot be stopped", f"choose {', '.join(_ITERATIVE)}")
        usual = get_solver(name).max_iterations  # type: ignore[attr-defined]  # the iterative ones have it
        steps, gaps = [], []
        for limit in _STEPS:
            # Half an iteration more, so that rounding takes none away.
            found = SOLVERS.get(name)((limit + 0.5) / usual).solve(problem, total) if limit <= usual else None
            if isinstance(found, Solution):
                steps.append(limit)
                gaps.append(max(objective(problem, total, found.qty) / best - 1.0, _NO_GAP))
        if steps:
            series.append(Series(name, steps, gaps, "both", number))
    panel = Panel("iterations", "cost above the optimum (relative)", tuple(series), log_x=True, log_y=True)
    return Picture(f"Convergence of solvers, {allocator.n_intervals} intervals", (panel,)).draw(backend)

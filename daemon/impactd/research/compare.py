"""Strategies, sizes and models side by side, on recorded and on generated days.

All savings are hindsight figures: each schedule knows the day that it is
priced on.  A solver that fails, runs out of time or is not installed has its
row all the same, with what it said.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from impactd.core.allocator.cost import schedule_cost
from impactd.core.allocator.solvers.registry import SOLVERS
from impactd.core.inputs.ticks import Float
from impactd.core.model.kinds.registry import MODEL_KINDS
from impactd.research.books_io import read_books
from impactd.research.errors import MALFORMED, ModelFittingError, OptimizationError, ValidationError
from impactd.research.fitted import NONLINEAR, model_types
from impactd.research.impact_model import ImpactModel
from impactd.research.options import ModelConfig, OptimizerConfig, SolverType
from impactd.research.trade_allocator import TradeAllocator

#: Strategy: the model whose curves it knows, and the solver.
STRATEGIES: Final = {
    **{f"linear, {solver}": ("linear", solver) for solver in SOLVERS.names()},
    f"{NONLINEAR}, {SolverType.EXACT.value}": (NONLINEAR, SolverType.EXACT.value),
}

#: Models that compete: name, the API's model and whether it has a half-spread.
MODELS: Final = {
    "linear, through the origin": ("linear", False),
    **{kind: (kind, True) for kind in MODEL_KINDS.names()},
}

TOTALS: Final = (50_000.0, 75_000.0, 100_000.0, 150_000.0, 200_000.0)

#: Shape of the generated day that recorded ones are compared with.
GENERATED: Final = {"n_snapshots": 390, "n_levels": 10}


@dataclass(frozen=True, slots=True, eq=False)
class Day:
    """One day's slippage.

    Attributes
    ----------
    name : str
        The file's, or ``generated``.
    slippage : DataFrame
        As `ImpactModel.estimate_slippage` returns it.
    """

    name: str
    recorded: bool
    slippage: pd.DataFrame


def generated_day(seed: int = 0, **shape: int) -> Day:
    """Return a generated day; `shape` overrides `GENERATED`."""
    model = ImpactModel(config=ModelConfig(seed=seed))
    books = model.generate_synthetic_orderbook(**{**GENERATED, **shape})
    return Day(f"generated (seed {seed})", recorded=False, slippage=model.estimate_slippage(books))


def recorded_day(path: str | Path, *, codec: str | None = None, symbol: str | None = None) -> Day:
    """Return a recorded day by minute, as the service estimates it."""
    books = read_books(path, codec=codec, symbol=symbol)
    return Day(Path(path).name, recorded=True, slippage=ImpactModel().estimate_slippage(books, interval="1min"))


def compare_strategies(
    slippage: pd.DataFrame,
    total_shares: float = 100_000,
    n_intervals: int = 50,
    *,
    side: str = "buy",
    config: OptimizerConfig | None = None,
) -> pd.DataFrame:
    """Return each strategy's cost on one history.

    Parameters
    ----------
    config : OptimizerConfig, optional
        Its time limit holds for each solver; no solver is replaced by another.

    Returns
    -------
    DataFrame
        A row a strategy, equal parts first: ``strategy``, ``model``,
        ``total_impact`` and ``improvement_pct`` (against equal parts) under the
        model's own cost, ``nonlinear_impact`` under the nonlinear one for all,
        ``spread`` (standard deviation of the interval quantities in parts of
        their mean), ``seconds``, ``kkt_residual``, ``outcome``, ``text``.
    """
    config = replace(config or OptimizerConfig(), default_solver=SolverType.EXACT)
    allocators = {
        model: TradeAllocator(_fitted(model, slippage), total_shares, n_intervals, config, side=side)
        for model in ("linear", NONLINEAR)
    }
    yardstick = allocators[NONLINEAR].problem
    rows = []
    for model, allocator in allocators.items():
        equal = allocator.equal_allocation()
        cost = schedule_cost(allocator.problem, equal)
        rows.append(_row(f"{model}, equal parts", model, equal, cost, cost, schedule_cost(yardstick, equal)))
    for strategy, (model, solver) in STRATEGIES.items():
        begin = time.monotonic()
        try:
            result = allocators[model].solve_with(solver)
        except OptimizationError as error:
            last: dict[str, Any] = error.attempts[-1] if error.attempts else {"outcome": "failed", "text": str(error)}
            blank = {"strategy": strategy, "model": model, "seconds": time.monotonic() - begin}
            rows.append({**blank, "outcome": last["outcome"], "text": last["text"]})
            continue
        x = result["optimal_allocation"]
        row = _row(strategy, model, x, result["optimal_cost"], result["equal_cost"], schedule_cost(yardstick, x))
        rows.append({**row, "seconds": result["seconds"], "kkt_residual": result["certificate"]["kkt_residual"]})
    return pd.DataFrame(rows)


def _row(strategy: str, model: str, x: Float, cost: float, equal: float, nonlinear: float) -> dict[str, Any]:
    return {
        "strategy": strategy,
        "model": model,
        "total_impact": cost,
        "improvement_pct": 100.0 * (1.0 - cost / equal),
        "nonlinear_impact": nonlinear,
        "spread": float(np.std(x) / np.mean(x)),
        "seconds": 0.0,
        "kkt_residual": np.nan,
        "outcome": "solved",
        "text": "",
    }


def sensitivity(
    slippage: pd.DataFrame,
    totals: Iterable[float] = TOTALS,
    n_intervals: int = 50,
    *,
    side: str = "buy",
) -> pd.DataFrame:
    """Return the saving over a range of total shares.

    Returns
    -------
    DataFrame
        A row a (total, model): ``total_shares``, ``model``, ``equal_impact``,
        ``total_impact``, ``improvement_pct``, ``impact_per_share`` and
        ``extrapolated_pct``, the part of the total in intervals beyond the
        fitted sizes.  Linear through the origin, the saving is the same for all.
    """
    config = OptimizerConfig(default_solver=SolverType.EXACT)
    rows = []
    for model in model_types():
        fitted = _fitted(model, slippage)
        for total in totals:
            result = TradeAllocator(fitted, total, n_intervals, config, side=side).optimize()
            rows.append(
                {
                    "total_shares": total,
                    "model": model,
                    "equal_impact": result["equal_cost"],
                    "total_impact": result["optimal_cost"],
                    "improvement_pct": result["improvement_pct"],
                    "impact_per_share": result["optimal_cost"] / total,
                    "extrapolated_pct": 100.0 * result["extrapolated_qty"] / total,
                }
            )
    return pd.DataFrame(rows)


def choose_model(slippage: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Return the model with the least error out of sample, and the scores of all.

    Returns
    -------
    name : str
        Of `MODELS`.
    scores : DataFrame
        A row a model: ``model``, ``rmse`` (of sizes left out, price per share),
        ``test_r2``, ``test_r2_unseen_times``, ``train_r2``, ``n_intervals``,
        ``outcome``.

    Raises
    ------
    ModelFittingError
        If none can be fitted.
    """
    rows: list[dict[str, Any]] = []
    failure: ModelFittingError | None = None
    for name, (kind, intercept) in MODELS.items():
        try:
            metrics = ImpactModel(kind, ModelConfig(intercept=intercept)).fit_model(slippage)["metrics"]
        except ModelFittingError as error:
            failure = error
            rows.append({"model": name, "outcome": str(error)})
            continue
        kept = ("rmse", "test_r2", "test_r2_unseen_times", "train_r2", "n_intervals")
        rows.append({"model": name, **{key: metrics[key] for key in kept}, "outcome": "fitted"})
    if failure is not None and all(row["outcome"] != "fitted" for row in rows):
        raise failure
    scores = pd.DataFrame(rows)
    return str(scores["model"].iloc[int(scores["rmse"].argmin())]), scores


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """All that is compared, on several days.

    Attributes
    ----------
    strategies, models : DataFrame
        With a column ``day`` in front.
    chosen : dict of str to str
        Model chosen by day.
    differences : DataFrame
        A row a (recorded day, strategy): improvement there, on the generated day, and the difference.
    """

    strategies: pd.DataFrame
    models: pd.DataFrame
    chosen: dict[str, str]
    differences: pd.DataFrame


def compare_days(
    days: Sequence[Day],
    total_shares: float = 100_000,
    n_intervals: int = 50,
    *,
    side: str = "buy",
    config: OptimizerConfig | None = None,
) -> Comparison:
    """Compare strategies and models on several days, recorded ones against generated ones.

    Raises
    ------
    ValidationError
        1001 without a day.
    """
    if not days:
        raise ValidationError(MALFORMED, "days: there is none", "give at least one")
    strategies, models, chosen = [], [], {}
    for day in days:
        table = compare_strategies(day.slippage, total_shares, n_intervals, side=side, config=config)
        strategies.append(_with_day(day.name, table))
        chosen[day.name], scores = choose_model(day.slippage)
        models.append(_with_day(day.name, scores))
    by_day = {day.name: table for day, table in zip(days, strategies, strict=True)}
    rows = []
    for real in (day for day in days if day.recorded):
        for made in (day for day in days if not day.recorded):
            both = by_day[real.name].merge(by_day[made.name], on="strategy", suffixes=("", "_generated"))
            rows += [
                {
                    "day": real.name,
                    "against": made.name,
                    "strategy": row["strategy"],
                    "improvement_pct": row["improvement_pct"],
                    "generated_pct": row["improvement_pct_generated"],
                    "difference_pct": row["improvement_pct"] - row["improvement_pct_generated"],
                }
                for row in both.to_dict("records")
            ]
    return Comparison(
        pd.concat(strategies, ignore_index=True), pd.concat(models, ignore_index=True), chosen, pd.DataFrame(rows)
    )


def _with_day(name: str, table: pd.DataFrame) -> pd.DataFrame:
    table.insert(0, "day", name)
    return table


def _fitted(model_type: str, slippage: pd.DataFrame) -> ImpactModel:
    model = ImpactModel(model_type)
    model.fit_model(slippage)
    return model

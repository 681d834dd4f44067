"""Strategies, sizes and models side by side, on recorded and on generated days.

All savings are hindsight figures: each schedule knows the day that it is
priced on.  A solver that fails, runs out of time or is not installed still has a row, with its message.
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
from impactd.core.base.session import Session
from impactd.core.base.settings import SessionRule
from impactd.core.inputs.ticks import Float
from impactd.core.model.kinds.registry import MODEL_KINDS
from impactd.research.books_io import read_books
from impactd.research.errors import MALFORMED, ModelFittingError, OptimizationError, ValidationError
from impactd.research.fitted import NONLINEAR, model_types
from impactd.research.frames import times_ns
from impactd.research.impact_model import ImpactModel
from impactd.research.options import ModelConfig, OptimizerConfig, SolverType
from impactd.research.trade_allocator import TradeAllocator, spread_over
from impactd.research.walked import Walks

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

#: Of `compare_strategies`.
_COLUMNS: Final = (
    "strategy",
    "model",
    "total_impact",
    "improvement_pct",
    "walked_cost",
    "walked_bps",
    "nonlinear_impact",
    "spread",
    "seconds",
    "kkt_residual",
    "outcome",
    "text",
)

#: What a day covers where no session is given.
ALL_HOURS: Final = "all that the data have"

#: Shape of the generated day that recorded ones are compared with.
GENERATED: Final = {"n_snapshots": 390, "n_levels": 10}


@dataclass(frozen=True, slots=True, eq=False)
class Day:
    """One day's slippage."""

    #: The file's, or ``generated``.
    name: str
    recorded: bool
    #: As `ImpactModel.estimate_slippage` returns it.
    slippage: pd.DataFrame
    #: The session that `slippage` covers, in words.
    hours: str = ALL_HOURS
    #: The books themselves; None for a generated day.
    walks: Walks | None = None


def generated_day(seed: int = 0, **shape: int) -> Day:
    """Return a generated day; `shape` overrides `GENERATED`."""
    model = ImpactModel(config=ModelConfig(seed=seed))
    books = model.generate_synthetic_orderbook(**{**GENERATED, **shape})
    return Day(f"generated (seed {seed})", recorded=False, slippage=model.estimate_slippage(books))


def recorded_day(
    path: str | Path,
    *,
    codec: str | None = None,
    symbol: str | None = None,
    session: SessionRule | None = None,
    hours: str | None = None,
) -> Day:
    """Return a recorded day by minute, as the service estimates it.

    Parameters
    ----------
    session : SessionRule, optional
        Only its minutes; all by default.
    hours : str, optional
        The session, in words.
    """
    books = read_books(path, codec=codec, symbol=symbol)
    slippage = ImpactModel().estimate_slippage(books, interval="1min")
    if session is not None:
        times = slippage["time"].drop_duplicates()
        opens = Session(session)
        is_open = [opens.is_open(ts) for ts in times_ns(times).tolist()]
        attrs = slippage.attrs
        slippage = slippage[slippage["time"].isin(times[is_open])].reset_index(drop=True)
        slippage.attrs = attrs
        if not len(slippage):
            raise ValidationError(MALFORMED, f"{path}: no book within the session", "check --session and --tz")
    words = ALL_HOURS if hours is None else hours
    return Day(Path(path).name, recorded=True, slippage=slippage, hours=words, walks=Walks.of(books))


def compare_strategies(
    slippage: pd.DataFrame,
    total_shares: float = 100_000,
    n_intervals: int = 50,
    *,
    side: str = "buy",
    config: OptimizerConfig | None = None,
    chosen: str | None = None,
    walks: Walks | None = None,
) -> pd.DataFrame:
    """Return each strategy's cost on one history.

    Parameters
    ----------
    config : OptimizerConfig, optional
        Its time limit holds for each solver; no solver is replaced by another.
    chosen : str, optional
        Of `MODELS`: also the exact schedule under this model.
    walks : Walks, optional
        The day's books, to price the schedules at.

    Returns
    -------
    DataFrame
        One row per strategy, equal parts first: ``strategy``, ``model``,
        ``total_impact`` and ``improvement_pct`` (against equal parts) under the
        model's own cost, ``nonlinear_impact`` under the nonlinear one for all,
        ``walked_cost`` and ``walked_bps`` at the books, each interval's
        quantity at an even pace over its minutes (as replay and backtest price it; NaN without `walks`),
        ``spread`` (standard deviation of the interval quantities in parts of
        their mean), ``seconds``, ``kkt_residual``, ``outcome``, ``text``.
    """
    config = replace(config or OptimizerConfig(), default_solver=SolverType.EXACT)
    models = {name: ImpactModel(name, ModelConfig(intercept=False)) for name in ("linear", NONLINEAR)}
    strategies = dict(STRATEGIES)
    if chosen is not None and MODELS[chosen][1]:
        models[f"{chosen} with a half-spread"] = ImpactModel(MODELS[chosen][0], ModelConfig(intercept=True))
        strategies[f"{chosen} with a half-spread, exact"] = f"{chosen} with a half-spread", SolverType.EXACT.value
    allocators: dict[str, TradeAllocator] = {}
    for name, fitted in models.items():
        fitted.fit_model(slippage)
        allocators[name] = TradeAllocator(fitted, total_shares, n_intervals, config, side=side)
    price = _AtTheBooks(walks, models["linear"], side)
    yardstick = allocators[NONLINEAR].problem
    rows = []
    for model, allocator in allocators.items():
        equal = allocator.equal_allocation()
        cost = schedule_cost(allocator.problem, equal)
        row = _row(f"{model}, equal parts", model, equal, cost, cost, schedule_cost(yardstick, equal))
        rows.append(row | price.of(equal))
    for strategy, (model, solver) in strategies.items():
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
        rows.append(
            {**row, **price.of(x), "seconds": result["seconds"], "kkt_residual": result["certificate"]["kkt_residual"]}
        )
    return pd.DataFrame(rows, columns=list(_COLUMNS))


class _AtTheBooks:
    """Prices schedules of equal intervals at the books of the minutes that a model was fitted to."""

    def __init__(self, walks: Walks | None, fitted: ImpactModel, side: str) -> None:
        self._walks, self._side = walks, side
        self._starts = times_ns(pd.Series(fitted.fitted.side(side).time))

    def of(self, x: Float) -> dict[str, float]:
        """Return the cost of `x`, shares by interval, in currency and basis points of the value on arrival."""
        if self._walks is None:
            return {"walked_cost": np.nan, "walked_bps": np.nan}
        cost = float(self._walks.costs(self._starts, spread_over(x, len(self._starts)), self._side)[0].sum())
        arrival = self._walks.prevailing.mid_from(int(self._starts[0])) or np.nan
        return {"walked_cost": cost, "walked_bps": 1e4 * cost / (float(x.sum()) * arrival)}


def answer(strategies: pd.DataFrame, total_shares: float, n_intervals: int, side: str) -> str:
    """Return what an order costs on one day, in a sentence: at an even pace, and the least in hindsight."""
    solved = strategies[strategies["outcome"] == "solved"]
    if solved["walked_cost"].notna().any():
        even, best = solved.iloc[0], solved.iloc[int(solved["walked_cost"].argmin())]
        where = "at the books of each minute"
        costs = [f"{row['walked_cost']:,.2f} ({row['walked_bps']:.2f} bps)" for row in (even, best)]
    else:
        mine = solved[solved["model"] == "linear"]
        even, best = mine.iloc[0], mine.iloc[int(mine["total_impact"].argmin())]
        where = "by the linear model through the origin"
        costs = [f"{row['total_impact']:,.2f}" for row in (even, best)]
    return (
        f"{side} {total_shares:,.10g}: {costs[0]} at an even pace {where}, "
        f"{costs[1]} in hindsight over {n_intervals} intervals ({best['strategy']})."
    )


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
        One row per model: ``model``, ``rmse`` (of sizes left out, price per share),
        ``test_r2``, ``test_r2_unseen_times``, ``train_r2``, ``n_intervals``,
        ``outcome``.
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
    """All that is compared, on several days."""

    #: With a column ``day`` in front.
    strategies: pd.DataFrame
    models: pd.DataFrame
    chosen: dict[str, str]
    #: A row a (recorded day, strategy): improvement there, on the generated day, and the difference.
    differences: pd.DataFrame


def compare_days(
    days: Sequence[Day],
    total_shares: float = 100_000,
    n_intervals: int = 50,
    *,
    side: str = "buy",
    config: OptimizerConfig | None = None,
) -> Comparison:
    """Compare strategies and models on several days, recorded ones against generated ones."""
    if not days:
        raise ValidationError(MALFORMED, "days: there is none", "give at least one")
    strategies, models, chosen = [], [], {}
    for day in days:
        chosen[day.name], scores = choose_model(day.slippage)
        models.append(_with_day(day.name, scores))
        table = compare_strategies(
            day.slippage,
            total_shares,
            n_intervals,
            side=side,
            config=config,
            chosen=chosen[day.name],
            walks=day.walks,
        )
        strategies.append(_with_day(day.name, table))
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
    """Return a fitted model; 'linear' and the nonlinear one pass through the origin."""
    model = ImpactModel(model_type, ModelConfig(intercept=model_type not in {"linear", NONLINEAR}))
    model.fit_model(slippage)
    return model

"""A study as a report: the data, the model that fits them, its schedules, and what failed.

The same inputs and seed give the same bytes: no time of day and no duration
is in a report (`impactd compare` shows what solvers take).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape

from impactd.__about__ import __version__
from impactd.core.base.settings import ModelSettings
from impactd.core.model.kinds.registry import impact_model
from impactd.research.compare import MODELS, TOTALS, Day, answer, choose_model, compare_days, sensitivity
from impactd.research.differences import of_schedule
from impactd.research.errors import MALFORMED, ResearchError, ValidationError
from impactd.research.impact_model import ImpactModel
from impactd.research.options import ModelConfig, OptimizerConfig, SolverType
from impactd.research.picture import themed, to_svg
from impactd.research.plots import (
    plot_allocation,
    plot_coefficient,
    plot_convergence,
    plot_cost_frontier,
    plot_impact_curves,
)
from impactd.research.trade_allocator import TradeAllocator

#: What every figure and table rests on; a reader should meet it before the numbers.
ASSUMPTIONS: Final = tuple(
    """\
Costs are temporary impact over mid, computed from the books: the cost of taking a quantity at once, \
one walk per interval. Own orders do not move later books.
Each interval's curve is fitted to the sizes that the books held for at least 95% of the interval; larger sizes are \
extrapolated, and the tables state which share of a schedule is.
Savings are in hindsight: each schedule knows the day that it is priced on, and the noise in each curve \
makes the saving look larger than it is. A forecast earns less.
Generated days serve to compare solvers; they are never evidence of accuracy.""".splitlines()
)

#: Columns of tables, with their headings.
_STRATEGY_COLUMNS: Final = {
    "strategy": "strategy",
    "total_impact": "total impact",
    "improvement_pct": "improvement, %",
    "walked_cost": "at the books",
    "walked_bps": "at the books, bps",
    "nonlinear_impact": "under the nonlinear cost",
    "spread": "spread of quantities",
    "kkt_residual": "certificate (KKT residual)",
    "outcome": "outcome",
}
_MODEL_COLUMNS: Final = {
    "model": "model",
    "rmse": "RMSE, price per share",
    "test_r2": "R2, unseen sizes",
    "test_r2_unseen_times": "R2, unseen times",
    "train_r2": "R2, in sample",
    "n_intervals": "intervals",
    "outcome": "outcome",
}
_DIFFERENCE_COLUMNS: Final = {
    "day": "day",
    "strategy": "strategy",
    "improvement_pct": "improvement, %",
    "generated_pct": "on the generated day, %",
    "difference_pct": "difference, points",
}
_SENSITIVITY_COLUMNS: Final = {
    "total_shares": "shares",
    "model": "model",
    "equal_impact": "equal parts",
    "total_impact": "least impact",
    "improvement_pct": "improvement, %",
    "impact_per_share": "impact per share",
    "extrapolated_pct": "extrapolated, %",
}
_HOUR_COLUMNS: Final = {
    "hour": "hour (UTC)",
    "side": "side",
    "half_spread_bps": "half-spread, bps",
    "impact_bps": "impact of {:,.0f} shares, bps",
    "coverage_pct": "coverage, %",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table with formatted cells."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class FigureFile:
    """A chart as SVG."""

    name: str
    caption: str
    svg: str


@dataclass(frozen=True, slots=True)
class DayReport:
    """Results of one day."""

    name: str
    recorded: bool
    facts: tuple[tuple[str, str], ...]
    #: What the order costs, in a sentence.
    answer: str
    #: What sets the strategies' costs apart from those of a replay: names and texts.
    apart: tuple[tuple[str, str], ...]
    chosen: str
    modelling: tuple[Table, ...]
    strategies: tuple[Table, ...]
    figures: tuple[FigureFile, ...]
    failed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A whole report, to be written as HTML and as Markdown."""

    title: str
    #: The order of the schedules, in words.
    order: str
    assumptions: tuple[str, ...]
    #: Recorded days first.
    days: tuple[DayReport, ...]
    #: Recorded less generated; None without a recorded day.
    differences: Table | None
    release: str


def make_report(
    days: Sequence[Day],
    total_shares: float = 100_000,
    n_intervals: int = 50,
    *,
    side: str = "buy",
    config: OptimizerConfig | None = None,
) -> Report:
    """Return the report on several days.

    Parameters
    ----------
    days : sequence of Day
        From `impactd.research.compare.recorded_day` and `generated_day`.
    side : str
        'buy' or 'sell'.
    config : OptimizerConfig, optional
        Its time limit holds for each solver.
    """
    compared = compare_days(days, total_shares, n_intervals, side=side, config=config)
    ordered = [*(day for day in days if day.recorded), *(day for day in days if not day.recorded)]
    reports = [
        _day_report(day, compared.strategies[compared.strategies["day"] == day.name], total_shares, n_intervals, side)
        for day in ordered
    ]
    differences = compared.differences
    return Report(
        title="Market impact: models and strategies",
        order=f"{side} {total_shares:,.10g} shares in {n_intervals} equal intervals of the day",
        assumptions=ASSUMPTIONS,
        days=tuple(reports),
        differences=_table("Recorded minus generated", differences, _DIFFERENCE_COLUMNS) if len(differences) else None,
        release=__version__,
    )


def write_report(report: Report, out: Path) -> list[Path]:
    """Write ``report.html`` with its charts inside, and ``report.md`` with the charts as files."""
    environment = page_environment()
    files = {"report.html": environment.get_template("report.html.j2").render(report=report)}
    environment.filters["cell"] = _markdown_cell
    files["report.md"] = environment.get_template("report.md.j2").render(report=report)
    files |= {f"{figure.name}.svg": figure.svg for day in report.days for figure in day.figures}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (out / name).write_text(text, "utf-8")
    except OSError as error:
        raise ValidationError(MALFORMED, f"{out}: {error.strerror}", "name a directory that can be written") from error
    return [out / name for name in files]


def page_environment() -> Environment:
    """Return what renders the templates; colours and components are those of the live page."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("impactd.research"), PackageLoader("impactd.shell", "page")]),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["themed"] = themed
    return environment


def _day_report(day: Day, strategies: pd.DataFrame, total: float, n_intervals: int, side: str) -> DayReport:
    chosen, scores = choose_model(day.slippage)
    kind, intercept = MODELS[chosen]
    model = ImpactModel(kind, ModelConfig(intercept=intercept))
    model.fit_model(day.slippage)
    allocator = TradeAllocator(model, total, n_intervals, OptimizerConfig(default_solver=SolverType.EXACT), side=side)
    term = "beta" if impact_model(ModelSettings(kind=kind)).has_linear_term else "eta"
    stem = "".join(c if c.isalnum() else "-" for c in day.name.split(".")[0]).strip("-")
    drawn: dict[str, tuple[Callable[[], Any], str]] = {
        "curves": (
            lambda: plot_impact_curves(day.slippage, model, side=side),
            "Impact by size: means over the day, the fitted mean curve, and the sizes beyond the books' depth.",
        ),
        "coefficient": (lambda: plot_coefficient(model, term=term), f"{term} of the {chosen} model by interval."),
        "allocation": (
            lambda: plot_allocation(allocator, allocator.optimize()),
            "The schedule of least impact and equal parts; it knows the day.",
        ),
        "frontier": (
            lambda: plot_cost_frontier(model, total, n_intervals, side=side),
            "Impact against risk as risk aversion grows.",
        ),
        "convergence": (
            lambda: plot_convergence(allocator),
            "Distance from the optimum by iterations.",
        ),
    }
    figures, failed = [], []
    for name, (draw, caption) in drawn.items():
        try:
            figures.append(FigureFile(f"{stem}-{name}", caption, to_svg(draw(), f"{stem}-{name}")))
        except ResearchError as error:
            failed.append(f"figure {name}: {error}")
    failed += [
        f"{row['strategy']}: {row['outcome']}: {row['text']}"
        for row in strategies.to_dict("records")
        if row["outcome"] != "solved"
    ]
    unfitted = scores[scores["outcome"] != "fitted"]
    failed += [f"model {row['model']}: {row['outcome']}" for row in unfitted.to_dict("records")]
    failed += [f"{count:,} snapshots excluded: {reason}" for reason, count in day.slippage.attrs["rejected"].items()]
    totals = sorted({*TOTALS, total})
    return DayReport(
        name=day.name,
        recorded=day.recorded,
        facts=_facts(day),
        answer=answer(strategies, total, n_intervals, side),
        apart=tuple(
            of_schedule(n_fitted=day.slippage["time"].nunique(), n_intervals=n_intervals, intercept=False).items()
        ),
        chosen=chosen,
        modelling=(_table("Models, by their error on unseen sizes", scores, _MODEL_COLUMNS), _by_hour(day.slippage)),
        strategies=(
            _table("Strategies", strategies, _STRATEGY_COLUMNS),
            _table("By total shares", sensitivity(day.slippage, totals, n_intervals, side=side), _SENSITIVITY_COLUMNS),
        ),
        figures=tuple(figures),
        failed=tuple(failed),
    )


def _facts(day: Day) -> tuple[tuple[str, str], ...]:
    rows = day.slippage
    times = rows["time"]
    mids = rows.groupby("time", sort=True)["mid"].first()
    return (
        ("kind", "recorded" if day.recorded else "generated"),
        ("hours", day.hours),
        ("from", f"{times.min():%Y-%m-%d %H:%M} UTC"),
        ("to", f"{times.max():%Y-%m-%d %H:%M} UTC"),
        ("intervals", f"{mids.size:,}"),
        ("mid, lowest to highest", f"{mids.min():,.4f} to {mids.max():,.4f}"),
        ("sizes", f"{rows['size'].min():,.0f} to {rows['size'].max():,.0f} shares"),
        ("cells with full coverage", f"{100 * float((rows['coverage'] >= 0.95).mean()):.1f}%"),
    )


def _by_hour(slippage: pd.DataFrame) -> Table:
    """Return the half-spread and the impact of the median size by hour and side."""
    size = float(np.median(slippage["size"]))
    rows = []
    for (hour, side), part in slippage.groupby([slippage["time"].dt.strftime("%H"), "side"], sort=True):
        nearest = part.loc[(part["size"] - size).abs().groupby(part["time"]).idxmin()]
        rows.append(
            {
                "hour": f"{hour}:00",
                "side": side,
                "half_spread_bps": 1e4 * float((nearest["half_spread"] / nearest["mid"]).mean()),
                "impact_bps": 1e4 * float((nearest["lower_bound"] / nearest["mid"]).mean()),
                "coverage_pct": 100.0 * float(nearest["coverage"].mean()),
            }
        )
    columns = {name: text.format(size) for name, text in _HOUR_COLUMNS.items()}
    return _table("By hour", pd.DataFrame(rows), columns)


def _table(title: str, frame: pd.DataFrame, columns: dict[str, str]) -> Table:
    kept = frame.reindex(columns=list(columns))
    rows = tuple(tuple(_text(value) for value in row) for row in kept.itertuples(index=False))
    return Table(title, tuple(columns.values()), rows)


def _text(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return "-" if not np.isfinite(value) else f"{value:,.5g}"
    return "-" if value is None else str(value)


def _markdown_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

"""Pictures: titles, units and legends, on paper and in the browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure as PaperFigure
from plotly.graph_objects import Figure as BrowserFigure

from impactd import ImpactModel, OptimizerConfig, SolverType, TradeAllocator, ValidationError
from impactd.research.picture import COLOURS
from impactd.research.plots import (
    plot_allocation,
    plot_coefficient,
    plot_convergence,
    plot_cost_frontier,
    plot_impact_curves,
)

CONFIG = OptimizerConfig(default_solver=SolverType.EXACT)
MODEL = ImpactModel("quadratic")
SLIPPAGE = MODEL.estimate_slippage(MODEL.generate_synthetic_orderbook(40, 5), [100.0, 300.0, 500.0, 700.0, 1200.0])
MODEL.fit_model(SLIPPAGE)


def allocator(n_intervals: int = 20) -> TradeAllocator:
    return TradeAllocator(MODEL, 5_000, n_intervals, CONFIG, max_interval_qty=400)


PICTURES: dict[str, Callable[[Any], Any]] = {
    "impact curves": lambda backend: plot_impact_curves(SLIPPAGE, MODEL, backend=backend),
    "coefficient": lambda backend: plot_coefficient(MODEL, backend=backend),
    "allocation": lambda backend: plot_allocation(allocator(), allocator().optimize(), backend=backend),
    "frontier": lambda backend: plot_cost_frontier(MODEL, 5_000, 20, backend=backend),
    "convergence": lambda backend: plot_convergence(allocator(15), solvers=["clarabel", "slsqp"], backend=backend),
}


@pytest.mark.parametrize("name", PICTURES)
def test_picture_on_paper_has_title_units_and_legend(name: str, tmp_path: Path) -> None:
    figure = PICTURES[name]("matplotlib")
    assert isinstance(figure, PaperFigure)
    assert figure.get_suptitle()
    axes = [a for a in figure.axes if a.get_label() != "<colorbar>"]
    assert all(a.get_xlabel() and a.get_ylabel() for a in axes)
    assert any(a.get_legend() is not None for a in axes)
    figure.savefig(tmp_path / "picture.png", dpi=40)


@pytest.mark.parametrize("name", PICTURES)
def test_picture_in_browser_has_title_units_and_legend(name: str) -> None:
    figure = PICTURES[name]("plotly")
    assert isinstance(figure, BrowserFigure)
    assert figure.layout.title.text
    assert figure.layout.xaxis.title.text
    assert figure.layout.yaxis.title.text
    assert all(trace.name for trace in figure.data if trace.type == "scatter")
    assert "<div" in figure.to_html(include_plotlyjs=False, full_html=False)


@pytest.mark.parametrize("name", ["impact curves", "allocation", "convergence"])
def test_picture_lines_differ_in_colour_and_dash(name: str) -> None:
    lines = [line for line in PICTURES[name]("matplotlib").axes[0].get_lines() if line.get_linestyle() != "None"]
    assert {line.get_color() for line in lines} <= set(COLOURS)
    looks = {(line.get_color(), line.get_linestyle()) for line in lines}
    assert len(looks) == len(lines)


def test_picture_of_curves_shades_what_books_did_not_hold() -> None:
    labels = PICTURES["impact curves"]("matplotlib").axes[0].get_legend_handles_labels()[1]
    assert any("censored" in label for label in labels)


def test_picture_of_curves_one_censored_size_is_shaded_with_a_width() -> None:
    table = SLIPPAGE[SLIPPAGE["size"].isin([100.0, 300.0, 500.0])].assign(slippage=0.01, lower_bound=0.01, coverage=1.0)
    table.loc[table["size"] == 500.0, "coverage"] = 0.949
    axes = plot_impact_curves(table, MODEL).axes[0]
    handles, labels = axes.get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    region = next(handle for label, handle in shown.items() if "censored" in label)
    assert region.get_width() > 0.0
    assert region.get_x() >= max(shown["held by the books, mean"].get_xdata())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: plot_coefficient(MODEL, term="gamma"),
        lambda: plot_coefficient(MODEL, backend="gnuplot"),  # type: ignore[arg-type]  # wrong on purpose
        lambda: plot_impact_curves(SLIPPAGE, MODEL, side="up"),
        lambda: plot_convergence(allocator(), solvers=["simplex"]),
    ],
)
def test_picture_of_what_is_not_there_is_1001(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValidationError) as error:
        wrong()
    assert error.value.code == 1001

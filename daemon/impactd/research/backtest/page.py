"""A backtest as one HTML page that holds its pictures, for paper and browser.

The same figures give the same bytes.
"""

from __future__ import annotations

import io
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from impactd.research.backtest.evaluate import ENGINE
from impactd.research.backtest.figures import (
    plot_calibration,
    plot_capture,
    plot_coefficient,
    plot_path,
    plot_savings,
    plot_skill,
)
from impactd.research.backtest.report import percent, table
from impactd.research.backtest.run import Backtest
from impactd.research.report import page_environment

#: What readers call the kinds of window.
TITLES = {
    "windows": "Disjoint windows",
    "range": "One order over the whole range of hours",
    "session": "One order over the session",
}


def render(test: Backtest, report: dict[str, Any]) -> str:
    """Return the page.

    Parameters
    ----------
    test : Backtest
    report : dict
        Its figures.
    """
    drawn: list[tuple[str, Figure]] = [
        ("Share of the hindsight saving captured. What lies beyond the left edge is drawn at it.", plot_capture(report))
    ]
    for symbol in sorted({study.day.symbol for study in test.studies}):
        if any(o.priced.symbol == symbol and "windows" in o.priced.windows for o in test.outcomes):
            caption = f"{symbol}: what the engine saves against TWAP beside what hindsight would have."
            drawn.append((caption, plot_savings(test, symbol)))
    days: list[tuple[str, Figure]] = []
    for study in test.studies:
        name = f"{study.day.symbol} {study.day.name}"
        mine = [o for o in test.outcomes if (o.priced.symbol, o.priced.day) == (study.day.symbol, study.day.name)]
        longest = max(mine, key=lambda o: (len(o.paths["twap"]), o.priced.qty, o.priced.side == "buy"), default=None)
        if longest is not None and ENGINE in longest.paths:
            caption = f"{name}: plan against what was traded, and impact expected against what came."
            days.append((caption, plot_path(study, longest)))
        days.append((f"{name}: the slope that plans were made with, and each interval's own.", plot_coefficient(study)))
    judged = [("Forecasts of the impact of a tenth of the visible depth.", plot_skill(report))]
    if report["calibration"]:
        judged.append(("Costs inside of bands, by nominal level.", plot_calibration(report)))
    return (
        page_environment()
        .get_template("backtest.html.j2")
        .render(
            report=report,
            tables=[(_title(kind), rows[0], rows[1:]) for kind, rows in table(report)],
            sides=_sides(report),
            skill=_skill(report),
            calibration=_calibration(report),
            persistence=_persistence(report),
            scenarios=_scenarios(report),
            savings=[(text, _svg(figure, f"saving-{i}")) for i, (text, figure) in enumerate(drawn)],
            days=[(text, _svg(figure, f"day-{i}")) for i, (text, figure) in enumerate(days)],
            judged=[(text, _svg(figure, f"judged-{i}")) for i, (text, figure) in enumerate(judged)],
        )
    )


def _title(kind: str) -> str:
    plain = kind.removesuffix("_trimmed")
    return TITLES[plain] + (", without the first thirty and the last ten minutes" if plain != kind else "")


def _sides(report: dict[str, Any]) -> list[list[str]]:
    rows = [["symbol", "side", "windows", "TWAP", "engine", "hindsight", "capture", "beats TWAP", "beyond depth"]]
    for entry in report["pooled"]["by_symbol_side"]:
        found = entry["strategies"]
        own = found.get(ENGINE)
        if own is not None:
            costs = [f"{found[name]['cost_bps']:.2f} bps" for name in ("twap", ENGINE, "hindsight")]
            beats = f"{own['beat_twap']:.0%} of {own['windows']}"
            shares = [percent(own["capture"]), beats, percent(own["beyond_depth"])]
            rows.append([entry["symbol"], entry["side"], entry["window"], *costs, *shares])
    return rows


def _skill(report: dict[str, Any]) -> list[list[str]]:
    rows = [["intervals ahead", "forecast", "log error", "bias", "rank correlation", "n"]]
    for row in report["skill"]:
        rank = "-" if row["rank_correlation"] is None else f"{row['rank_correlation']:.2f}"
        figures = [f"{row['log_error']:.3f}", f"{row['log_bias']:+.3f}", rank, f"{row['n']:,}"]
        rows.append([str(row["horizon"]), row["forecast"], *figures])
    return rows


def _calibration(report: dict[str, Any]) -> list[list[str]]:
    rows = [["windows", "cost", "inside 80%", "below", "above", "inside 95%", "mean log ratio", "orders"]]
    for row in report["calibration"]:
        for name, label in (("as_planned", "plan left as it was"), ("as_traded", "as traded")):
            found = row[name]
            inside = [percent(found[key]) for key in ("band80", "below80", "above80", "band95")]
            rows.append([row["window"], label, *inside, f"{found['log_ratio']:+.3f}", str(row["orders"])])
    return rows


def _persistence(report: dict[str, Any]) -> list[list[str]]:
    rows = [["windows", "share that persists", "capture of the engine", "TWAP", "engine", "hindsight's schedule"]]
    for row in report["persistence"]:
        if ENGINE in row["cost"]:
            costs = [f"{row['cost'][name]:,.0f}" for name in ("twap", ENGINE, "hindsight")]
            rows.append([row["window"], f"{row['share']:.0%}", percent(row["capture"][ENGINE]), *costs])
    return rows


def _scenarios(report: dict[str, Any]) -> list[list[str]]:
    rows = [["symbol", "side", "shares", "minutes", "orders", "TWAP, bps", "engine, bps", "hindsight, bps", "capture"]]
    for entry in report["scenarios"]:
        found = entry["strategies"]
        if ENGINE in found:
            costs = [f"{found[name]['cost_bps']:.2f}" for name in ("twap", ENGINE, "hindsight")]
            order = [entry["symbol"], entry["side"], f"{entry['qty']:,.10g}", str(entry["horizon_min"])]
            rows.append([*order, str(found[ENGINE]["windows"]), *costs, percent(found[ENGINE]["capture"])])
    return rows


def _svg(figure: Figure, salt: str) -> str:
    """Return a figure as SVG whose bytes depend on what it shows alone."""
    held = io.StringIO()
    with rc_context({"svg.hashsalt": salt, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(held, format="svg", metadata={"Date": None, "Creator": None})
    text = held.getvalue()
    return text[text.index("<svg") :]

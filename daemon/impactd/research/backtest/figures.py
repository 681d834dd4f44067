"""The charts of a backtest, for paper and browser.

Colours are those of `impactd.research.picture`; each line has a dash or marker of its own besides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import MINUTE_NS
from impactd.core.base.topics import SIDES
from impactd.core.inputs.ticks import Float
from impactd.research.backtest.evaluate import ENGINE, Outcome
from impactd.research.backtest.run import Worked
from impactd.research.backtest.skill import FORECASTS, HORIZONS
from impactd.research.backtest.study import DayForecasts
from impactd.research.picture import COLOURS

_DASHES: Final = ("solid", "dashed", "dotted", "dashdot")
_MARKERS: Final = ("o", "s", "^", "D")
_HOUR_MIN: Final = 60

#: Half the width of a band that holds 80% of a normal error, in standard errors.
_Z80: Final = 1.2815515655446004

#: Percentiles of what is drawn between which an axis is chosen: one broken minute must not flatten the rest.
_SHOWN: Final = (0.0, 98.0)

#: Captures below this are drawn at the edge, with their value next to it.
_LEAST_CAPTURE: Final = -1.0


def _axes(rows: int, height: float, *, width: float = 9.0, columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for one in axes:
        one.grid(visible=True, alpha=0.3)
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _hours(study: DayForecasts, first: int, n: int) -> Float:
    """Return local hours at the beginnings of `n` intervals, and at the end of the last."""
    at = study.day.open - study.day.midnight + np.arange(first, first + n + 1) * study.day.intervals.interval_ns
    return np.asarray(at / (_HOUR_MIN * MINUTE_NS))


def _clock(axes: Axes, low: float, high: float) -> None:
    step = next((s for s in (0.25, 0.5, 1.0, 2.0, 4.0) if (high - low) / s <= 8), 4.0)
    ticks = np.arange(math.ceil(low / step) * step, high + 1e-9, step)
    axes.set_xticks(ticks, [f"{int(t):02d}:{round(t % 1 * 60):02d}" for t in ticks])
    axes.set_xlim(low, high)


def _colour(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": _DASHES[number % len(_DASHES)]}


def plot_path(study: DayForecasts, outcome: Outcome) -> Figure:
    """Draw what an order planned and traded, and forecast against realised impact."""
    order, plan = outcome.priced, outcome.first
    first = study.day.intervals.index(order.start)
    n = len(outcome.paths[ENGINE])
    hours = _hours(study, first, n)
    figure, (quantity, share, impact) = _axes(3, 9.6)
    figure.suptitle(f"{study.day.symbol} {study.day.name}, {order.side} {order.qty:,.10g} in {n} intervals")
    drawn = [(ENGINE, "traded by the engine"), ("hindsight", "hindsight"), ("twap", "TWAP")]
    for number, (name, label) in enumerate(drawn):
        path = outcome.paths[name]
        quantity.stairs(path, hours, label=label, **_colour(number))
        share.plot(hours, np.concatenate([[0.0], np.cumsum(path)]) / order.qty, label=label, **_colour(number))
    if plan is not None and plan.qty:
        whole = np.zeros(n)
        for start, qty in zip(plan.start, plan.qty, strict=True):
            whole[study.day.intervals.index(start) - first] = qty / QUANTA
        share.plot(
            hours, np.concatenate([[0.0], np.cumsum(whole)]) / order.qty, label="planned at the start", **_colour(3)
        )
    row = [str(side) for side in SIDES].index(order.side)
    middle = 0.5 * (hours[1:] + hours[:-1])
    to = slice(first, first + n)
    impact.plot(middle, study.realised[row, to], label="came", linewidth=0.8, **_colour(0))
    ahead = np.diagonal(study.impact[row])[to]
    impact.plot(middle, ahead, label="forecast one interval ahead", **_colour(1))
    impact.plot(middle, study.impact[row, first, to], label="forecast at the start", **_colour(2))
    _limit(impact, np.concatenate([study.realised[row, to], ahead]))
    quantity.set_ylabel("shares per interval")
    share.set_ylabel("share of the order executed")
    impact.set_ylabel(f"impact of {study.reference:,.0f} shares\n(price per share)")
    for axes in (quantity, share, impact):
        _clock(axes, hours[0], hours[-1])
        axes.legend(fontsize="small", loc="best")
    impact.set_xlabel("local time")
    return figure


def _limit(axes: Axes, values: Float) -> None:
    shown = values[np.isfinite(values)]
    if shown.size:
        low, high = np.percentile(shown, _SHOWN)
        axes.set_ylim(max(low - 0.05 * (high - low), 0.0) if low >= 0.0 else low, high + 0.15 * (high - low) + 1e-12)


def plot_coefficient(study: DayForecasts) -> Figure:
    """Draw each interval's own slope, and the published model's for it, made before, with its 80% band."""
    hours = _hours(study, 0, len(study.day.intervals))
    middle = 0.5 * (hours[1:] + hours[:-1])
    figure, both = _axes(2, 6.6)
    figure.suptitle(f"{study.day.symbol} {study.day.name}: impact slope by minute")
    for row, axes in enumerate(both):
        slope, error = study.slope[row], study.slope_se[row]
        lower, upper = np.maximum(slope - _Z80 * error, 0.0), slope + _Z80 * error
        axes.fill_between(middle, lower, upper, color=COLOURS[0], alpha=0.2, linewidth=0, label="its 80% band")
        axes.plot(middle, slope, label="forecast for the interval", **_colour(0))
        axes.plot(
            middle, study.lines[row].beta, linestyle="none", marker=".", markersize=3, color=COLOURS[1],
            label="fitted to the interval",
        )  # fmt: skip
        _limit(axes, np.concatenate([study.lines[row].beta, slope]))
        axes.set_ylabel(f"{SIDES[row]} (price per share²)")
        _clock(axes, hours[0], hours[-1])
        axes.legend(fontsize="small", loc="best")
    both[-1].set_xlabel("local time")
    return figure


def plot_savings(test: Worked, symbol: str) -> Figure:
    """Draw what the engine and hindsight save against TWAP, by size and the hour of the start."""
    studies = {study.day.name: study for study in test.studies if study.day.symbol == symbol}
    mine = [o for o in test.outcomes if o.priced.symbol == symbol and "windows" in o.priced.windows]
    sizes = sorted({o.priced.qty for o in mine})
    figure, axes = _axes(len(sizes), 0.8 + 2.4 * len(sizes))
    figure.suptitle(f"{symbol}: saving against TWAP by start hour, both sides")
    for qty, one in zip(sizes, axes, strict=True):
        by_hour: dict[int, list[Outcome]] = {}
        for outcome in mine:
            if outcome.priced.qty == qty:
                since = outcome.priced.start - studies[outcome.priced.day].day.midnight
                by_hour.setdefault(since // (_HOUR_MIN * MINUTE_NS), []).append(outcome)
        hours = sorted(by_hour)
        for number, name in enumerate(name for name in (ENGINE, "hindsight") if name in test.strategies):
            saved = [_saving_bps(by_hour[hour], name) for hour in hours]
            one.bar(
                np.array(hours) + 0.36 * (number - 0.5), saved, width=0.34, label=name, color=COLOURS[number],
                hatch=("", "//")[number], edgecolor="white", linewidth=0,
            )  # fmt: skip
        one.axhline(0.0, color="black", linewidth=0.8)
        one.set_xticks(hours, [f"{hour:02d}:00" for hour in hours])
        one.set_ylabel(f"{qty:,.10g} shares\n(bps of notional)")
        one.legend(fontsize="small", loc="best")
    axes[-1].set_xlabel("start hour, local")
    return figure


def _saving_bps(outcomes: Sequence[Outcome], name: str) -> float:
    saved = sum(o.priced.cost["twap"] - o.priced.cost[name] for o in outcomes)
    return 1e4 * saved / sum(o.priced.notional for o in outcomes)


def plot_capture(report: dict[str, Any]) -> Figure:
    """Draw the share of the hindsight saving that each policy captures, with its 90% interval, by kind of window."""
    kinds = [kind for kind in report["pooled"]["by_window"] if not kind.endswith("_trimmed")]
    names = [name for name in report["strategies"] if name not in {"twap", "hindsight"}]
    figure, (axes,) = _axes(1, 1.4 + 0.5 * len(names))
    figure.suptitle("Share of the hindsight saving captured, pooled, with 90% bootstrap intervals")
    for number, kind in enumerate(kinds):
        found = report["pooled"]["by_window"][kind]["strategies"]
        y = np.arange(len(names)) + 0.22 * (number - (len(kinds) - 1) / 2)
        for place, name in zip(y, names, strict=True):
            value, interval = found[name]["capture"], found[name]["capture_ci90"]
            if value is None:
                continue
            colour = COLOURS[number]
            if interval is not None:
                low, high = (max(end, _LEAST_CAPTURE) for end in interval)
                axes.plot([low, high], [place, place], color=colour, linewidth=1.5)
            label = kind if name == names[0] else None
            marker = _MARKERS[number]
            axes.plot(
                max(value, _LEAST_CAPTURE), place, marker=marker, color=colour, label=label, linestyle="none",
                markersize=5,
            )  # fmt: skip
            if value < _LEAST_CAPTURE:
                axes.annotate(f"{value:.0%}", (_LEAST_CAPTURE, place), (6, -3), textcoords="offset points", fontsize=7)
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(_LEAST_CAPTURE - 0.05, 1.0)
    axes.set_xticks(np.arange(-1.0, 1.01, 0.25), [f"{tick:.0%}" for tick in np.arange(-1.0, 1.01, 0.25)])
    axes.set_xlabel("0 is TWAP, 100% is hindsight")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small", loc="lower right")
    return figure


def plot_calibration(report: dict[str, Any]) -> Figure:
    """Draw how often costs fell into bands of each nominal level."""
    figure, both = _axes(1, 4.6, columns=2)
    figure.suptitle("Bands of plan cost: coverage")
    for axes, (name, title) in zip(
        both, (("as_planned", "first plan, not replanned"), ("as_traded", "as traded, replanned")), strict=True
    ):
        axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, label="as promised")
        for number, row in enumerate(report["calibration"]):
            axes.plot(
                report["levels"], row[name]["levels"], marker=_MARKERS[number], markersize=3,
                label=f"{row['window']} ({row['orders']})", **_colour(number),
            )  # fmt: skip
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel("nominal level")
        axes.set_aspect("equal")
        axes.legend(fontsize="small", loc="best")
    both[0].set_ylabel("share of orders inside")
    return figure


def plot_skill(report: dict[str, Any]) -> Figure:
    """Draw the error and the rank correlation of the forecasts by horizon."""
    figure, (error, rank) = _axes(1, 3.8, columns=2)
    figure.suptitle("Forecasts of impact by horizon")
    for number, name in enumerate(FORECASTS):
        rows = [row for row in report["skill"] if row["forecast"] == name]
        at = [HORIZONS.index(row["horizon"]) for row in rows]
        style = {"marker": _MARKERS[number], "label": name, **_colour(number)}
        error.plot(at, [row["log_error"] for row in rows], **style)
        rank.plot(at, [np.nan if (r := row["rank_correlation"]) is None else r for row in rows], **style)
    for axes in (error, rank):
        axes.set_xticks(range(len(HORIZONS)), [str(horizon) for horizon in HORIZONS])
        axes.set_xlabel("intervals ahead")
        axes.legend(fontsize="small", loc="best")
    error.set_ylabel("mean absolute log error")
    error.set_ylim(bottom=0.0)
    rank.set_ylabel("rank correlation within a day")
    return figure

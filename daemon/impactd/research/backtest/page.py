"""A backtest as one HTML page with its charts, for paper and browser.

The same figures give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

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
from impactd.research.backtest.report import answers, by_latency, hours_text, percent, table
from impactd.research.backtest.run import Worked
from impactd.research.backtest.study import DayForecasts
from impactd.research.picture import to_svg
from impactd.research.report import page_environment

#: Days with charts of their own: each takes a quarter of a second, and nobody looks through hundreds.
MOST_DAYS: Final = 12

#: Titles of the kinds of window.
TITLES: Final = {
    "windows": "Windows",
    "range": "One order over the whole range of hours",
    "session": "One order over the session",
}

#: What each policy does, and whether it could have been traded.
POLICIES: Final = {
    "engine": "the service's own state machine on the recorded rows, replanned as each interval closes",
    "engine_no_prior": "the same without the generic session profile",
    "engine_learned": "the same with the trained forecast named by `model.learned`",
    "engine_slices": "the same acting within the minute, with the latency of the settings (`plans.act`)",
    "twap": "equal quantities over time; savings are measured against it",
    "twap_slices": "equal quantities at the decisions of slices, with the same latency",
    "vwap": "in proportion to the service's volume forecast, updated each interval",
    "vwap_hindsight": "in proportion to the realised volume, which is not known in advance",
    "persistence": "replanned on the latest interval's curve, carried along the generic session profile",
    "expanding_mean": "replanned on the latest interval against the day's mean so far",
    "standing_book": "replanned on the prevailing book as an interval begins, against the hour's mean",
    "known_1": "knows the next interval exactly, and the hour's mean for later ones",
    "known_5": "knows the next 5 intervals exactly, and the hour's mean for later ones",
    "known_10": "knows the next 10 intervals exactly, and the hour's mean for later ones",
    "profile_hindsight": "replanned on the mean curve of each half hour of the same day, which is not known in advance",
    "hindsight": "least cost on the tape, which is not known in advance: the upper bound of savings",
}


def render(test: Worked, report: dict[str, Any]) -> str:
    """Return the page."""
    drawn: list[tuple[str, Figure]] = [
        ("Share of the hindsight saving captured. Values beyond the left edge are drawn on it.", plot_capture(report))
    ]
    for symbol in sorted({study.day.symbol for study in test.studies}):
        if any(o.priced.symbol == symbol and "windows" in o.priced.windows for o in test.outcomes):
            caption = f"{symbol}: saving of the engine and of hindsight against TWAP."
            drawn.append((caption, plot_savings(test, symbol)))
    days: list[tuple[str, Figure]] = []
    latest = _latest(test.studies)
    for study in latest:
        name = f"{study.day.symbol} {study.day.name}"
        mine = [o for o in test.outcomes if (o.priced.symbol, o.priced.day) == (study.day.symbol, study.day.name)]
        longest = max(mine, key=lambda o: (len(o.paths["twap"]), o.priced.qty, o.priced.side == "buy"), default=None)
        if longest is not None and ENGINE in longest.paths:
            caption = f"{name}: first plan and executed path; expected and realised impact."
            days.append((caption, plot_path(study, longest)))
        days.append((f"{name}: forecast slope, and each interval's own.", plot_coefficient(study)))
    judged = [("Forecasts of impact at a tenth of the visible depth.", plot_skill(report))]
    if report["calibration"]:
        judged.append(("Share of costs inside their bands, by nominal level.", plot_calibration(report)))
    return (
        page_environment()
        .get_template("backtest.html.j2")
        .render(
            report=report,
            answers=answers(report),
            summary=_summary(report),
            asked=_asked(report),
            policies=[(name, POLICIES[name]) for name in report["strategies"]],
            tables=[(_title(kind, report), rows[0], rows[1:]) for kind, rows in table(report)],
            sides=_sides(report),
            skill=_skill(report),
            calibration=_calibration(report),
            persistence=_persistence(report),
            latency=by_latency(report),
            scenarios=_scenarios(report),
            days_left_out=len(test.studies) - len(latest),
            savings=[(text, to_svg(figure, f"saving-{i}")) for i, (text, figure) in enumerate(drawn)],
            days=[(text, to_svg(figure, f"day-{i}")) for i, (text, figure) in enumerate(days)],
            judged=[(text, to_svg(figure, f"judged-{i}")) for i, (text, figure) in enumerate(judged)],
        )
    )


def _latest(studies: Sequence[DayForecasts]) -> list[DayForecasts]:
    """Return the days that have charts of their own: the latest of each symbol, `MOST_DAYS` in all or one a symbol."""
    by_symbol: dict[str, list[DayForecasts]] = {}
    for study in studies:
        by_symbol.setdefault(study.day.symbol, []).append(study)
    each = max(MOST_DAYS // max(len(by_symbol), 1), 1)
    return [study for its in by_symbol.values() for study in its[-each:]]


def _title(kind: str, report: dict[str, Any]) -> str:
    plain = kind.removesuffix("_trimmed")
    title = TITLES[plain]
    if plain == "windows":
        horizon, every = (report["question"][name] for name in ("horizon_min", "every_min"))
        title = f"Windows of {horizon or 60} minutes, " + ("disjoint" if every is None else f"one every {every}")
    return title + (", without the first thirty and the last ten minutes of the session" if plain != kind else "")


def _summary(report: dict[str, Any]) -> str:
    """Return two sentences on what the engine saved in the pooled windows."""
    found = report["pooled"]["strategies"]
    own = found.get(ENGINE)
    if own is None or own["cost_bps"] is None:
        return ""
    costs = {name: f"{found[name]['cost_bps']:z.2f}" for name in (ENGINE, "twap", "hindsight")}
    interval = own["capture_ci90"]
    bounds = "" if interval is None else f" (90% interval {percent(interval[0])} to {percent(interval[1])})"
    what = _title(report["pooled"]["window"], report)
    return (
        f"{what}: in {own['windows']:,} orders the engine paid {costs[ENGINE]} bps over mid, TWAP"
        f" {costs['twap']} and hindsight {costs['hindsight']}. The engine captured {percent(own['capture'])} of what"
        f" could have been saved{bounds}, and cost less than TWAP in {own['beat_twap']:.0%} of the orders."
    )


def _asked(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the parameters of the backtest, by name."""
    question = report["question"]
    if question["qty"]:
        sizes = "orders of " + _listed(f"{qty:,.10g}" for qty in question["qty"]) + " shares"
    elif question["participation"]:
        sizes = _listed(f"{rate:.3g}" for rate in question["participation"]) + " of the session's continuous volume"
    else:
        sizes = _listed(f"{share:.3g}" for share in question["depth_shares"]) + " of the visible depth per interval"
    hours, law = hours_text(question), "metaorder" in question
    cap = f"{question['depth_cap']:.3g} times the visible depth of the side before the start, or twice TWAP's rate"
    days = [f"{day['symbol']} {day['day']}, {day['volume_continuous']:,.0f} shares traded" for day in report["days"]]
    return [
        ("Days", "; ".join(days)),
        ("Orders", f"{report['n_orders']:,}, half of them to buy"),
        ("Sizes", sizes),
        ("Hours", f"{hours} local time, and the whole session" if question["horizon_min"] is None else hours),
        ("Cap on an interval", cap),
        ("Slices per interval", str(question["child_slices"])),
        ("Risk aversion", f"{question['risk_aversion']:.3g}"),
        *([("Beyond the books", f"{question['metaorder']}, Y = {question['coefficient']:g}")] if law else []),
    ]


def _listed(texts: Iterable[str]) -> str:
    return " and ".join(texts)


def _sides(report: dict[str, Any]) -> list[list[str]]:
    rows = [["symbol", "side", "windows", "TWAP", "engine", "hindsight", "capture", "beats TWAP", "beyond depth"]]
    for entry in report["pooled"]["by_symbol_side"]:
        found = entry["strategies"]
        own = found.get(ENGINE)
        if own is not None:
            costs = [f"{found[name]['cost_bps']:z.2f} bps" for name in ("twap", ENGINE, "hindsight")]
            beats = f"{own['beat_twap']:.0%} of {own['windows']}"
            shares = [percent(own["capture"]), beats, percent(own["beyond_depth"])]
            rows.append([entry["symbol"], entry["side"], entry["window"], *costs, *shares])
    return rows


def _skill(report: dict[str, Any]) -> list[list[str]]:
    rows = [["intervals ahead", "forecast", "log error", "bias", "rank correlation", "n"]]
    for row in report["skill"]:
        rank = "-" if row["rank_correlation"] is None else f"{row['rank_correlation']:.2f}"
        figures = [f"{row['log_error']:.3f}", f"{row['log_bias']:+z.3f}", rank, f"{row['n']:,}"]
        rows.append([str(row["horizon"]), row["forecast"], *figures])
    return rows


def _calibration(report: dict[str, Any]) -> list[list[str]]:
    rows = [["windows", "cost", "inside 80%", "below", "above", "inside 95%", "mean log ratio", "orders"]]
    for row in report["calibration"]:
        for name, label in (("as_planned", "first plan, not replanned"), ("as_traded", "as traded")):
            found = row[name]
            inside = [percent(found[key]) for key in ("band80", "below80", "above80", "band95")]
            rows.append([row["window"], label, *inside, f"{found['log_ratio']:+z.3f}", str(row["orders"])])
    return rows


def _persistence(report: dict[str, Any]) -> list[list[str]]:
    rows = [["windows", "what lasts", "share of it", "capture of the engine", "TWAP", "engine", "hindsight's schedule"]]
    for row in report["persistence"]:
        if ENGINE in row["cost"]:
            costs = [f"{row['cost'][name]:z,.0f}" for name in ("twap", ENGINE, "hindsight")]
            what = {"persistent": "own depletion", "reacted": "reaction of the flow"}[row["footprint"]]
            rows.append([row["window"], what, f"{row['share']:.0%}", percent(row["capture"][ENGINE]), *costs])
    return rows


def _scenarios(report: dict[str, Any]) -> list[list[str]]:
    rows = [["symbol", "side", "shares", "minutes", "orders", "TWAP, bps", "engine, bps", "hindsight, bps", "capture"]]
    for entry in report["scenarios"]:
        found = entry["strategies"]
        if ENGINE in found:
            costs = [f"{found[name]['cost_bps']:z.2f}" for name in ("twap", ENGINE, "hindsight")]
            order = [entry["symbol"], entry["side"], f"{entry['qty']:,.10g}", str(entry["horizon_min"])]
            rows.append([*order, str(found[ENGINE]["windows"]), *costs, percent(found[ENGINE]["capture"])])
    return rows

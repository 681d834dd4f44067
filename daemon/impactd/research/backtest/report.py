"""The result of a backtest as one JSON object.

The same inputs, settings and seed give the same bytes: nothing of the clock,
the machine or the number of processes is in it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from impactd.__about__ import __version__
from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import CoreSettings
from impactd.core.planning.metaorder import coefficient_of
from impactd.core.state.schema import settings_hash
from impactd.research.backtest.capture import Priced, pooled
from impactd.research.backtest.days import checksum
from impactd.research.backtest.evaluate import ENGINE, PERSISTENCE, PERSISTENT, REACTED, Outcome
from impactd.research.backtest.run import Backtest, Worked
from impactd.research.backtest.skill import LEVELS, calibration, skill
from impactd.research.backtest.windows import FIRST_MIN, KINDS, LAST_MIN, TRIMMED, Question
from impactd.research.backtest.within import LATER_S

#: Own footprints that the saving is held against: the field of an outcome, and the policies that it is for.
FOOTPRINTS: Final = {"persistent": PERSISTENT, "reacted": REACTED}

#: Orders whose answers are written out.
MAX_ANSWERS: Final = 12

SCHEMA: Final = "impactd.backtest/1"

#: Captures over the mids that come after.
_LATER: Final = tuple(f"mid {seconds // 60} min later" for seconds in LATER_S)

_ASSUMPTIONS: Final = """
    Books are static: own orders move no later book. These are savings of temporary impact on this tape, not
    implementation shortfall; `persistence` shows the effect of own depletion that persists in part, and of a
    reaction of the flow to the order, which decays with the exponent 0.25 of the literature.

    An interval's quantity walks the books that prevailed in it, each weighted by its time, once per
    interval. All of it is taken from the book: there is no passive fill, queue, fee, delay or hidden quantity.

    Slices are executed at the book that prevails `plans.slice_latency_s` after their decision, and each walks on from
    the one before it within an interval: nothing refills.

    A saving over the mid of the moment may only follow the mid. What is left of it over the mid one and five minutes
    after each trade, TWAP's trades too, is stated next to it.

    Fills are as planned. A schedule made at the start of an interval knows all rows before it, and none after.

    {beyond}; the share priced this way is `beyond_depth`.

    One cap holds for every policy, hindsight included: depth_cap times the depth that the side showed on average in the
    half hour before the order's start, or twice TWAP's rate if that is more.

    Hindsight knows the whole tape, and no schedule is cheaper on it; nobody can trade it.

    The bootstrap draws windows within days, and days where a symbol has several. With one day per symbol the intervals
    tell nothing about other days.

    Sizes are part of the question and may depend on the whole day's volume or depth; decisions may not.
    """

_SLOPE: Final = "Quantity beyond the visible depth costs the last level and then rises with the book's own slope"

_LAW: Final = (
    "Quantity beyond the visible depth costs the last level, and its order pays `{metaorder}`, a law of the literature "
    "that is not measured (Y = {coefficient:g}): M(Q) - M(Q - B) for Q shares, B of them beyond, with the deviation of "
    "the mid and the volume that the session came to. It is a part of all costs, also of those that hindsight has "
    "the least of, and is stated as `metaorder_cost`"
)


def assumptions(question: Mapping[str, Any]) -> list[str]:
    """Return what the figures for a report's question rest on, one paragraph each."""
    beyond = _LAW.format(**question) if "metaorder" in question else _SLOPE
    return [" ".join(paragraph.split()) for paragraph in _ASSUMPTIONS.format(beyond=beyond).split("\n\n")]


def inputs(paths: Sequence[Path]) -> list[dict[str, str]]:
    """Return the files with their checksums."""
    return [{"file": path.name, "sha256": checksum(path)} for path in paths]


def asked(
    question: Question,
    settings: CoreSettings,
    strategies: Sequence[str],
    files: Sequence[Mapping[str, str]],
    seed: int,
    hours: str,
) -> dict[str, Any]:
    """Return what a report's figures follow from, which is in the report: release, settings, inputs and question."""
    plans = settings.plans
    law: dict[str, Any] = {}
    if plans.metaorder != "off":
        law = {"metaorder": plans.metaorder, "coefficient": coefficient_of(plans)}
    return {
        "release": __version__,
        "settings": settings_hash(settings),
        "seed": seed,
        "hours": hours,
        "inputs": list(files),
        "question": {
            "qty": list(question.qty),
            "participation": list(question.participation),
            "depth_shares": [] if question.qty or question.participation else list(question.depth_shares),
            "horizon_min": question.horizon_min,
            "every_min": question.every_min,
            "from_s": question.from_s,
            "to_s": question.to_s,
            "depth_cap": question.depth_cap,
            "risk_aversion": question.risk_aversion,
            "trimmed_min": [FIRST_MIN, LAST_MIN],
            "child_slices": plans.child_slices,
            **law,
        },
        "strategies": list(strategies),
    }


def figures(test: Backtest, paths: Sequence[Path], seed: int, hours: str = "") -> dict[str, Any]:
    """Return the report's figures.

    Parameters
    ----------
    paths : sequence of Path
        The files, for their checksums.
    """
    known = asked(test.question, test.settings, test.strategies, inputs(paths), seed, hours)
    return compiled(test, known)


def compiled(test: Worked, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of what was worked under what `asked` has given."""
    seed = known["seed"]
    orders = [outcome.priced for outcome in test.outcomes]
    kinds = [kind for kind in KINDS if any(kind in order.windows for order in orders)]
    return {
        "schema": SCHEMA,
        **{name: known[name] for name in ("release", "settings", "seed", "hours", "inputs", "question")},
        "assumptions": assumptions(known["question"]),
        "strategies": known["strategies"],
        "days": [
            {"symbol": study.day.symbol, "day": study.day.name, "volume_continuous": float(study.day.volume.sum())}
            for study in test.studies
        ],
        "n_orders": len(orders),
        "skipped": list(test.skipped),
        "pooled": _pooled(test, orders, kinds, seed),
        "scenarios": _scenarios(test, orders, kinds, seed),
        "orders": [_order(outcome) for outcome in test.outcomes],
        "persistence": _persistence(test, kinds),
        "latency": _latency(test, kinds),
        "skill": skill(test.studies),
        "calibration": calibration(test.outcomes, kinds),
        "levels": list(LEVELS),
    }


def of_kind(orders: Sequence[Priced], kind: str) -> list[Priced]:
    """Return the orders that count in one kind of window."""
    return [order for order in orders if kind in order.windows]


def _pooled(test: Worked, orders: Sequence[Priced], kinds: Sequence[str], seed: int) -> dict[str, Any]:
    """Return the figures over all symbols, sides and sizes; those of the first kind come first."""
    by_window = {}
    for kind in kinds:
        for name in (kind, kind + TRIMMED):
            mine = of_kind(orders, name)
            if mine:
                by_window[name] = {"strategies": pooled(mine, test.strategies, seed)}
    sides = sorted({(order.symbol, order.side) for order in orders})
    by_side = []
    for symbol, side in sides:
        for kind in kinds:
            mine = [order for order in of_kind(orders, kind) if (order.symbol, order.side) == (symbol, side)]
            if mine:
                entry = {"symbol": symbol, "side": side, "window": kind}
                by_side.append({**entry, "strategies": pooled(mine, test.strategies, seed)})
    return {"window": kinds[0], **by_window[kinds[0]], "by_window": by_window, "by_symbol_side": by_side}


def _scenarios(test: Worked, orders: Sequence[Priced], kinds: Sequence[str], seed: int) -> list[dict[str, Any]]:
    found = []
    keys = sorted({(o.symbol, kinds.index(k), o.horizon_min, o.qty, o.side) for k in kinds for o in of_kind(orders, k)})
    for symbol, kind, horizon, qty, side in keys:
        mine = [
            order
            for order in of_kind(orders, kinds[kind])
            if (order.symbol, order.horizon_min, order.qty, order.side) == (symbol, horizon, qty, side)
        ]
        found.append(
            {
                "symbol": symbol,
                "side": side,
                "qty": qty,
                "horizon_min": horizon,
                "window": kinds[kind],
                "strategies": pooled(mine, test.strategies, seed),
            }
        )
    return found


def _order(outcome: Outcome) -> dict[str, Any]:
    """Return one order's costs, and what its first plan with a price expected."""
    priced, plan = outcome.priced, outcome.expected
    expected = None
    if plan is not None:
        expected = {
            "as_of": plan.as_of,
            "qty": sum(plan.qty) / QUANTA,
            "cost": plan.expected_cost,
            "twap_cost": plan.twap_cost,
            "band_95": plan.cost_band_95,
            **({"metaorder_cost": plan.metaorder_cost} if priced.law else {}),
        }
    return {
        "symbol": priced.symbol,
        "day": priced.day,
        "windows": list(priced.windows),
        "start": priced.start,
        "horizon_min": priced.horizon_min,
        "side": priced.side,
        "qty": priced.qty,
        "notional": priced.notional,
        "cost": dict(priced.cost),
        **({"metaorder_cost": dict(priced.law)} if priced.law else {}),
        "expected": expected,
    }


def answers(report: dict[str, Any]) -> list[str]:
    """Return a sentence for each order of a whole range or session; none where there are more than `MAX_ANSWERS`."""
    whole = [(kind, order) for kind in KINDS[1:] for order in report["orders"] if kind in order["windows"]]
    if len(whole) > MAX_ANSWERS:
        return []
    hours = hours_text(report["question"])
    return [_answer("the whole session" if kind == "session" else hours, order) for kind, order in whole]


def hours_text(question: Mapping[str, Any]) -> str:
    """Return the hours of a question in words, local time."""
    return " to ".join(f"{s // 3600:02d}:{s // 60 % 60:02d}" for s in (question["from_s"], question["to_s"]))


def _answer(hours: str, order: dict[str, Any]) -> str:
    cost, qty, expected = order["cost"], order["qty"], order["expected"]
    bps = {name: f"{1e4 * value / order['notional']:z.2f}" for name, value in cost.items()}
    money = {name: f"{value:z,.2f}" for name, value in cost.items()}
    ours = ENGINE in cost
    text = (
        f"{order['side'].capitalize()} {qty:,.10g} {order['symbol']} on {order['day']}, {hours}: "
        + (f"{bps[ENGINE]} bps against TWAP's {bps['twap']}" if ours else f"{bps['twap']} bps by TWAP")
        + f", and {bps['hindsight']} with hindsight ("
        + (f"{money[ENGINE]}, " if ours else "")
        + f"{money['twap']} and {money['hindsight']})."
    )
    if "metaorder_cost" in order:
        law = order["metaorder_cost"]
        text += f" Of these {law['twap']:,.2f} and {law['hindsight']:,.2f} are a law of the literature, not measured"
        text += f"; of the engine's, {law[ENGINE]:,.2f}." if ours else "."
    if expected is not None:
        band = "" if expected["band_95"] is None else ", 95% band {:,.2f} to {:,.2f}".format(*expected["band_95"])
        text += f" The first plan with a price expected {expected['cost']:,.2f} for {expected['qty']:,.10g}{band}."
    return text


def _persistence(test: Worked, kinds: Sequence[str]) -> list[dict[str, Any]]:
    """Return what is left of each saving where part of an order's own depletion persists, or the flow reacts to it.

    Schedules, hindsight's too, are made without knowledge of it; captures are shares of that hindsight's saving.
    """
    rows = []
    for kind, (of, policies), share in itertools.product(kinds, FOOTPRINTS.items(), PERSISTENCE):
        mine = [outcome for outcome in test.outcomes if kind in outcome.priced.windows]
        names = [name for name in test.strategies if name in policies]
        if mine:
            cost = {name: sum(getattr(o, of)[share][name] for o in mine) for name in names}
            possible = cost["twap"] - cost["hindsight"]
            saved = {name: cost["twap"] - cost[name] for name in names}
            rows.append(
                {
                    "window": kind,
                    "footprint": of,
                    "share": share,
                    "cost": cost,
                    "capture": {name: saved[name] / possible if possible > 0.0 else None for name in names},
                }
            )
    return rows


def _latency(test: Worked, kinds: Sequence[str]) -> list[dict[str, Any]]:
    """Return what acting within the minute captures by its latency, over the mid of each trade and those that follow.

    All are relative to TWAP by the minute and to hindsight's saving over it.
    """
    rows = []
    for kind in kinds:
        mine = [outcome for outcome in test.outcomes if kind in outcome.priced.windows and outcome.late[0]]
        if not mine:
            continue
        twap = np.sum([(o.priced.cost["twap"], *o.priced.later["twap"]) for o in mine], axis=0)
        possible = twap[0] - sum(o.priced.cost["hindsight"] for o in mine)
        for seconds in mine[0].late:
            for name in mine[0].late[seconds]:
                saved = twap - np.sum([o.late[seconds][name] for o in mine], axis=0)
                capture = [float(one / possible) for one in saved] if possible > 0.0 else None
                rows.append({"window": kind, "latency_s": seconds, "strategy": name, "capture": capture})
    return rows


def encode(report: dict[str, Any]) -> bytes:
    """Return the report as the bytes of its file."""
    return orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY) + b"\n"


def table(report: dict[str, Any]) -> list[tuple[str, list[list[str]]]]:
    """Return a title and rows of text for each kind of window: what a person wants to see first."""
    shown = []
    law = ["of it the law"] if "metaorder" in report["question"] else []
    for kind, found in report["pooled"]["by_window"].items():
        rows = [
            ["strategy", "cost", *law, "bps", "saved, bps", "capture", "90% interval", *_LATER, "beats TWAP", "orders"],
        ]
        for name, value in found["strategies"].items():
            interval = value["capture_ci90"]
            rows.append(
                [
                    name,
                    f"{value['cost']:z,.0f}",
                    *(f"{value['metaorder_cost']:z,.0f}" for _ in law),
                    "-" if value["cost_bps"] is None else f"{value['cost_bps']:z.2f}",
                    "-" if value["saved_bps"] is None else f"{value['saved_bps']:z.2f}",
                    percent(value["capture"]),
                    "-" if interval is None else f"{percent(interval[0])} to {percent(interval[1])}",
                    *(percent(one) for one in value["capture_later"] or [None] * len(_LATER)),
                    f"{value['beat_twap']:.0%}",
                    str(value["windows"]),
                ]
            )
        shown.append((kind, rows))
    return shown


def by_latency(report: dict[str, Any]) -> list[list[str]]:
    """Return rows of text: what acting within the minute captures by its latency, under a head."""
    rows = [["windows", "strategy", "latency, s", "capture", *_LATER]]
    for row in report["latency"]:
        captures = row["capture"] or [None] * (1 + len(_LATER))
        rows.append([row["window"], row["strategy"], str(row["latency_s"]), *map(percent, captures)])
    return rows


def percent(value: float | None) -> str:
    """Return a share as text, a dash for none."""
    return "-" if value is None else f"{round(value, 3) + 0.0:.1%}"  # no minus before a zero

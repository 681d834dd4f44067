"""A backtest in shards (`impactd.research.shards`): the unit is one day of one symbol.

A result has these texts:

- ``order``: what one order came to under every policy, as JSON;
- ``skipped``: why a window was left out;
- ``study``: the session, as JSON;

and the arrays of the day's forecasts by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pydantic import TypeAdapter
from pydantic_core import from_json

from impactd.core.books.interval_cost import Intervals, Prevailing
from impactd.core.outputs.messages import Plan
from impactd.research.backtest.capture import Priced
from impactd.research.backtest.days import Day
from impactd.research.backtest.evaluate import Outcome
from impactd.research.backtest.policies import Lines
from impactd.research.backtest.run import Asked, Progress, Worked
from impactd.research.backtest.study import DayForecasts
from impactd.research.backtest.workers import work_each
from impactd.research.shards import Content, Unit, Whole, text_of

STUDY: Final = "backtest"

#: Arrays of a day's forecasts, and of the day.
_ARRAYS: Final = ("impact", "realised", "slope", "slope_se")
_OF_DAY: Final = ("volume", "trades")

_PRICED: Final = TypeAdapter(Priced)
_PLAN: Final = TypeAdapter(Plan)
_PERSISTENT: Final = TypeAdapter(dict[float, dict[str, float]])
_LATE: Final = TypeAdapter(dict[int, dict[str, tuple[float, ...]]])


def whole_of(asked: Asked, known: Mapping[str, Any], codec: str | None = None, symbol: str | None = None) -> Whole:
    """Return the description of all that is asked; `known` is by `impactd.research.backtest.report.asked`."""
    more = {**dataclasses.asdict(asked.question), "codec": codec, "symbol": symbol}
    return Whole(STUDY, known, more, tuple(asked.trials))


@dataclass(frozen=True, slots=True)
class Part:
    """The result of one unit."""

    outcomes: tuple[Outcome, ...]
    study: DayForecasts
    skipped: tuple[str, ...]


def worked(
    asked: Asked, todo: Sequence[Unit], *, workers: int = 1, begin: Callable[[int], Progress] | None = None
) -> Generator[tuple[Unit, Content], None, None]:
    """Yield units with their results."""
    progress = None if begin is None else begin(sum(len(asked.trials[unit]) for unit in todo))
    for tape in asked.tapes:
        days = {day for symbol, day in todo if symbol == tape.symbol}
        if not days:
            continue
        bench, by_day = asked.walk(tape, days)
        with closing(work_each({tape.symbol: bench}, asked.strategies, by_day, workers, progress)) as done:
            for day, outcomes in done:
                unit = tape.symbol, day
                yield unit, content_of(Part(tuple(outcomes), bench.studies[day], asked.skipped[unit]))


def merged(whole: Whole, contents: Sequence[Content]) -> Worked:
    """Return what the orders of all units came to."""
    done = [part_of(unit, content) for unit, content in zip(whole.units, contents, strict=True)]
    skipped = dict.fromkeys(reason for part in done for reason in part.skipped)
    outcomes = tuple(outcome for part in done for outcome in part.outcomes)
    return Worked(tuple(whole.known["strategies"]), outcomes, tuple(part.study for part in done), tuple(skipped))


def content_of(part: Part) -> Content:
    """Return what a result holds of a unit; `part_of` reads it."""
    study, day = part.study, part.study.day
    session = {
        "midnight": day.midnight,
        "open": day.open,
        "close": day.close,
        "interval_ns": day.intervals.interval_ns,
        "reference": study.reference,
    }
    arrays = {name: getattr(study, name) for name in _ARRAYS}
    arrays |= {f"day.{name}": getattr(day, name).astype(np.float64) for name in _OF_DAY}
    for row, lines in enumerate(study.lines):
        arrays |= {f"lines.{row}.s": lines.s, f"lines.{row}.beta": lines.beta}
    return Content(
        [
            ("study", text_of(session)),
            *(("order", text_of(_plain(outcome))) for outcome in part.outcomes),
            *(("skipped", reason) for reason in part.skipped),
        ],
        arrays,
    )


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {field.name: getattr(outcome, field.name) for field in dataclasses.fields(outcome)}


def part_of(unit: Unit, content: Content) -> Part:
    """Return the result of a unit."""
    arrays = content.arrays
    [session] = map(from_json, content.of("study"))
    opens, interval = session["open"], session["interval_ns"]
    day = Day(
        *unit,
        session["midnight"],
        opens,
        session["close"],
        # A report asks for the times of intervals; the books stay where the orders were worked.
        Intervals.of(_no_books(), opens, len(arrays["day.volume"]), interval),
        arrays["day.volume"],
        arrays["day.trades"] != 0.0,
    )
    buy, sell = (Lines(arrays[f"lines.{row}.s"], arrays[f"lines.{row}.beta"]) for row in range(2))
    study = DayForecasts(day, (buy, sell), reference=session["reference"], **{name: arrays[name] for name in _ARRAYS})
    return Part(tuple(_outcome(from_json(text)) for text in content.of("order")), study, tuple(content.of("skipped")))


def _outcome(read: dict[str, Any]) -> Outcome:
    plans = {name: None if read[name] is None else _PLAN.validate_python(read[name]) for name in ("first", "expected")}
    return Outcome(
        priced=_PRICED.validate_python(read["priced"]),
        paths={name: np.array(path, np.float64) for name, path in read["paths"].items()},
        persistent=_PERSISTENT.validate_python(read["persistent"]),
        reacted=_PERSISTENT.validate_python(read["reacted"]),
        late=_LATE.validate_python(read["late"]),
        first_cost=read["first_cost"],
        **plans,
    )


def _no_books() -> Prevailing:
    times, prices = np.zeros(0, np.int64), np.zeros(0)
    return Prevailing(times, times, prices, prices, np.zeros((0, 2, 1)), np.zeros((0, 2, 1)), np.zeros((0, 2)))

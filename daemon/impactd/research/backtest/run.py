"""A backtest from files to figures, on all cores.

Each order is worked by itself from a state that was saved before its start,
so orders may run in any process and sequence: the result is sorted and
does not depend on the number of processes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from impactd.core.base.settings import CoreSettings
from impactd.research.backtest.days import SymbolTape, read_tapes
from impactd.research.backtest.evaluate import (
    ALWAYS,
    ENGINE,
    ENGINES,
    LEARNED,
    STRATEGIES,
    VARIANTS,
    Bench,
    Outcome,
)
from impactd.research.backtest.live import State, states_at
from impactd.research.backtest.study import DayStudy, study_days
from impactd.research.backtest.windows import Question, Trial, trials
from impactd.research.backtest.workers import Job, work
from impactd.research.errors import MALFORMED, ValidationError

#: By default the engine's variants run for this many orders at most: each costs as much as the engine.
MAX_FOR_VARIANTS: Final = 300

#: Called with what is done since the last call, in orders.
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Backtest:
    """All that a report is made from.

    Attributes
    ----------
    outcomes : tuple of Outcome
        In the order of symbol, day, start, end, size and side.
    skipped : tuple of str
        Windows that were left out, and why.
    """

    question: Question
    strategies: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    studies: tuple[DayStudy, ...]
    skipped: tuple[str, ...]
    settings: CoreSettings


def chosen(strategies: Sequence[str]) -> tuple[str, ...]:
    """Return the strategies to run, those that every figure needs among them, in the usual order.

    Raises
    ------
    ValidationError
        1001 if one is not known.
    """
    unknown = [name for name in strategies if name not in STRATEGIES]
    if unknown:
        raise ValidationError(
            MALFORMED, f"strategies: {', '.join(unknown)} is not known", f"choose from {', '.join(STRATEGIES)}"
        )
    wanted = {*(strategies or STRATEGIES), *ALWAYS}
    return tuple(name for name in STRATEGIES if name in wanted)


def for_backtest(settings: CoreSettings) -> CoreSettings:
    """Return settings under which recorded days are worked: in event time, filled as scheduled."""
    return dataclasses.replace(
        settings, apply="in_event_time", plans=dataclasses.replace(settings.plans, fills="scheduled")
    )


def backtest(
    paths: Sequence[Path],
    settings: CoreSettings,
    question: Question,
    *,
    strategies: Sequence[str] = (),
    codec: str | None = None,
    symbol: str | None = None,
    workers: int = 1,
    begin: Callable[[int], Progress] | None = None,
) -> Backtest:
    """Run a backtest on recorded files.

    Parameters
    ----------
    settings : CoreSettings
        Of the service; its session is the day that windows lie in.
    strategies : sequence of str
        Of `STRATEGIES`; all by default.
    codec, symbol : str, optional
        Of files that do not say.
    workers : int
        Processes.
    begin : callable, optional
        Takes the number of orders, and returns what is called as they are done.

    Raises
    ------
    ValidationError
        1001 where there is nothing to try.
    """
    chosen(strategies)  # before a file is read for nothing
    settings = for_backtest(settings)
    tapes = read_tapes(paths, settings, codec=codec, symbol=symbol)
    return run(tapes, settings, question, strategies, workers=workers, begin=begin)


def run(
    tapes: Sequence[SymbolTape],
    settings: CoreSettings,
    question: Question,
    strategies: Sequence[str] = (),
    *,
    workers: int = 1,
    begin: Callable[[int], Progress] | None = None,
    walked: Mapping[str, tuple[list[DayStudy], dict[int, State]]] | None = None,
) -> Backtest:
    """Run a backtest on tapes; see `backtest`.

    `walked` is what `study_days` has given for each symbol under these settings, without a trained file, where that is
    known already.
    """
    found: list[tuple[SymbolTape, list[Trial]]] = []
    skipped: list[str] = []
    for tape in tapes:
        tried = [trial for day in tape.days for trial in trials(question, day)]
        skipped += [trial for trial in tried if isinstance(trial, str)]
        found.append((tape, [trial for trial in tried if isinstance(trial, Trial)]))
    n = sum(len(mine) for _, mine in found)
    if n == 0:
        reasons = "; ".join(dict.fromkeys(skipped)) or "no window of that horizon fits"
        raise ValidationError(MALFORMED, f"windows: none to try ({reasons})", "check --from, --to, --horizon")
    if LEARNED in strategies and not settings.model.learned:
        raise ValidationError(
            MALFORMED, f"strategies: {LEARNED} needs a trained file", "name one with --set model.learned=FILE"
        )
    names = tuple(name for name in chosen(strategies) if name != LEARNED or settings.model.learned)
    if not strategies and n > MAX_FOR_VARIANTS:
        names = tuple(name for name in names if name not in VARIANTS)
    engines = {name: ENGINES[name](settings) for name in names if name in ENGINES}
    default = ENGINES[ENGINE](settings)
    progress = begin(n) if begin is not None else None
    benches: dict[str, Bench] = {}
    studies: list[DayStudy] = []
    jobs: list[Job] = []
    for tape, mine in found:
        days, states = walked[tape.symbol] if walked is not None else study_days(tape, default)
        studies += days
        benches[tape.symbol] = Bench(tape, {study.day.name: study for study in days}, engines, settings.plans)
        starts = sorted({trial.order.start for trial in mine})
        by_engine = {name: states if own == default else states_at(tape, own, starts) for name, own in engines.items()}
        # Trials come by day, start and end.
        for (start, _), same in groupby(mine, lambda trial: (trial.order.start, trial.order.end)):
            jobs.append(Job(tuple(same), {name: by_engine[name][start] for name in engines}))
    outcomes = work(benches, names, jobs, workers, progress)
    return Backtest(question, names, tuple(outcomes), tuple(studies), tuple(dict.fromkeys(skipped)), settings)

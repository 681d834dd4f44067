"""A backtest from files to figures, on all cores.

Each order is worked by itself from a state that was saved before its start,
so orders may run in any process and sequence: the result is sorted and
does not depend on the number of processes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Mapping, Sequence
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
from impactd.research.backtest.study import DayForecasts, DayStudy, study_days
from impactd.research.backtest.windows import Question, Trial, trials
from impactd.research.backtest.workers import Job, work_each
from impactd.research.errors import MALFORMED, ValidationError

#: By default the engine's variants run for this many orders at most: each costs as much as the engine.
MAX_FOR_VARIANTS: Final = 300

#: Called with what is done since the last call, in orders.
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Worked:
    """What orders came to."""

    strategies: tuple[str, ...]
    #: In the order of symbol, day, start, end, size and side.
    outcomes: tuple[Outcome, ...]
    studies: tuple[DayForecasts, ...]
    skipped: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Backtest(Worked):
    """All that a report is made from."""

    question: Question
    settings: CoreSettings


def chosen(strategies: Sequence[str]) -> tuple[str, ...]:
    """Return the strategies to run, those that every figure needs among them, in the usual order."""
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
    begin : callable, optional
        Takes the number of orders, and returns what is called as they are done.
    """
    chosen(strategies)  # before a file is read for nothing
    settings = for_backtest(settings)
    tapes = read_tapes(paths, settings, codec=codec, symbol=symbol)
    return run(tapes, settings, question, strategies, workers=workers, begin=begin)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """All that a backtest is to do, before any of it is done."""

    tapes: tuple[SymbolTape, ...]
    settings: CoreSettings
    question: Question
    strategies: tuple[str, ...]
    #: By symbol and day, in the order of the report; a day on which nothing can be tried has none.
    trials: Mapping[tuple[str, str], tuple[Trial, ...]]
    #: Windows of each that were left out, and why.
    skipped: Mapping[tuple[str, str], tuple[str, ...]]

    @classmethod
    def of(
        cls, tapes: Sequence[SymbolTape], settings: CoreSettings, question: Question, strategies: Sequence[str] = ()
    ) -> Asked:
        """Return what is asked of tapes."""
        found: dict[tuple[str, str], tuple[Trial, ...]] = {}
        skipped: dict[tuple[str, str], tuple[str, ...]] = {}
        for tape in tapes:
            for day in tape.days:
                tried = list(trials(question, day))
                if settings.plans.metaorder != "off" and not day.volume.sum() > 0.0:
                    tried = [f"{day.symbol} {day.name}: no trade, and the law of plans.metaorder needs the volume"]
                found[tape.symbol, day.name] = tuple(trial for trial in tried if isinstance(trial, Trial))
                skipped[tape.symbol, day.name] = tuple(trial for trial in tried if isinstance(trial, str))
        n = sum(map(len, found.values()))
        if n == 0:
            reasons = "; ".join(dict.fromkeys(reason for each in skipped.values() for reason in each))
            raise ValidationError(
                MALFORMED,
                f"windows: none to try ({reasons or 'no window of that horizon fits'})",
                "check --from, --to, --horizon",
            )
        if LEARNED in strategies and not settings.model.learned:
            raise ValidationError(
                MALFORMED, f"strategies: {LEARNED} needs a trained file", "name one with --set model.learned=FILE"
            )
        names = tuple(name for name in chosen(strategies) if name != LEARNED or settings.model.learned)
        if not strategies and n > MAX_FOR_VARIANTS:
            names = tuple(name for name in names if name not in VARIANTS)
        return cls(tuple(tapes), settings, question, names, found, skipped)

    def walk(
        self,
        tape: SymbolTape,
        days: Container[str] | None = None,
        walked: tuple[list[DayStudy], dict[int, State]] | None = None,
    ) -> tuple[Bench, dict[str, list[Job]]]:
        """Return what the orders of one symbol are tried on, and the jobs of each of its days.

        Parameters
        ----------
        days : container of str, optional
            Only these days; the tape is walked no further than the last of them.
        walked : tuple, optional
            What `study_days` has given for this tape.
        """
        names = [day.name for day in tape.days]
        wanted = [name for name in names if days is None or name in days]
        # The engine learns from one day to the next: days before the last one are walked whether wanted or not.
        before = names[: names.index(wanted[-1]) + 1] if wanted else []
        tape = dataclasses.replace(tape, days=tape.days[: len(before)])
        engines = {name: ENGINES[name](self.settings) for name in self.strategies if name in ENGINES}
        default = ENGINES[ENGINE](self.settings)
        starts = {trial.order.start for name in wanted for trial in self.trials[tape.symbol, name]}
        studies, states = study_days(tape, default, starts) if walked is None else walked
        bench = Bench(tape, {study.day.name: study for study in studies}, engines, self.settings.plans)
        # Stops at each day's open: what the engine publishes on all days would be held until the next stop.
        opens = [day.open for day in tape.days]
        by_engine = {
            name: states if own == default else states_at(tape, own, starts, at=opens) for name, own in engines.items()
        }
        jobs: dict[str, list[Job]] = {}
        for name in wanted:
            # Trials come by start and end.
            same = groupby(self.trials[tape.symbol, name], lambda trial: (trial.order.start, trial.order.end))
            jobs[name] = [
                Job(tuple(group), {engine: by_engine[engine][start] for engine in engines})
                for (start, _), group in same
            ]
        return bench, jobs


def run(
    tapes: Sequence[SymbolTape],
    settings: CoreSettings,
    question: Question,
    strategies: Sequence[str] = (),
    *,
    workers: int = 1,
    begin: Callable[[int], Progress] | None = None,
) -> Backtest:
    """Run a backtest on tapes; see `backtest`."""
    [done] = run_all(tapes, settings, (question,), strategies, workers=workers, begin=begin)
    return done


def run_all(
    tapes: Sequence[SymbolTape],
    settings: CoreSettings,
    questions: Sequence[Question],
    strategies: Sequence[str] = (),
    *,
    workers: int = 1,
    begin: Callable[[int], Progress] | None = None,
    walked: Mapping[str, tuple[list[DayStudy], dict[int, State]]] | None = None,
) -> list[Backtest]:
    """Run several backtests on the same tapes and in the same processes; see `backtest`.

    Parameters
    ----------
    questions : sequence of Question
        The strategies are those of the first one.
    walked : mapping, optional
        What `study_days` has given for each symbol under these settings, without a trained file; without it each
        question walks through the tapes.
    """
    all_asked = [Asked.of(tapes, settings, question, strategies) for question in questions]
    names = all_asked[0].strategies
    progress = begin(sum(len(its) for asked in all_asked for its in asked.trials.values())) if begin else None
    benches: dict[str, Bench] = {}
    studies: list[DayStudy] = []
    jobs: dict[str, list[Job]] = {str(i): [] for i in range(len(all_asked))}
    for tape in tapes:
        for i, asked in enumerate(all_asked):
            bench, by_day = asked.walk(tape, walked=None if walked is None else walked[tape.symbol])
            benches.setdefault(tape.symbol, bench)
            jobs[str(i)] += [job for mine in by_day.values() for job in mine]
        studies += benches[tape.symbol].studies.values()
    done = dict(work_each(benches, names, jobs, workers, progress))
    return [
        Backtest(
            names,
            tuple(done[str(i)]),
            tuple(studies),
            tuple(dict.fromkeys(reason for each in asked.skipped.values() for reason in each)),
            asked.question,
            settings,
        )
        for i, asked in enumerate(all_asked)
    ]

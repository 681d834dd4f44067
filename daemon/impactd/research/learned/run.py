"""Trains a file on recorded days, and tests it on days that it has not seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from impactd.core.base.settings import CoreSettings
from impactd.core.model.learned.trained import TREES
from impactd.research.backtest.capture import Priced, pooled
from impactd.research.backtest.days import SymbolTape
from impactd.research.backtest.evaluate import ENGINE, LEARNED
from impactd.research.backtest.run import Progress, run
from impactd.research.backtest.windows import Question, Trial, trials
from impactd.research.learned.assess import Fold, Judged, folds, judge, scores
from impactd.research.learned.fit import fit
from impactd.research.learned.samples import Samples, samples_of, with_learned

STRATEGIES: Final = (ENGINE, LEARNED, "twap", "hindsight")

#: Orders are tried at these shares of the visible depth, for each interval: from where spread is all of the cost to
#: where it is least of it.
QUESTION: Final = Question(depth_shares=(0.01, 0.04, 0.25), horizon_min=60, trimmed=False)


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """A trained file, and what files trained like it were worth."""

    #: Of the file, trained on all days.
    content: bytes
    days: tuple[str, ...]
    #: See `impactd.research.learned.assess.scores`; empty where no day could be judged.
    scores: list[dict[str, Any]]
    #: By strategy, as `impactd.research.backtest.capture.pooled` has it; empty likewise.
    capture: dict[str, Any]

    @property
    def wins(self) -> bool:
        """Whether it is better than the default on days not seen: in every symbol's errors, and in capture."""
        whole = {(row["symbol"], row["series"], row["forecast"]): row for row in self.scores if row["horizon"] is None}
        pairs = {(symbol, series) for symbol, series, _ in whole}
        closer = all(
            whole[(*pair, "learned")][measure] < whole[(*pair, "default")][measure]
            for pair in pairs
            for measure in ("log_error", "pinball")
        )
        captured = [self.capture.get(name, {}).get("capture") for name in (LEARNED, ENGINE)]
        return bool(pairs) and closer and None not in captured and captured[0] > captured[1]


def train(
    tapes: Sequence[SymbolTape],
    settings: CoreSettings,
    seed: int,
    *,
    kind: str = TREES,
    split: str = "forward",
    question: Question | None = QUESTION,
    workers: int = 1,
    begin: Callable[[int], Progress] | None = None,
) -> Training:
    """Train on all days, and judge the same by folds of days.

    Parameters
    ----------
    settings : CoreSettings
        Those under which recorded days are worked (`impactd.research.backtest.run.for_backtest`); a trained file in
        them is left out.
    kind : str
        Of trained file, of `impactd.core.model.learned.trained.KINDS`.
    split : str
        Of `impactd.research.learned.assess.SPLITS`.
    question : Question, optional
        Orders that schedules are compared on; None for no backtest.
    begin : callable, optional
        Takes a number of orders, and returns what is called as they are done.
    """
    settings = with_learned(settings, "")
    samples: list[Samples] = [part for tape in tapes for part in samples_of(tape, settings, kind)]
    content = fit(samples, settings, seed)
    tests = [
        assess_fold(tapes, fold, settings, seed, question, workers=workers, begin=begin)
        for fold in folds(samples, split, settings.books.interval_ns)
    ]
    return summed(content, tests, seed)


@dataclass(frozen=True, slots=True, eq=False)
class Tested:
    """What one day showed of a file that was trained without it."""

    day: str
    judged: tuple[Judged, ...]
    orders: tuple[Priced, ...]


def assess_fold(
    tapes: Sequence[SymbolTape],
    fold: Fold,
    settings: CoreSettings,
    seed: int,
    question: Question | None,
    *,
    workers: int = 1,
    begin: Callable[[int], Progress] | None = None,
) -> Tested:
    """Train on a fold's other days, and test on its day; see `train`."""
    trained, judged = judge(fold, settings, seed)
    orders: list[Priced] = []
    if question is not None:
        orders = _tried(tapes, fold, with_learned(settings, trained), question, workers, begin)
    return Tested(fold.day, tuple(judged), tuple(orders))


def summed(content: bytes, tests: Sequence[Tested], seed: int) -> Training:
    """Return the training that all days' tests are of."""
    orders = [order for test in tests for order in test.orders]
    judged = [item for test in tests for item in test.judged]
    capture = pooled(orders, STRATEGIES, seed) if orders else {}
    return Training(content, tuple(test.day for test in tests), scores(judged), capture)


def _tried(
    tapes: Sequence[SymbolTape],
    fold: Fold,
    settings: CoreSettings,
    question: Question,
    workers: int,
    begin: Callable[[int], Progress] | None,
) -> list[Priced]:
    """Return a fold's orders, each worked from all that its tape has shown before; none where no window fits."""
    days = {tape.symbol: tuple(day for day in tape.days if day.name == fold.day) for tape in tapes}
    mine = [dataclasses.replace(tape, days=days[tape.symbol]) for tape in tapes if days[tape.symbol]]
    if not any(isinstance(trial, Trial) for tape in mine for day in tape.days for trial in trials(question, day)):
        return []
    test = run(mine, settings, question, STRATEGIES, workers=workers, begin=begin)
    return [outcome.priced for outcome in test.outcomes]

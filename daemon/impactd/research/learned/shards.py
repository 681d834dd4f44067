"""Training in shards (`impactd.research.shards`): a unit tests one day of all symbols; a further one trains the file.

What is learned for a day comes from other days, so each shard walks the days of all symbols without orders. The orders
of a day, which take most of the time, are worked in one shard alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from pydantic import TypeAdapter
from pydantic_core import from_json

from impactd.core.base.settings import CoreSettings
from impactd.core.inputs.ticks import Float
from impactd.research.backtest.capture import Priced
from impactd.research.backtest.days import SymbolTape
from impactd.research.backtest.run import Progress
from impactd.research.backtest.windows import Question
from impactd.research.learned.assess import FORECASTS, Judged, folds
from impactd.research.learned.fit import fit
from impactd.research.learned.run import Tested, Training, assess_fold, summed
from impactd.research.learned.samples import samples_of, with_learned
from impactd.research.shards import Content, Unit, Whole, text_of

STUDY: Final = "train"

#: The unit that is the trained file.
FILE: Final[Unit] = ("trained file", "")

_DAY: Final = "test of"

_PRICED: Final = TypeAdapter(Priced)


def whole_of(
    tapes: Sequence[SymbolTape], split: str, question: Question | None, known: Mapping[str, Any], **more: object
) -> Whole:
    """Return the description of a training; `known` is what else its figures follow from."""
    days = sorted({day.name for tape in tapes for day in tape.days})
    asked = {"backtest": question is not None, **({} if question is None else dataclasses.asdict(question))}
    return Whole(STUDY, {**known, "split": split, "question": asked}, more, (*((_DAY, day) for day in days), FILE))


def worked(
    tapes: Sequence[SymbolTape],
    settings: CoreSettings,
    question: Question | None,
    whole: Whole,
    todo: Sequence[Unit],
    *,
    workers: int = 1,
    begin: Callable[[int], Progress] | None = None,
) -> Generator[tuple[Unit, Content], None, None]:
    """Yield units with their results.

    Raises
    ------
    ModelFittingError
        2001 if there is too little to learn from.
    """
    settings, seed = with_learned(settings, ""), whole.known["seed"]
    samples = [part for tape in tapes for part in samples_of(tape, settings, whole.known["model"])]
    left = set(todo)
    for fold in folds(samples, whole.known["split"], settings.books.interval_ns):
        if (unit := (_DAY, fold.day)) in left:
            left.remove(unit)
            yield unit, _content(assess_fold(tapes, fold, settings, seed, question, workers=workers, begin=begin))
    if FILE in left:
        left.remove(FILE)
        yield FILE, Content([("file", fit(samples, settings, seed).decode())])
    for unit in sorted(left):
        yield unit, Content([("untested", "no other day to learn from")])


def merged(whole: Whole, contents: Sequence[Content]) -> Training:
    """Return the training that the results are of."""
    by_unit = dict(zip(whole.units, contents, strict=True))
    [content] = by_unit.pop(FILE).of("file")
    tests = [_test(day, found) for (_, day), found in by_unit.items() if not found.of("untested")]
    return summed(content.encode(), tests, whole.known["seed"])


def _content(test: Tested) -> Content:
    arrays: dict[str, Float] = {}
    for i, item in enumerate(test.judged):
        arrays |= {f"{i}.horizon": item.horizon.astype(np.float64), f"{i}.came": item.came}
        for name in FORECASTS:
            arrays |= {f"{i}.median.{name}": item.median[name], f"{i}.quantiles.{name}": item.quantiles[name]}
    judged = [("judged", item.symbol) for item in test.judged]
    return Content([*judged, *(("order", text_of(order)) for order in test.orders)], arrays)


def _test(day: str, content: Content) -> Tested:
    arrays = content.arrays
    judged = (
        Judged(
            symbol,
            arrays[f"{i}.horizon"].astype(np.int64),
            arrays[f"{i}.came"],
            {name: arrays[f"{i}.median.{name}"] for name in FORECASTS},
            {name: arrays[f"{i}.quantiles.{name}"] for name in FORECASTS},
        )
        for i, symbol in enumerate(content.of("judged"))
    )
    orders = (_PRICED.validate_python(from_json(text)) for text in content.of("order"))
    return Tested(day, tuple(judged), tuple(orders))

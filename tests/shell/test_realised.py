"""What quantities cost at the books of a day that is read in parts: the same as at once, and unknown without a book."""

from __future__ import annotations

import math

import numpy as np
import pytest

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import BookSettings
from impactd.core.base.topics import Side
from impactd.core.books.interval_cost import Intervals, Prevailing
from impactd.core.books.walk import BUY, SELL
from impactd.core.inputs.ticks import TickBatch
from impactd.shell.realised import Question, price
from tests.core.builders import T0, M, S, random_rows
from tests.core.rows import Row, batch_of, book

SETTINGS = BookSettings()
MINUTES = 6


def cut(rows: list[Row], size: int) -> list[TickBatch]:
    return [batch_of(rows[k : k + size]) for k in range(0, len(rows), size)]


def path(rng: np.random.Generator) -> dict[int, int]:
    starts = rng.choice(MINUTES, int(rng.integers(1, MINUTES)), replace=False).tolist()
    return {T0 + start * M: int(rng.integers(0, 900)) * QUANTA for start in starts}


@pytest.mark.parametrize("size", [1, 7, 1_000])
@pytest.mark.parametrize("seed", range(6))
def test_price_in_parts_is_the_walk_through_the_whole_day(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, 300, ("FROG", "ARL"), MINUTES * M)
    questions = {
        f"{symbol}-{side}-{k}": Question(symbol, side, T0 + int(rng.integers(0, 3 * M)), (path(rng), path(rng)))
        for symbol in ("FROG", "ARL")
        for side in Side
        for k in range(2)
    }
    answers = price(questions, cut(rows, size), SETTINGS)
    for name, question in questions.items():
        mine = [row for row in rows if row.symbol == question.symbol]
        books = Prevailing.of(batch_of(mine), SETTINGS)
        whole = Intervals.of(books, T0, MINUTES, M)
        for at, quanta in enumerate(question.paths):
            starts = np.array([(start - T0) // M for start in quanta], np.int64)
            shares = np.array([qty / QUANTA for qty in quanta.values()])
            costs, beyond = whole.costs(BUY if question.side is Side.BUY else SELL, starts, shares)
            assert answers[name].costs[at] == pytest.approx(float(costs.sum()), rel=1e-12, nan_ok=True)
            assert answers[name].beyond_qty[at] == pytest.approx(float(beyond.sum()), rel=1e-12, nan_ok=True)
        after = books.mid[books.end > question.begin]
        assert answers[name].arrival_px == (float(after[0]) if len(after) else None)


def test_price_interval_without_a_book_is_not_known() -> None:
    rows = [book(T0), Row(T0 + 30 * S, ((99.0, 5.0),)), book(T0 + 2 * M)]
    paths = ({T0: QUANTA}, {T0: QUANTA, T0 + M: QUANTA}, {T0 + M: 0, T0 + 2 * M: QUANTA})
    (answer,) = price({"A": Question("FROG", Side.BUY, T0, paths)}, [batch_of(rows)], SETTINGS).values()
    assert answer.arrival_px == 100.0
    assert [math.isnan(cost) for cost in answer.costs] == [False, True, False]


def test_price_symbol_without_rows_is_not_known() -> None:
    asked = {"A": Question("NONE", Side.SELL, T0, ({T0: QUANTA},))}
    (answer,) = price(asked, [batch_of([book(T0)])], SETTINGS).values()
    assert (answer.arrival_px, math.isnan(answer.costs[0])) == (None, True)


def test_price_nothing_asked_reads_nothing() -> None:
    def fail() -> TickBatch:
        raise AssertionError

    assert price({}, (fail() for _ in range(1)), SETTINGS) == {}

"""`make bench` must not rot: its parts run on tiny sizes, and say nothing about speed."""

from __future__ import annotations

import io
import math

import numpy as np
import orjson
import pytest
from rich.console import Console

from impactd.wire.decoder import TickDecoder
from impactd.wire.ticks.json.codec import JsonTickCodec
from tests.benchmarks import allocator, batched, growth, minute, page, ticks
from tests.benchmarks.books import BOOKS_PER_SECOND, OPEN_NS, book_records
from tests.benchmarks.figures import Figure, Section, Target, machine, print_table
from tests.benchmarks.legs import Measured, median_and_spread, take_turns


def test_book_records_are_ten_level_books_of_about_383_bytes_at_an_even_pace() -> None:
    records = list(book_records(1_000))
    decoded = (
        JsonTickCodec()
        .reference()
        .decode_columns([record.value for record in records], [record.offset for record in records], [0] * len(records))
    )
    assert not decoded.refused
    assert set(decoded.batch.n_bid.tolist()) == set(decoded.batch.n_ask.tolist()) == {10}
    assert decoded.batch.ts_event.tolist() == [OPEN_NS + i * (1_000_000_000 // BOOKS_PER_SECOND) for i in range(1_000)]
    assert sum(len(record.value) for record in records) / len(records) == pytest.approx(383, rel=0.03)


@pytest.mark.parametrize("codec", batched.CODECS)
def test_batched_records_hold_fifty_books_each_and_go_on_in_time(codec: str) -> None:
    again = 2 * batched.MADE_S * BOOKS_PER_SECOND
    records = list(batched.batched_records(codec, again))
    decoded = TickDecoder(codec).decode_columns(
        [record.value for record in records],
        list(range(len(records))),
        [record.ts_ms * 1_000_000 for record in records],
        [record.symbol.encode() for record in records],
    )
    assert not decoded.refused
    assert len(decoded.batch) == batched.BOOKS * len(records)
    assert len(records) == again // batched.BOOKS
    for code in range(len(decoded.batch.symbols)):
        times = decoded.batch.ts_event[decoded.batch.symbol == code]
        assert np.all(np.diff(times) > 0)


def test_ticks_section_on_few_books_gives_every_figure() -> None:
    figures = ticks.measure(n=200, rounds=1)
    assert len(figures) == 9
    assert all(math.isfinite(figure.value) and figure.value > 0 for figure in figures)


def test_allocator_section_on_short_horizons_gives_every_figure() -> None:
    figures = allocator.measure(horizons=(20, 40), kinds=("linear",), rounds=1)
    names = {figure.name for figure in figures}
    assert {"linear, N = 20: osqp by CVXPY", "linear, N = 40: clarabel by CVXPY"} <= names
    assert {"linear: growth exponent, exact", "linear with risk, N = 20: exact"} <= names
    assert all(math.isfinite(figure.value) for figure in figures)


def test_allocator_section_on_a_wrong_answer_refuses_to_time_it() -> None:
    with pytest.raises(RuntimeError, match="compares nothing"):
        allocator._must_cost("a solver", 1.01, 1.0, 1e-6)


def test_minute_section_on_few_orders_counts_plans_and_bytes() -> None:
    figures = minute.measure(orders=(6,), symbols=3, minutes=2)
    assert all(math.isfinite(figure.value) and figure.value >= 0.0 for figure in figures)
    written = {figure.name.rpartition(" ")[2]: figure.value for figure in figures if figure.unit == "bytes"}
    assert set(written) == {"plans", "plans.latest", "state", "journal"}
    assert min(written.values()) > 0.0


def test_growth_section_on_few_symbols_and_orders_gives_every_exponent() -> None:
    figures = growth.measure(symbols=(1, 4), orders=(3, 6), batch=40, commits=2, minutes=1, memory=False)
    assert all(math.isfinite(figure.value) for figure in figures)
    assert [figure.name for figure in figures if figure.name.startswith("exponent")] == [
        "exponent of a tick's time in symbols",
        "exponent of a close's time in orders",
    ]


def test_page_section_compares_within_the_rounds() -> None:
    legs = {page.ALONE: (100, 200), page.SEEN: (100, 210)}
    found = page.figures(
        {name: [Measured(rate, 1.0, 2.0) for rate in rates] for name, rates in legs.items()},
        [Measured(10, 1.0, 0.04), Measured(10, 1.0, 0.08)],
    )
    ratios = {figure.name: figure.value for figure in found}
    assert ratios[f"{page.SEEN}, over: {page.ALONE}"] == pytest.approx((1.0 + 1.05) / 2)
    assert found[-1].value == pytest.approx(0.03)


def test_growth_of_times_that_double_with_n_is_one() -> None:
    assert allocator.growth((10, 20, 40), (1.0, 2.0, 4.0)) == pytest.approx(1.0)


def test_take_turns_of_two_legs_interleaves_them() -> None:
    said: list[tuple[str, int]] = []

    def leg(name: str, number: int) -> Measured:
        said.append((name, number))
        return Measured(100, 2.0, 1.0)

    found = take_turns({"a": lambda number: leg("a", number), "b": lambda number: leg("b", number)}, 2)
    assert said == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert [leg.rate for leg in found["a"]] == [50.0, 50.0]


def test_median_and_spread_of_three_values() -> None:
    assert median_and_spread([1.0, 4.0, 2.0]) == (2.0, 1.5)


@pytest.mark.parametrize(
    ("target", "value", "met"),
    [
        (Target("at least", 6.0), 6.0, True),
        (Target("at least", 6.0), 5.9, False),
        (Target("at most", 1.1), 1.1, True),
        (Target("at most", 1.1), 1.2, False),
        (Target("at most", 1.1), math.nan, False),
    ],
)
def test_target_is_met_at_its_bound_and_beyond(target: Target, value: float, *, met: bool) -> None:
    assert Figure("a figure", value, target=target).is_met is met


def test_table_and_document_of_a_section_name_its_command_and_what_was_missed() -> None:
    figure = Figure("a ratio", 0.4, "", 0.1, Target("at least", 0.5), "a note")
    section = Section("service", "A title", [figure], (0.1, 0.2), {"broker": "broker: maven"})
    out = io.StringIO()
    print_table([section], machine(), Console(file=out, width=200))
    assert "--only service" in out.getvalue()
    assert "MISSED" in out.getvalue()
    document = orjson.loads(orjson.dumps(section.as_json()))
    assert document["command"] == 'make bench ARGS="--only service"'
    assert document["figures"] == [
        {
            "name": "a ratio",
            "value": 0.4,
            "unit": "",
            "spread": 0.1,
            "target": {"bound": "at least", "value": 0.5},
            "met": False,
            "note": "a note",
        }
    ]

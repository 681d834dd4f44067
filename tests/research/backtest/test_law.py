"""A law for what a backtest trades beyond the books: nothing within, the closed form beyond, and hindsight under it."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.base.settings import BookSettings, CoreSettings
from impactd.core.books.interval_cost import Intervals, Prevailing
from impactd.core.books.walk import BUY
from impactd.core.inputs.ticks import Float
from impactd.core.planning.metaorder import LAWS, Metaorder
from impactd.research.backtest import policies, within
from impactd.research.backtest.days import SymbolTape
from impactd.research.backtest.evaluate import Outcome
from impactd.research.backtest.page import render
from impactd.research.backtest.policies import Task
from impactd.research.backtest.report import encode, figures
from impactd.research.backtest.run import Backtest, run
from impactd.research.backtest.shards import Part, content_of, part_of
from impactd.research.backtest.within import Takes
from tests.core.builders import T0, M, S
from tests.core.rows import Row, batch_of, trade
from tests.research.backtest.made import QUESTION, SETTINGS, ladder, noisy_rows, quanta, tape_of
from tests.research.errors import fails

POLICIES = ("engine", "twap", "twap_slices", "vwap", "persistence", "hindsight")
#: What a side of `flat_rows` shows, what it trades in a minute, and by how much its mid moves in each.
DEPTH, VOLUME, MOVE = 800.0, 1_000.0, 0.02


def under(name: str, base: CoreSettings = SETTINGS, coefficient: float | None = None) -> CoreSettings:
    plans = dataclasses.replace(base.plans, metaorder=name, metaorder_coefficient=coefficient)
    return dataclasses.replace(base, plans=plans)


def moving(rows: list[Row]) -> list[Row]:
    """Return books about a mid that goes to and fro from one minute to the next."""
    moved = []
    for row in rows:
        by = MOVE * ((row.ts - T0) // M % 2)
        bids, asks = (tuple((px + by, size) for px, size in side) for side in (row.bids, row.asks))
        moved.append(dataclasses.replace(row, bids=bids, asks=asks))
    return moved


def flat_rows(n: int = 60) -> list[Row]:
    """Return the same book of 8 levels each minute, about a mid that moves, and as much volume in each."""
    return moving([row for t in range(n) for row in (ladder(T0 + t * M), trade(T0 + t * M + 30 * S, VOLUME))])


def tried(rows: list[Row], qty: float, given: CoreSettings, **terms: object) -> Backtest:
    question = dataclasses.replace(QUESTION, qty=(qty,), **terms)
    return run([tape_of(rows, given)], given, question, POLICIES)


def walk(x: float) -> float:
    """Return what the book of `flat_rows` costs up to its depth, and its last level beyond."""
    shown = min(x, DEPTH)
    level = np.clip(shown - 100.0 * np.arange(8), 0.0, 100.0)
    return 0.02 * x + float(level @ (0.01 * np.arange(8))) + 0.07 * (x - shown)


@pytest.mark.parametrize("name", LAWS)
def test_cost_beyond_flat_books_is_the_closed_form(name: str) -> None:
    qty, law, n = 40_000.0, LAWS[name], 20
    sigma, volume, lasts = MOVE * math.sqrt(60), 60 * VOLUME, 20 / 60
    unit = law.paid * law.coefficient * sigma * volume**-law.exponent * lasts**-law.duration
    power, beyond = 1.0 + law.exponent, qty - n * DEPTH
    expected = unit * (qty**power - (qty - beyond) ** power)
    for outcome in tried(flat_rows(), qty, under(name), trimmed=False).outcomes:
        priced = outcome.priced
        assert priced.beyond["twap"] == pytest.approx(beyond)
        assert priced.law["twap"] == pytest.approx(expected)
        assert priced.cost["twap"] == pytest.approx(n * walk(qty / n) + expected)
        # With books all alike no schedule trades less beyond them.
        assert priced.cost["hindsight"] == pytest.approx(priced.cost["twap"])


def test_plan_whose_forecast_is_exact_expects_the_law_s_part_that_is_charged() -> None:
    given = under("square_root")
    model = dataclasses.replace(given.model, prior_profile=False, learn_profile=False)
    given = dataclasses.replace(given, model=model, books=BookSettings(sizes=(100.0, 200.0, 400.0, DEPTH)))
    last = [o for o in tried(flat_rows(), 40_000.0, given, trimmed=False).outcomes if o.priced.start > T0]
    assert last
    for outcome in last:
        assert outcome.expected is not None
        assert outcome.expected.metaorder_cost == pytest.approx(outcome.priced.law["engine"], rel=1e-6)


def by_order(test: Backtest) -> dict[tuple[int, int, str], Outcome]:
    return {(o.priced.start, o.priced.horizon_min, o.priced.side): o for o in test.outcomes}


def test_orders_within_the_books_cost_what_they_cost_without_a_law() -> None:
    rows = moving(noisy_rows(3))
    off, on = (by_order(tried(rows, 600.0, given)) for given in (SETTINGS, under("almgren")))
    assert off.keys() == on.keys()
    for key, outcome in on.items():
        for name in POLICIES:
            assert off[key].priced.beyond[name] == 0.0
            assert outcome.priced.law[name] == 0.0
            assert outcome.priced.cost[name] == off[key].priced.cost[name]
            assert outcome.paths[name].tobytes() == off[key].paths[name].tobytes()


def test_report_states_the_law_s_part_only_where_there_is_a_law() -> None:
    rows = moving(noisy_rows(3))
    tests = {name: tried(rows, 20_000.0, under(name)) for name in ("off", "sato_kanazawa")}
    reports = {name: figures(test, [], 0) for name, test in tests.items()}
    for name, test in tests.items():
        words = encode(reports[name]).decode() + render(test, reports[name])
        for word in ("metaorder", "of it the law", "Beyond the books", "not measured"):
            assert (word in words) == (name != "off"), word
    report = reports["sato_kanazawa"]
    found = report["pooled"]["strategies"]
    for name in POLICIES:
        counted = [order for order in report["orders"] if "windows" in order["windows"]]
        assert found[name]["metaorder_cost"] == pytest.approx(sum(order["metaorder_cost"][name] for order in counted))
        assert 0.0 < found[name]["metaorder_cost"] < found[name]["cost"]
    # What is decided is the same; what is charged is not.
    off = by_order(tests["off"])
    for key, outcome in by_order(tests["sato_kanazawa"]).items():
        for name in set(POLICIES) - {"hindsight"}:
            assert outcome.paths[name].tobytes() == off[key].paths[name].tobytes()


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("coefficient", [None, 0.0, 20.0])
def test_no_policy_by_minutes_beats_hindsight_under_the_law(name: str, coefficient: float | None) -> None:
    for outcome in tried(moving(noisy_rows(4)), 12_000.0, under(name, coefficient=coefficient)).outcomes:
        cost = outcome.priced.cost
        assert (outcome.priced.law["twap"] > 0.0) == (coefficient != 0.0)
        assert min(cost[policy] for policy in POLICIES if policy != "twap_slices") >= cost["hindsight"] * (1.0 - 1e-9)


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(2, 5), st.floats(0.0, 2.0), st.floats(0.3, 0.7))
@settings(max_examples=200, deadline=None)
def test_hindsight_under_a_law_is_the_least_of_all_schedules(
    seed: int, qty: int, cap: int, scale: float, exponent: float
) -> None:
    rng = np.random.default_rng(seed)
    qty, steps, law = min(qty, 4 * cap), np.arange(cap + 1.0), Metaorder(scale, exponent)
    table = rng.uniform(0, 1, (4, 1)) * steps + rng.uniform(0, 0.3, (4, 1)) * steps**2
    over = np.maximum(steps - rng.uniform(0, cap, (4, 1)), 0.0)

    def charge(x: Float) -> tuple[float, float]:
        at = np.arange(4), x.astype(int)
        return float(table[at].sum()), float(over[at].sum())

    def total(x: Float) -> float:
        cost, beyond = charge(x)
        return cost + law.beyond(float(qty), beyond)

    x = policies.hindsight_under(Task(quanta(qty), quanta(cap), quanta(1), 4), table, over, quanta(1), law, charge)
    every = (np.array(x, float) for x in itertools.product(range(cap + 1), repeat=4) if sum(x) == qty)
    assert x.sum() == qty
    assert total(x) == pytest.approx(min(map(total, every)), rel=1e-8, abs=1e-12)


@given(st.lists(st.floats(0.0, 3.0 * DEPTH), min_size=2, max_size=6), st.sampled_from(sorted(LAWS)))
@settings(max_examples=40, deadline=None)
def test_cost_of_slices_grows_with_the_quantity_without_a_jump_at_the_depth(parts: list[float], name: str) -> None:
    books = Intervals.of(Prevailing.of(batch_of([ladder(T0)]), BookSettings()), T0, 1, M)
    books = dataclasses.replace(books, rising=0.0)
    law = Metaorder(0.01, LAWS[name].exponent)

    def cost(qty: float) -> within.Cost:
        at = T0 + np.arange(1, dtype=np.int64)
        return within.price(books, BUY, Takes(at, np.array([qty])), 0, law)

    ascending = [cost(qty) for qty in sorted(parts)]
    for one, more in itertools.pairwise(ascending):
        assert more.own >= one.own
        assert more.law >= one.law
        assert (one.law > 0.0) == (one.beyond > 0.0)
    at, past = cost(DEPTH), cost(DEPTH * (1.0 + 1e-9))
    assert at.law == 0.0
    assert past.own - at.own < 1e-5
    # One walk in parts is the same walk.
    whole = within.price(books, BUY, Takes(T0 + np.arange(len(parts)), np.array(parts)), 0, law)
    assert whole.own == pytest.approx(cost(sum(parts)).own)


def test_day_without_trades_has_no_volume_for_the_law_and_is_left_out() -> None:
    rows = [row for row in noisy_rows(3) if row.qty is None]
    with fails(1001, "windows") as raised:
        tried(rows, 900.0, under("square_root"))
    assert "FROG 2025-04-03: no trade, and the law of plans.metaorder needs the volume" in str(raised.value)


def test_variance_of_a_day_counts_the_time_between_closing_mids() -> None:
    def variance(rows: list[Row], given: CoreSettings = SETTINGS) -> float:
        tape: SymbolTape = tape_of(rows, given)
        return tape.days[0].variance()

    rows = flat_rows()
    assert variance(rows) == pytest.approx(MOVE**2)
    aged = dataclasses.replace(SETTINGS, books=dataclasses.replace(SETTINGS.books, max_book_age_ns=M))
    # Only every third minute has a book: its change counts as that of three minutes.
    assert variance([row for row in rows if (row.ts - T0) // M % 3 == 0], aged) == pytest.approx(MOVE**2 / 3)


def test_merge_keeps_the_law_s_part() -> None:
    test = tried(moving(noisy_rows(3)), 20_000.0, under("square_root"))
    part = Part(test.outcomes, test.studies[0], ())
    back = part_of(("FROG", test.studies[0].day.name), content_of(part))
    assert [o.priced.law for o in back.outcomes] == [o.priced.law for o in test.outcomes]

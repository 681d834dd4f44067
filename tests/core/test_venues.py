"""A day of a symbol on several venues through the engine: estimates, plans with their split, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import BookSettings, CoreSettings, PlanSettings
from impactd.core.base.venue import VenueRule, at_venue
from impactd.core.orders.order import Status
from impactd.core.outputs.messages import Plan
from tests.core.builders import T0, EngineHarness, M, S, at, change, encoded, ladder, new
from tests.core.rows import Row

AGE = 30 * S


def core(*rules: VenueRule) -> CoreSettings:
    return CoreSettings(books=BookSettings(max_book_age_ns=AGE), venues=rules)


def day(n_minutes: int, dies_at: int | None = None, shift: float = 0.0) -> list[Row]:
    """Return books of A and B in turn, ten seconds apart; A has its last one by `dies_at`, ns."""
    rows = []
    for k in range(n_minutes * 6 + 1):
        ts = T0 + k * 10 * S
        for n, venue in enumerate("AB"):
            if venue == "B" or dies_at is None or ts <= dies_at:
                rows.append(ladder(ts + n * S, at_venue("FROG", venue), 100.0 + n * shift))
    return rows


def worked(harness: EngineHarness, rows: list[Row], **terms: object) -> EngineHarness:
    harness.run([row for row in rows if row.ts < at(2)])
    harness.send(replace(new(ts=at(2)), terms=replace(new(ts=at(2)).terms, **terms)))
    harness.run([row for row in rows if row.ts >= at(2)])
    return harness


def shares(plan: Plan) -> dict[str, float]:
    return {part.venue: part.qty / QUANTA for part in plan.venues}


def test_each_venue_has_its_estimates_and_the_symbol_one_of_both() -> None:
    harness = EngineHarness(core())
    harness.run(day(2))
    first = [e for e in harness.estimates() if e.minute == T0]
    assert [(e.venue, str(e.side)) for e in first] == [
        (venue, side) for venue in (None, "A", "B") for side in ("buy", "sell")
    ]
    assert {e.symbol for e in first} == {"FROG"}
    assert all(e.covered_s > 58.0 for e in first)


def test_a_plan_splits_its_first_interval_and_fees_turn_it() -> None:
    free = worked(EngineHarness(core()), day(5))
    for plan in free.plans()[:-1]:
        assert sum(part.qty for part in plan.venues) + (plan.venues_left_qty or 0) == plan.qty[0]
        assert plan.venues_gap == 0.0
    assert shares(free.plans()[0])["A"] == 100.0
    charged = worked(EngineHarness(core(VenueRule("A", taker_fee_per_unit=0.05))), day(5))
    assert shares(charged.plans()[0]) == {"B": 100.0}


def test_plans_are_published_each_minute_so_that_the_split_is_of_the_books_that_prevail() -> None:
    harness = worked(EngineHarness(core()), day(8))
    assert {plan.as_of for plan in harness.plans()} == {T0 + k * M for k in range(2, 9)}


def test_a_venue_that_dies_leaves_the_split_and_is_alerted_once() -> None:
    harness = worked(EngineHarness(core()), day(8, dies_at=at(4.5)))
    assert [alert.as_of for alert in harness.alerts("venue_lost")] == [T0 + 5 * M]
    by_time = {plan.as_of: set(shares(plan)) for plan in harness.plans()}
    assert "A" in by_time[T0 + 4 * M] | by_time[T0 + 3 * M]
    assert by_time[T0 + 6 * M] == {"B"}


def test_an_order_is_sent_to_the_venues_of_its_list_alone() -> None:
    harness = worked(EngineHarness(core()), day(5), venues=("B",))
    assert all(set(shares(plan)) <= {"B"} for plan in harness.plans())
    harness = worked(EngineHarness(core()), day(3), venues=("B",))
    harness.send(change(at(3.5), venues=()))
    harness.run(day(6)[40:])
    assert any("A" in shares(plan) for plan in harness.plans())


@pytest.mark.parametrize("rules", [(), (VenueRule("C", symbols=("OTHER",)),)])
def test_a_venue_that_is_not_known_is_refused(rules: tuple[VenueRule, ...]) -> None:
    harness = worked(EngineHarness(core(*rules)), day(3), venues=("A", "C"))
    assert harness.last().status == Status.REJECTED
    assert "C" in str(harness.last().text)


def test_a_replace_to_a_venue_that_is_not_known_changes_nothing() -> None:
    harness = worked(EngineHarness(core()), day(3))
    harness.send(change(at(3.5), venues=("C",)))
    assert harness.last().status == Status.ACTIVE
    assert len(harness.alerts("order_rejected")) == 1


def test_a_list_of_venues_is_refused_where_orders_are_worked_in_slices() -> None:
    harness = worked(EngineHarness(replace(core(), plans=PlanSettings(act="slices"))), day(3), venues=("B",))
    last = harness.plans()[-1]
    assert (last.status, (last.text or "").partition(":")[0]) == (Status.REJECTED, "venues")


def test_a_venue_of_the_settings_is_known_before_its_first_tick() -> None:
    harness = EngineHarness(core(VenueRule("A")))
    harness.send(replace(new(ts=at(2)), terms=replace(new(ts=at(2)).terms, venues=("A",))))
    assert harness.last().status == Status.ACTIVE


def test_batches_and_restarts_change_no_byte() -> None:
    rows = day(7, dies_at=at(4.5), shift=0.07)
    whole = worked(EngineHarness(core(VenueRule("B", taker_fee_bps=-0.3))), rows)
    parts = EngineHarness(core(VenueRule("B", taker_fee_bps=-0.3)))
    for k in range(len(rows)):
        if k and rows[k - 1].ts < at(2) <= rows[k].ts:
            parts.send(new(ts=at(2)))
        parts.run([rows[k]])
        if k % 9 == 0:
            parts.reload()
    assert encoded(parts.outputs) == encoded(whole.outputs)

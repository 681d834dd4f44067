"""When minutes close: by whose clock, by an idle move, by an event; and when silence is skipped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from impactd.core.base.settings import BookSettings
from impactd.core.base.topics import Topic
from tests.core.builders import T0, EngineHarness, M, S, at, fill, ladder, minutes, new, numbers, settings
from tests.core.rows import Row

HOUR = 60 * M
EVER = 2**62


def closed(harness: EngineHarness, symbol: str = "FROG") -> list[int]:
    """Return which minutes of a symbol have closed, counted from ten o'clock."""
    return [(estimate.minute - T0) // M for estimate in harness.estimates(symbol)[::2]]


# --- clocks ---------------------------------------------------------------------


def test_minute_closes_on_its_own_symbols_clock_without_grace() -> None:
    harness = EngineHarness()
    harness.run([ladder(T0), ladder(at(1) - 1)])
    assert closed(harness) == []
    harness.run([ladder(at(1))])
    assert closed(harness) == [0]


def test_minute_of_a_quiet_symbol_closes_on_the_partitions_clock_after_grace() -> None:
    harness = EngineHarness()
    harness.run([ladder(T0, "QUIET"), ladder(at(1)), ladder(at(1) + S - 1)])
    assert closed(harness, "QUIET") == []
    harness.run([ladder(at(1) + S)])
    assert closed(harness, "QUIET") == [0]


def test_minutes_of_a_quiet_symbol_continue_as_long_as_its_book_prevails() -> None:
    harness = EngineHarness()
    harness.run([ladder(T0, "QUIET"), *minutes(5)])
    harness.run([ladder(at(6))])
    assert closed(harness, "QUIET") == [0, 1, 2, 3, 4]
    assert harness.estimates("QUIET")[-1].covered_s == 60.0


def test_minutes_that_close_together_do_so_by_time_and_then_by_name() -> None:
    harness = EngineHarness()
    harness.run([ladder(T0, "B"), ladder(T0, "A"), ladder(T0, "C"), ladder(at(2.5), "C")])
    said = [o.message for o in harness.outputs if o.topic is Topic.ESTIMATES]
    order = [((e.minute - T0) // M, e.symbol) for e in said[::2]]  # type: ignore[union-attr]  # estimates all
    assert order == [(0, "A"), (0, "B"), (0, "C"), (1, "A"), (1, "B"), (1, "C")]


def test_tick_from_the_future_closes_nothing() -> None:
    harness = EngineHarness()
    harness.run([ladder(T0), replace(ladder(at(10)), ts_record=at(0.5)), ladder(at(0.6))])
    assert closed(harness) == []
    assert harness.engine.rejected() == {"FROG": {"future": 1}}


def test_event_from_the_future_is_a_dead_letter_and_closes_nothing() -> None:
    harness = EngineHarness(settings("in_event_time"))
    harness.run([ladder(T0)])
    item = new(ts=at(30))
    harness.put(item)
    assert harness.commit() == []
    assert harness.engine.positions[Topic.ORDERS] == 0


# --- idle moves -------------------------------------------------------------------


def test_idle_target_needs_the_silence_to_pass_the_end_of_a_minute() -> None:
    harness = EngineHarness()
    harness.run([ladder(at(0.5))])
    assert harness.engine.idle_target(29 * S, EVER) is None
    assert harness.engine.idle_target(30 * S, EVER) == at(1)


def test_idle_target_never_passes_the_wall_clock_less_grace() -> None:
    harness = EngineHarness()
    harness.run([ladder(at(0.5))])
    assert harness.engine.idle_target(HOUR, at(1) + S - 1) is None
    assert harness.engine.idle_target(HOUR, at(1) + S) == at(1)


@pytest.mark.parametrize(("apply", "reached"), [("on_arrival", 60), ("in_event_time", 1)])
def test_idle_target_in_event_time_never_passes_the_minute_of_the_last_tick(apply: str, reached: int) -> None:
    harness = EngineHarness(settings(apply))
    harness.run([ladder(at(0.5))])
    assert harness.engine.idle_target(HOUR - 30 * S, EVER) == at(reached)


def test_idle_target_of_nothing_is_none() -> None:
    assert EngineHarness().engine.idle_target(EVER, EVER) is None


def test_idle_move_closes_every_minute_before_it_once() -> None:
    harness = EngineHarness()
    harness.run([ladder(at(0.5))])
    harness.commit(idle_to=at(3))
    assert closed(harness) == [0, 1, 2]
    assert harness.engine.idle_target(2 * M, EVER) is None
    assert harness.commits[-1].journal["idle_to"] == at(3)
    harness.run([ladder(at(3.5)), ladder(at(4.5))])
    assert closed(harness) == [0, 1, 2, 3]


def test_idle_moves_are_remembered_by_the_state() -> None:
    harness = EngineHarness()
    harness.run([ladder(at(0.5))])
    harness.commit(idle_to=at(3))
    harness.reload()
    assert harness.engine.idle_target(2 * M, EVER) is None


# --- silence ----------------------------------------------------------------------


def quiet_books() -> EngineHarness:
    """Return a harness in which a book stands for two minutes and no longer."""
    return EngineHarness(replace(settings(), books=BookSettings(max_silence_ns=2 * M)))


def test_empty_stretch_of_any_length_is_skipped_without_records() -> None:
    harness = quiet_books()
    # Thirty years of empty minutes would take a quarter of an hour one by one.
    harness.run([ladder(T0), ladder(T0 + 30 * 365 * 24 * HOUR)])
    assert closed(harness) == [0, 1]
    assert len(harness.commits) == 3


def test_empty_stretch_before_an_order_begins_is_skipped() -> None:
    harness = quiet_books()
    begin = T0 + 10_000 * 24 * HOUR
    harness.run([ladder(T0)])
    harness.send(new(start=begin))
    harness.run([ladder(begin - 30 * S), ladder(begin + 30 * S)])
    assert [minute for minute in closed(harness) if minute < 100] == [0, 1]
    assert len(closed(harness)) == 3
    assert len(harness.plans()) <= 3


def test_order_rolls_without_ticks_to_its_end() -> None:
    harness = quiet_books()
    harness.run([ladder(T0)])
    harness.send(new(length=20 * M))
    harness.run([ladder(at(0), "ARL"), *minutes(30, "ARL")])
    assert (harness.last().status, harness.last().as_of) == ("expired", at(20))
    assert closed(harness) == [0, 1]
    assert len(harness.alerts("missing_ticks")) == 1


def test_missing_ticks_are_alerted_once_and_not_while_one_sided_books_come() -> None:
    harness = EngineHarness()
    harness.send(new())
    harness.run([Row(T0 + k * 20 * S, bids=((99.0, 100.0),)) for k in range(20)])
    assert [alert.as_of for alert in harness.alerts("missing_ticks")] == [T0]


def test_ended_order_is_forgotten_over_a_skipped_stretch() -> None:
    harness = EngineHarness(replace(settings(keep_ended_ns=5 * M), books=BookSettings(max_silence_ns=2 * M)))
    harness.run([ladder(T0)])
    harness.send(new(length=2 * M))
    harness.run([ladder(at(100))])
    assert not [key for key in harness.state if key.startswith("order/")]


# --- events in event time ------------------------------------------------------------


def test_event_in_event_time_meets_the_minutes_before_it_closed() -> None:
    harness = EngineHarness(settings("in_event_time"))
    harness.put(new(ts=at(0.5), length=10 * M), fill(at(1) + 5 * S, "E1", 700))
    harness.run([ladder(T0), ladder(at(1.2))])
    assert [plan.reason for plan in harness.plans()] == ["new", "fill", "fill"]
    assert [plan.cum_qty > 0 for plan in harness.plans()] == [False, False, True]
    assert harness.plans()[1].as_of == at(1)


def test_event_in_event_time_waits_for_the_ticks() -> None:
    harness = EngineHarness(settings("in_event_time"))
    harness.put(new(ts=at(0.5)))
    assert harness.run([ladder(T0)]) == []
    harness.run([ladder(at(0.5) - 1)])
    assert harness.plans() == []
    harness.run([ladder(at(0.5))])
    assert len(harness.plans()) == 1


def test_event_in_event_time_applies_by_an_idle_move() -> None:
    harness = EngineHarness(settings("in_event_time"))
    harness.put(new(ts=at(0.5)))
    harness.run([ladder(T0)])
    harness.commit(idle_to=harness.engine.idle_target(EVER, EVER))
    assert [plan.reason for plan in harness.plans()] == ["new", "fill"]


# --- too many symbols ------------------------------------------------------------------


def test_rows_of_too_many_symbols_are_alerted_once_a_minute() -> None:
    harness = EngineHarness(replace(settings(), max_symbols=1))
    harness.run([ladder(T0)])
    for k in range(3):
        harness.run([ladder(at(k) + 20 * S, "ARL"), ladder(at(k) + 30 * S, "ARL"), ladder(at(k + 1))])
        harness.reload()
    assert [numbers(alert)[0] for alert in harness.alerts("max_symbols")] == [2, 2, 2]
    assert harness.estimates("ARL") == []


def test_order_for_a_symbol_too_many_is_rejected() -> None:
    harness = EngineHarness(replace(settings(), max_symbols=1))
    harness.run([ladder(T0)])
    harness.send(new(symbol="ARL"))
    assert "max_symbols" in (harness.last().text or "")

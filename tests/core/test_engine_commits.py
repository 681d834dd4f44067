"""Commits: positions, the journal, what is published with what, and what is not said without news."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from impactd.core.base.settings import SessionRule
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.core.engine import Engine
from impactd.core.inputs.anchors import anchor_of
from impactd.core.inputs.inbox import Inbox
from impactd.core.inputs.ticks import Refused
from tests.core.builders import (
    T0,
    Consumed,
    EngineHarness,
    M,
    S,
    at,
    fill,
    halt,
    ladder,
    minutes,
    new,
    numbers,
    raw_of,
    settings,
    with_order,
)
from tests.core.days import drive, random_day, random_settings
from tests.core.rows import Row, book, trade


def test_genesis_takes_explicit_positions_and_journals_the_settings() -> None:
    engine = Engine(settings(), partition=1, partitions=3)
    commit = engine.genesis({Topic.TICKS: 7})
    assert engine.positions == {topic: 7 if topic is Topic.TICKS else 0 for topic in INPUT_TOPICS}
    assert commit.journal["type"] == "genesis"
    assert (commit.journal["partition"], commit.journal["partitions"]) == (1, 3)
    assert sorted(commit.state) == sorted(engine.dump()) == ["clock", "feed", "gate", "halts", "meta", "settings"]


@pytest.mark.parametrize("position", [0, 2])
def test_apply_refuses_inputs_that_do_not_begin_at_its_positions(position: int) -> None:
    harness = EngineHarness()
    harness.run([ladder(T0)])
    harness.inbox = Inbox(harness.core, {Topic.TICKS: position}, {})
    harness.put_rows([ladder(T0 + S), ladder(T0 + 2 * S)])
    inputs = harness.inbox.take()
    assert inputs is not None
    with pytest.raises(ValueError, match=f"ticks: the inputs begin at {position}, the state at 1"):
        harness.engine.apply(inputs)
    assert harness.engine.positions[Topic.TICKS] == 1


def test_anchors_are_the_last_records_applied_and_outlive_a_restart() -> None:
    harness = EngineHarness()
    assert harness.engine.anchors == {}
    harness.send(new("A"), new("B"))
    harness.send(fill(T0, "E1", 100))
    anchors = harness.engine.anchors
    assert {topic: anchor.offset for topic, anchor in anchors.items()} == {Topic.ORDERS: 1, Topic.EXECUTIONS: 0}
    assert anchors[Topic.ORDERS] == anchor_of(Consumed(1, T0, b"key", raw_of(new("B"))))
    harness.reload()
    assert harness.engine.anchors == anchors


def test_commits_are_numbered_and_their_spans_meet() -> None:
    harness = drive(random_day(3), random_settings(3, "in_event_time"), batch=20)
    at_ = dict.fromkeys(map(str, INPUT_TOPICS), 0)
    for seq, commit in enumerate(harness.commits[1:], 1):
        assert commit.journal["commit_seq"] == seq
        starts, ends = dict(commit.journal["from"]), dict(commit.journal["to"])  # type: ignore[call-overload]
        assert starts == {topic: at_[topic] for topic in starts}
        at_ |= ends
    assert at_ == {str(topic): position for topic, position in harness.engine.positions.items()}


def test_clock_of_the_outputs_never_runs_back() -> None:
    for apply in ("in_event_time", "on_arrival"):
        harness = drive(random_day(4), random_settings(4, apply), batch=20)
        assert all(a.clock <= b.clock for a, b in pairwise(harness.outputs))


def test_outputs_name_the_input_that_they_were_triggered_by() -> None:
    harness = with_order(n=1)
    said = harness.send(halt(at(1.5)))
    assert {output.trigger for output in said} == {(Topic.CONTROL, 0)}
    said = harness.run([ladder(at(1.6)), ladder(at(2))])
    assert {output.trigger for output in said} == {(Topic.TICKS, 5)}
    said = harness.commit(idle_to=at(3))
    assert {output.trigger for output in said} == {None}


def test_refused_tick_record_is_a_dead_letter_in_its_place() -> None:
    harness = EngineHarness()
    refused = Refused(1, "truncated", "cut short", b"{", b"FROG", "json", T0)
    harness.put_rows([ladder(T0)], [refused])
    (said,) = harness.commit()
    letter = harness.dead()[0]
    assert (letter.topic, letter.offset, letter.raw, letter.key) == (Topic.TICKS, 1, b"{", b"FROG")
    assert said.trigger == (Topic.TICKS, 1)


# --- what a minute says ----------------------------------------------------------


def test_closed_minute_gives_estimates_and_models_of_both_sides_and_then_plans() -> None:
    harness = EngineHarness()
    harness.send(new())
    said = harness.run([ladder(T0), ladder(at(1))])
    assert [output.topic for output in said] == [
        *[Topic.ESTIMATES] * 2,
        *[Topic.MODELS] * 2,
        Topic.PLANS,
        Topic.PLANS_LATEST,
    ]
    assert harness.counts.refits == 2


def test_minute_without_usable_cells_publishes_no_model() -> None:
    harness = EngineHarness()
    harness.run(minutes(2))
    # One-sided books only: nothing can be walked.
    harness.run([Row(at(2), bids=((99.0, 100.0),)), trade(at(2.5), 10.0), trade(at(3), 10.0)])
    assert (len(harness.estimates()), harness.estimates()[-1].covered_s) == (6, 0.0)
    assert harness.counts.refits == len(harness.models()) == 4


def test_minute_outside_of_the_session_publishes_estimates_but_no_model() -> None:
    night = replace(settings(), session=SessionRule(0, 3_600, ((0, 0),)))
    harness = EngineHarness(night)
    harness.run(minutes(2))
    assert len(harness.estimates()) == 4
    assert (harness.models(), harness.counts.refits) == ([], 0)


def test_minute_of_crossed_books_alone_is_alerted() -> None:
    harness = EngineHarness()
    harness.run([book(T0 + k * 20 * S, bid=101.0, ask=99.0) for k in range(4)])
    assert [numbers(alert) for alert in harness.alerts("crossed_feed")] == [[3]]


def test_fill_writes_only_its_order_and_its_chunk() -> None:
    harness = with_order()
    harness.send(fill(at(2.5), "E1", 10))
    assert sorted(harness.commits[-1].state) == ["execs/A/0", "feed", "meta", "order/A", "tca/FROG"]


def test_quiet_commit_writes_only_positions_and_books() -> None:
    harness = with_order()
    harness.run([ladder(at(2) + 30 * S)])
    assert sorted(harness.commits[-1].state) == ["books/FROG", "clock", "feed", "meta"]


def test_minute_that_rolls_an_order_without_ticks_leaves_the_market_alone() -> None:
    harness = EngineHarness()
    harness.send(new())
    harness.commit(idle_to=T0 + M)
    assert sorted(harness.commits[-1].state) == ["books/FROG", "clock", "gate", "meta", "order/A", "tca/FROG"]

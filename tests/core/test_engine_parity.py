"""The same events give the same bytes, however they are batched, cut, and interrupted."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from impactd.core.base.topics import Topic
from impactd.core.outputs.messages import Output, Plan, Slice
from tests.core.builders import EngineHarness, S, encoded
from tests.core.days import Day, drive, finish, random_day, random_settings

seeds = st.integers(0, 2**32 - 1)


@example(seed=630, max_rows=1)  # slices are watched, and no decision is due at the end of a commit
@given(seed=seeds, max_rows=st.integers(1, 40))
@hypothesis_settings(max_examples=12, deadline=None)
def test_decode_batches_and_commit_cuts_change_no_byte(seed: int, max_rows: int) -> None:
    day, core = random_day(seed), random_settings(seed, "in_event_time")
    whole = drive(day, core, batch=1_000)
    said = encoded(whole.outputs)
    assert any(b"plans " in line for line in said)
    for other in (
        drive(day, core, batch=1),
        drive(day, core, batch=7),
        drive(day, core, batch=1_000, max_rows=max_rows),
    ):
        assert encoded(other.outputs) == said
        assert sorted(other.state) == sorted(whole.state)


@given(seed=seeds, batch=st.sampled_from([3, 20]), every=st.integers(1, 5))
@hypothesis_settings(max_examples=12, deadline=None)
def test_restoring_the_state_at_any_commit_changes_no_byte(seed: int, batch: int, every: int) -> None:
    day, core = random_day(seed), random_settings(seed, "in_event_time")
    whole = drive(day, core, batch=1_000)
    broken = drive(day, core, batch=batch, reload_every=every)
    assert encoded(broken.outputs) == encoded(whole.outputs)
    assert sorted(broken.state) == sorted(whole.state)


@given(seed=seeds)
@hypothesis_settings(max_examples=12, deadline=None)
def test_journal_of_a_run_on_arrival_gives_its_bytes_and_its_state(seed: int) -> None:
    day, core = random_day(seed), random_settings(seed, "on_arrival")
    live = live_run(day, EngineHarness(core), np.random.default_rng(seed))
    again = EngineHarness(core)
    day.put_events(again.inbox, again.engine.positions)
    day.put_ticks(again.inbox, 0, day.n_records)
    for commit in live.commits[1:]:
        to = {Topic(name): int(at) for name, at in dict(commit.journal["to"]).items()}  # type: ignore[call-overload]
        again.apply(again.inbox.take_exact(to, commit.journal["idle_to"]))  # type: ignore[arg-type]
    assert encoded(again.outputs) == encoded(live.outputs)
    assert again.state == live.state
    assert [commit.journal for commit in again.commits] == [commit.journal for commit in live.commits]


def live_run(day: Day, harness: EngineHarness, rng: np.random.Generator) -> EngineHarness:
    """Feed events and ticks as they might arrive, with idle moves wherever the engine allows one."""
    at = dict.fromkeys(day.events, 0)
    ticks = 0
    while ticks < day.n_records:
        for topic, events in day.events.items():
            n = int(rng.integers(0, 3))
            harness.inbox.put_events(topic, events[at[topic] : at[topic] + n], [], min(at[topic] + n, len(events)))
            at[topic] = min(at[topic] + n, len(events))
        n = int(rng.integers(0, 30))
        day.put_ticks(harness.inbox, ticks, ticks + n)
        ticks = min(ticks + n, day.n_records)
        harness.commit(max_rows=int(rng.integers(1, 60)))
        target = harness.engine.idle_target(int(rng.integers(0, 40)) * S, 2**62)
        if target is not None and rng.random() < 0.3:
            harness.commit(idle_to=target)
    finish(harness)
    return harness


@example(seed=166)  # the row that a price check is due before is refused, and closes no minute itself
@example(seed=21111)  # a price check is due before a row that closes a minute
@given(seed=seeds)
@hypothesis_settings(max_examples=12, deadline=None)
def test_idle_moves_in_event_time_change_nothing_for_any_symbol(seed: int) -> None:
    """A recorded day may come through slowly: the minutes that silence closes are those the next tick would.

    Rows from the future are left out: they have no time of their own, so
    they count in whichever minute is open when they come.
    """
    day, core = without_future(random_day(seed)), random_settings(seed, "in_event_time")
    whole = drive(day, core, batch=1_000)
    slow = EngineHarness(core)
    day.put_events(slow.inbox, slow.engine.positions)
    keys = np.maximum.accumulate(day.rows.ts_event)
    for at in range(day.n_records):
        mine = day.rows.offset == at
        if mine.any() and (target := slow.engine.idle_target(2**62, 2**62)) is not None:
            earliest = int(day.rows.ts_event[day.rows.offset >= at].min())
            if target <= min(int(keys[mine][0]), earliest):
                slow.commit(idle_to=target)
        day.put_ticks(slow.inbox, at, at + 1)
        slow.commit()
    finish(slow)
    assert by_key(slow.outputs) == by_key(whole.outputs)


def without_future(day: Day) -> Day:
    return replace(day, rows=day.rows.take(day.rows.ts_event <= day.rows.ts_record))


def by_key(outputs: list[Output]) -> dict[tuple[Topic, str | None], list[bytes]]:
    """Return the encoded plans, slices, estimates and models of each key in their order."""
    said: dict[tuple[Topic, str | None], list[bytes]] = defaultdict(list)
    for output in outputs:
        if output.topic in {Topic.PLANS, Topic.SLICES, Topic.ESTIMATES, Topic.MODELS}:
            key = output.message.cl_ord_id if isinstance(output.message, Plan | Slice) else output.key
            said[output.topic, key] += encoded([output])
    return said

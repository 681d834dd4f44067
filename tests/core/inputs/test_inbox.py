"""The merge rule: the order of events across topics, and where commits may be cut."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.base.settings import MINUTE_NS, CoreSettings
from impactd.core.base.topics import Topic
from impactd.core.inputs.events import CancelOrder, Control, Received
from impactd.core.inputs.inbox import EVENT_TOPICS, Inbox, Inputs
from impactd.core.inputs.ticks import Refused, TickBatch

IN_EVENT_TIME = CoreSettings(apply="in_event_time")
ON_ARRIVAL = CoreSettings(apply="on_arrival")


def ticks(times: list[int], first_offset: int = 0, offsets: list[int] | None = None) -> TickBatch:
    batch = TickBatch.empty(len(times), 1, ("A",))
    batch.ts_event[:] = times
    batch.ts_record[:] = times
    batch.offset[:] = offsets if offsets is not None else range(first_offset, first_offset + len(times))
    return batch


def cancel(ts_event: int, offset: int, ts_record: int | None = None) -> Received[Any]:
    event = CancelOrder("1", "A", ts_event)
    return Received(event, offset, ts_event if ts_record is None else ts_record, b"raw", b"A")


def control(ts_event: int, offset: int) -> Received[Any]:
    return Received(Control("halt", "*", "test", ts_event), offset, ts_event)


def refused(offset: int) -> Refused:
    return Refused(offset, "truncated", "", b"{", None, "json", 0)


def sequence(inputs: Inputs) -> list[tuple[str, int]]:
    """Return the merged order of one commit as the engine applies it."""
    said: list[tuple[str, int]] = []
    row = 0
    for pending in inputs.events:
        if pending.topic is Topic.TICKS:
            stop = int(np.searchsorted(inputs.ticks.offset, pending.offset))
        else:
            stop = int(np.searchsorted(inputs.tick_keys, pending.key))
        said += [("row", int(offset)) for offset in inputs.ticks.offset[row:stop]]
        row = max(row, stop)
        said.append((str(pending.topic), pending.offset))
    said += [("row", int(offset)) for offset in inputs.ticks.offset[row:]]
    return said


def drain(inbox: Inbox, max_rows: int = 50_000) -> list[tuple[str, int]]:
    said: list[tuple[str, int]] = []
    while (inputs := inbox.take(max_rows=max_rows)) is not None:
        said += sequence(inputs)
    return said


def test_take_of_nothing_is_none() -> None:
    assert Inbox(ON_ARRIVAL, {}, {}).take() is None


def test_event_at_a_ticks_time_applies_before_it() -> None:
    inbox = Inbox(IN_EVENT_TIME, {}, {})
    inbox.put_ticks(ticks([10, 20, 20, 30]), [], 4)
    inbox.put_events(Topic.ORDERS, [cancel(20, 0)], [], 1)
    assert drain(inbox) == [("row", 0), ("orders", 0), ("row", 1), ("row", 2), ("row", 3)]


def test_equal_keys_apply_by_topic_rank() -> None:
    inbox = Inbox(ON_ARRIVAL, {}, {})
    inbox.put_events(Topic.EXECUTIONS, [cancel(5, 7)], [], 8)
    inbox.put_events(Topic.ORDERS, [cancel(5, 3)], [], 4)
    inbox.put_events(Topic.CONTROL, [control(5, 9)], [], 10)
    inbox.put_ticks(ticks([5]), [], 1)
    assert drain(inbox) == [("control", 9), ("orders", 3), ("executions", 7), ("row", 0)]


def test_event_behind_its_topic_keeps_the_order_of_offsets() -> None:
    inbox = Inbox(IN_EVENT_TIME, {}, {})
    inbox.put_ticks(ticks([10, 20, 30, 40]), [], 4)
    inbox.put_events(Topic.ORDERS, [cancel(30, 0), cancel(10, 1)], [], 2)
    assert drain(inbox) == [("row", 0), ("row", 1), ("orders", 0), ("orders", 1), ("row", 2), ("row", 3)]


def test_event_later_than_the_ticks_waits_in_event_time_only() -> None:
    for config, said in ((IN_EVENT_TIME, [("row", 0)]), (ON_ARRIVAL, [("row", 0), ("orders", 0)])):
        inbox = Inbox(config, {}, {})
        inbox.put_ticks(ticks([10]), [], 1)
        inbox.put_events(Topic.ORDERS, [cancel(11, 0)], [], 1)
        assert drain(inbox) == said


def test_waiting_event_is_taken_once_ticks_have_passed_it() -> None:
    inbox = Inbox(IN_EVENT_TIME, {}, {})
    inbox.put_events(Topic.ORDERS, [cancel(11, 0)], [], 1)
    assert inbox.take() is None
    assert not inbox.urgent()
    inbox.put_ticks(ticks([12]), [], 1)
    assert inbox.urgent()
    inputs = inbox.take()
    assert inputs is not None
    assert sequence(inputs) == [("orders", 0), ("row", 0)]
    assert dict(inputs.spans) == {Topic.ORDERS: (0, 1), Topic.TICKS: (0, 1)}


@pytest.mark.parametrize(
    ("taken_s", "next_s", "urgent"),
    [
        (630.0, 631.0, False),
        (659.9, 660.1, True),  # past the minute's end: a symbol's own next tick closes its minute
        (660.1, 660.2, True),  # another symbol's may be among these
        (660.9, 661.1, True),  # past the grace: all that is open closes
        (661.1, 661.2, False),
    ],
)
def test_urgent_from_a_minutes_end_until_its_grace_is_over(taken_s: float, next_s: float, urgent: bool) -> None:  # noqa: FBT001  (a row of the table)
    inbox = Inbox(ON_ARRIVAL, {}, {})
    inbox.put_ticks(ticks([int(taken_s * 1e9)]), [], 1)
    assert inbox.take() is not None
    assert not inbox.urgent()
    inbox.put_ticks(ticks([int(next_s * 1e9)], 1), [], 2)
    assert inbox.urgent() is urgent


def test_idle_move_releases_what_it_has_passed() -> None:
    inbox = Inbox(IN_EVENT_TIME, {}, {})
    inbox.put_events(Topic.ORDERS, [cancel(11, 0), cancel(21, 1)], [], 2)
    inputs = inbox.take(idle_to=20)
    assert inputs is not None
    assert inputs.idle_to == 20
    assert dict(inputs.spans) == {Topic.ORDERS: (0, 1)}


def test_idle_move_waits_until_all_ticks_are_taken() -> None:
    inbox = Inbox(IN_EVENT_TIME, {}, {})
    inbox.put_ticks(ticks([0, 2 * MINUTE_NS]), [], 2)
    first = inbox.take(idle_to=5 * MINUTE_NS)
    second = inbox.take(idle_to=5 * MINUTE_NS)
    assert first is not None
    assert second is not None
    assert (first.idle_to, second.idle_to) == (None, 5 * MINUTE_NS)


def test_commit_spans_at_most_one_interval() -> None:
    inbox = Inbox(ON_ARRIVAL, {}, {})
    inbox.put_ticks(ticks([0, MINUTE_NS, MINUTE_NS + 1, 3 * MINUTE_NS]), [], 4)
    spans = []
    while (inputs := inbox.take()) is not None:
        spans.append(inputs.spans[Topic.TICKS])
        assert inputs.tick_keys[-1] - inputs.tick_keys[0] <= MINUTE_NS
    assert spans == [(0, 2), (2, 3), (3, 4)]


def test_record_with_many_rows_is_never_divided() -> None:
    inbox = Inbox(ON_ARRIVAL, {}, {})
    inbox.put_ticks(ticks([0, 0, 0, 5 * MINUTE_NS, 6 * MINUTE_NS], offsets=[0, 0, 0, 0, 1]), [], 2)
    first = inbox.take(max_rows=2)
    assert first is not None
    assert first.spans[Topic.TICKS] == (0, 1)
    assert len(first.ticks) == 4


def test_tick_from_the_future_advances_no_clock() -> None:
    inbox = Inbox(IN_EVENT_TIME, {}, {})
    batch = ticks([10, 10**18, 20])
    batch.ts_record[:] = [10, 11, 20]
    inbox.put_ticks(batch, [], 3)
    inbox.put_events(Topic.ORDERS, [cancel(15, 0), cancel(25, 1)], [], 2)
    inputs = inbox.take()
    assert inputs is not None
    assert inputs.tick_keys.tolist() == [10, 10, 20]
    assert sequence(inputs) == [("row", 0), ("row", 1), ("orders", 0), ("row", 2)]


def test_event_from_the_future_is_refused_with_its_bytes() -> None:
    inbox = Inbox(ON_ARRIVAL, {}, {})
    inbox.put_events(Topic.ORDERS, [cancel(10**18, 0, ts_record=5)], [], 1)
    inputs = inbox.take()
    assert inputs is not None
    item = inputs.events[0].item
    assert isinstance(item, Refused)
    assert (item.reason, item.raw, item.key) == ("future", b"raw", b"A")


def test_positions_move_over_records_that_gave_nothing() -> None:
    inbox = Inbox(ON_ARRIVAL, {Topic.TICKS: 5}, {})
    inbox.put_ticks(TickBatch.empty(), [], 9)
    inputs = inbox.take()
    assert inputs is not None
    assert dict(inputs.spans) == {Topic.TICKS: (5, 9)}


def test_take_exact_repeats_the_cuts_of_a_journal() -> None:
    times = [k * MINUTE_NS // 3 for k in range(12)]
    live = Inbox(ON_ARRIVAL, {}, {})
    live.put_ticks(ticks(times), [refused(12)], 13)
    live.put_events(Topic.ORDERS, [cancel(MINUTE_NS, 0), cancel(3 * MINUTE_NS, 1)], [], 2)
    commits = []
    while (inputs := live.take(max_rows=5)) is not None:
        commits.append(inputs)
    again = Inbox(ON_ARRIVAL, {}, {})
    again.put_ticks(ticks(times), [refused(12)], 13)
    again.put_events(Topic.ORDERS, [cancel(MINUTE_NS, 0), cancel(3 * MINUTE_NS, 1)], [], 2)
    for inputs in commits:
        repeated = again.take_exact({topic: span[1] for topic, span in inputs.spans.items()}, inputs.idle_to)
        assert sequence(repeated) == sequence(inputs)
        assert repeated.spans == inputs.spans


@st.composite
def days(draw: st.DrawFn) -> tuple[list[int], list[bool], list[tuple[Topic, int]]]:
    steps = draw(st.lists(st.integers(-3, 40), min_size=1, max_size=40))
    times = np.maximum(np.cumsum(steps), 0) * (MINUTE_NS // 25)
    bad = draw(st.lists(st.booleans(), min_size=len(times), max_size=len(times)))
    # Time 0 is where an empty inbox stands; the decoders take none before 1973.
    events = draw(
        st.lists(
            st.tuples(st.sampled_from([Topic.CONTROL, Topic.ORDERS, Topic.EXECUTIONS]), st.integers(1, 1000)),
            max_size=12,
        )
    )
    return times.tolist(), bad, [(topic, t * (MINUTE_NS // 25)) for topic, t in events]


def fill(inbox: Inbox, day: tuple[list[int], list[bool], list[tuple[Topic, int]]]) -> None:
    _, _, events = day
    for topic in (Topic.CONTROL, Topic.ORDERS, Topic.EXECUTIONS):
        times = [t for of, t in events if of is topic]
        make = control if topic is Topic.CONTROL else cancel
        inbox.put_events(topic, [make(t, k) for k, t in enumerate(times)], [], len(times))


@settings(max_examples=200)
@given(day=days(), cuts=st.lists(st.integers(1, 7), min_size=1, max_size=40), max_rows=st.integers(1, 9))
def test_cuts_change_nothing_in_event_time(
    day: tuple[list[int], list[bool], list[tuple[Topic, int]]], cuts: list[int], max_rows: int
) -> None:
    times, bad, _ = day
    whole = Inbox(IN_EVENT_TIME, {}, {})
    fill(whole, day)
    good = [k for k in range(len(times)) if not bad[k]]
    batch = ticks([times[k] for k in good], offsets=good)
    whole.put_ticks(batch, [refused(k) for k in range(len(times)) if bad[k]], len(times))
    expected = drain(whole)

    pieces = Inbox(IN_EVENT_TIME, {}, {})
    fill(pieces, day)
    said: list[tuple[str, int]] = []
    start = 0
    for cut in cuts * len(times):
        stop = min(start + cut, len(times))
        rows = [k for k in range(start, stop) if not bad[k]]
        part = ticks([times[k] for k in rows], offsets=rows)
        pieces.put_ticks(part, [refused(k) for k in range(start, stop) if bad[k]], stop)
        said += drain(pieces, max_rows)
        start = stop
        if start == len(times):
            break
    assert said == expected
    assert [offset for what, offset in said if what in {"row", "ticks"}] == list(range(len(times)))


@settings(max_examples=50)
@given(day=days(), stop_after=st.integers(0, 5))
def test_restart_from_the_positions_continues_the_sequence(
    day: tuple[list[int], list[bool], list[tuple[Topic, int]]], stop_after: int
) -> None:
    times, _, _ = day

    def inbox_from(positions: dict[Topic, int], clocks: dict[Topic, int]) -> Inbox:
        inbox = Inbox(IN_EVENT_TIME, positions, clocks)
        at = positions.get(Topic.TICKS, 0)
        inbox.put_ticks(ticks(times[at:], at), [], len(times))
        for topic in (Topic.CONTROL, Topic.ORDERS, Topic.EXECUTIONS):
            events = [t for of, t in day[2] if of is topic]
            make = control if topic is Topic.CONTROL else cancel
            seen = positions.get(topic, 0)
            inbox.put_events(topic, [make(events[k], k) for k in range(seen, len(events))], [], len(events))
        return inbox

    expected = drain(inbox_from({}, {}))
    first = inbox_from({}, {})
    said: list[tuple[str, int]] = []
    positions: dict[Topic, int] = {}
    clocks: dict[Topic, int] = {}
    for _ in range(stop_after):
        inputs = first.take(max_rows=4)
        if inputs is None:
            break
        said += sequence(inputs)
        positions |= {topic: span[1] for topic, span in inputs.spans.items()}
        for pending in inputs.events:
            clocks[pending.topic] = max(clocks.get(pending.topic, 0), pending.key)
        if len(inputs.tick_keys):
            clocks[Topic.TICKS] = int(inputs.tick_keys[-1])
    assert said + drain(inbox_from(positions, clocks)) == expected


class Source(NamedTuple):
    """A record as its topic holds it; its value is as long as is said."""

    offset: int
    size: int

    @property
    def timestamp(self) -> int:
        return self.offset

    @property
    def headers(self) -> tuple[tuple[str, bytes | None], ...]:
        return ()

    @property
    def key(self) -> None:
        return None

    @property
    def value(self) -> bytes:
        return b"." * self.size


def sources(offsets: Iterable[int]) -> list[Source]:
    return [Source(offset, 1 + offset * 7 % 5) for offset in offsets]


@settings(max_examples=300)
@given(
    day=days(),
    tick_fetches=st.lists(st.integers(1, 7), min_size=1, max_size=8),
    event_fetch=st.integers(1, 4),
    backlog=st.integers(1, 5),
    max_records=st.integers(1, 6),
    max_bytes=st.integers(1, 20),
    turns=st.randoms(use_true_random=False),
)
def test_bounds_and_backlogs_change_nothing_in_event_time_and_stop_nothing(
    day: tuple[list[int], list[bool], list[tuple[Topic, int]]],
    tick_fetches: list[int],
    event_fetch: int,
    backlog: int,
    max_records: int,
    max_bytes: int,
    turns: random.Random,
) -> None:
    times, bad, events = day
    whole = Inbox(IN_EVENT_TIME, {}, {})
    fill(whole, day)
    good = [k for k in range(len(times)) if not bad[k]]
    whole.put_ticks(
        ticks([times[k] for k in good], offsets=good), [refused(k) for k in range(len(times)) if bad[k]], 40
    )
    idle_to = max(times) + MINUTE_NS
    expected = drain(whole)
    while (inputs := whole.take(idle_to=idle_to)) is not None and inputs.idle_to is None:
        expected += sequence(inputs)
    expected += [] if inputs is None else sequence(inputs)

    inbox = Inbox(IN_EVENT_TIME, {}, {})
    queues = {topic: [t for of, t in events if of is topic] for topic in EVENT_TOPICS}
    needs = {topic: len(queue) for topic, queue in queues.items()}
    read = dict.fromkeys(EVENT_TOPICS, 0)
    at, said, done = 0, [], False
    while not done:
        moved = False
        for topic in turns.sample(EVENT_TOPICS, len(EVENT_TOPICS)):
            # A fetch waits while the backlog is full, and nothing else ever does.
            if read[topic] < needs[topic] and inbox.waiting(topic)[0] < backlog:
                span = range(read[topic], min(read[topic] + event_fetch, needs[topic]))
                make = control if topic is Topic.CONTROL else cancel
                inbox.put_events(topic, [make(queues[topic][k], k) for k in span], [], span.stop, sources(span))
                read[topic], moved = span.stop, True
        if at < len(times) and inbox.waiting(Topic.TICKS)[0] < backlog:
            span = range(at, min(at + turns.choice(tick_fetches), len(times)))
            rows = [k for k in span if not bad[k]]
            part = ticks([times[k] for k in rows], offsets=rows)
            inbox.put_ticks(part, [refused(k) for k in span if bad[k]], span.stop, sources(span), needs)
            at, moved = span.stop, True
        idle = idle_to if at == len(times) else None
        inputs = inbox.take(idle_to=idle, needs=needs, max_records=max_records, max_bytes=max_bytes)
        if inputs is not None:
            moved = True
            said += sequence(inputs)
            for topic, (start, to) in inputs.spans.items():
                taken = sources(range(start, to))
                assert inputs.anchors[topic].offset == to - 1
                assert len(taken) <= max_records
                assert len(taken) == 1 or sum(source.size for source in taken) <= max_bytes
            done = inputs.idle_to is not None
        assert moved, "nothing can move any more"
    assert said == expected

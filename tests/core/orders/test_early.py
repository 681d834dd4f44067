"""Held events: bounded in number and in bytes, so that fills for orders which never come cannot fill the memory."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.core.inputs.events import Bust, Fill, Received
from impactd.core.orders import early as held
from impactd.core.orders.early import MAX_HELD_BYTES, HeldEvents


def fill(number: int, size: int = 100, key: bytes | None = b"FROG") -> Received[Any]:
    return Received(Fill(f"E{number}", "A1", "FROG", 5, 1.5, 7), number, 7, b"x" * size, key)


def test_hold_more_than_max_held_is_refused() -> None:
    events = HeldEvents(1, 2)
    assert [events.hold(fill(n), 0, ("A1",)) is None for n in range(3)] == [True, True, False]


def test_hold_record_or_key_too_long_for_a_state_value_is_refused() -> None:
    events = HeldEvents(1, 10)
    assert events.hold(fill(0, MAX_HELD_BYTES - 4), 0, ("A1",)) is None
    assert "too long" in (events.hold(fill(1, MAX_HELD_BYTES), 0, ("A1",)) or "")
    assert "too long" in (events.hold(fill(2, 1, b"k" * MAX_HELD_BYTES), 0, ("A1",)) or "")
    assert max(map(len, events.dump().values())) < 256 * 1024


def test_hold_bytes_beyond_the_total_are_refused_until_some_are_released(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "MAX_HELD_TOTAL", 1_000)
    events = HeldEvents(1, 10)
    assert events.hold(fill(0, 900), 0, ("A1",)) is None
    assert "bytes of records are held" in (events.hold(fill(1, 200), 0, ("A1",)) or "")
    again = HeldEvents(1, 10)
    again.load(events.dump())
    assert "bytes of records are held" in (again.hold(fill(1, 200), 0, ("A1",)) or "")
    assert len(again.release("A1")) == 1
    assert again.hold(fill(1, 200), 0, ("A1",)) is None


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["hold", "release", "expire", "reload"]), st.integers(0, 3), st.integers(0, 12)),
        max_size=60,
    )
)
def test_events_expire_and_are_released_as_from_a_plain_list(steps: list[tuple[str, int, int]]) -> None:
    """Against a list that is searched whole; `since` need not ascend, as an event may be held a second time."""
    events, plain = HeldEvents(5, 20), list[tuple[int, int, str]]()  # (number, since, order)
    for k, (what, order, time) in enumerate(steps):
        name = f"A{order}"
        if what == "hold" and len(plain) < 20:
            event = Bust(f"E{k}", f"R{order}", name, "FROG", 7)
            assert events.hold(Received(event, k, 7, b"x"), time, (name, f"R{order}")) is None
            plain.append((k, time, name))
        elif what == "release":
            assert [item.received.offset for item in events.release(name, f"R{order}")] == [
                n for n, _, of in plain if of == name
            ]
            plain = [item for item in plain if item[2] != name]
        elif what == "expire":
            assert events.expires_by(time) == any(time - since > 5 for _, since, _ in plain)
            assert [item.received.offset for item in events.expire(time)] == [n for n, at, _ in plain if time - at > 5]
            plain = [item for item in plain if time - item[1] <= 5]
        elif what == "reload":
            again = HeldEvents(5, 20)
            again.load(events.dump())
            events = again
        assert len(events) == len(plain)


def test_held_events_cost_no_more_when_there_are_many() -> None:
    """Entries of released events do not pile up in the expiry heap."""
    events = HeldEvents(10**9, 10)
    for k in range(2_000):
        events.hold(fill(k), k, ("A1",))
        events.release("A1")
    assert len(events._expiry) < 100

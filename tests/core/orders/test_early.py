"""Held events: bounded in number and in bytes, so that fills for orders which never come cannot fill the memory."""

from __future__ import annotations

from typing import Any

import pytest

from impactd.core.inputs.events import Fill, Received
from impactd.core.orders import early as held
from impactd.core.orders.early import MAX_HELD_BYTES, HeldEvents


def fill(number: int, size: int = 100, key: bytes | None = b"FROG") -> Received[Any]:
    return Received(Fill(f"E{number}", "A1", "FROG", 5, 1.5, 7), number, 7, b"x" * size, key)


def test_hold_more_than_max_held_is_refused() -> None:
    events = HeldEvents(1, 2)
    assert [events.hold(fill(n), 0) is None for n in range(3)] == [True, True, False]


def test_hold_record_or_key_too_long_for_a_state_value_is_refused() -> None:
    events = HeldEvents(1, 10)
    assert events.hold(fill(0, MAX_HELD_BYTES - 4), 0) is None
    assert "too long" in (events.hold(fill(1, MAX_HELD_BYTES), 0) or "")
    assert "too long" in (events.hold(fill(2, 1, b"k" * MAX_HELD_BYTES), 0) or "")
    assert max(map(len, events.save().values())) < 256 * 1024


def test_hold_bytes_beyond_the_total_are_refused_until_some_are_released(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "MAX_HELD_TOTAL", 1_000)
    events = HeldEvents(1, 10)
    assert events.hold(fill(0, 900), 0) is None
    assert "bytes of records are held" in (events.hold(fill(1, 200), 0) or "")
    again = HeldEvents(1, 10)
    again.load((int(key.removeprefix("held/")), value) for key, value in events.save().items())
    assert "bytes of records are held" in (again.hold(fill(1, 200), 0) or "")
    assert len(again.release("A1")) == 1
    assert again.hold(fill(1, 200), 0) is None

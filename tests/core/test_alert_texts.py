"""The wording of alerts, in one place; every other test asserts kinds, fields and numbers."""

from __future__ import annotations

from typing import Any

import pytest

from impactd.core.base.settings import BookSettings, CoreSettings
from impactd.core.base.topics import Side
from impactd.core.base.venue import at_venue
from tests.core.builders import T0, EngineHarness, M, S, at, fill, halt, minutes, new, settings, with_order
from tests.core.rows import Row


def expired() -> EngineHarness:
    harness = with_order(length=4 * M)
    harness.run(minutes(4, start=at(2))[1:])
    return harness


def crossed() -> EngineHarness:
    harness = EngineHarness()
    harness.run([Row(T0 + k * 20 * S, ((101.0, 1.0),), ((99.0, 1.0),)) for k in range(4)])
    return harness


def sent(*events: Any, **plans: Any) -> EngineHarness:
    harness = with_order(EngineHarness(settings(**plans)))
    harness.send(*events)
    return harness


def lost_venue() -> EngineHarness:
    harness = EngineHarness(CoreSettings(books=BookSettings(max_book_age_ns=30 * S)))
    names = [at_venue("FROG", venue) for venue in "AB"]
    harness.run([Row(T0 + k * 10 * S, ((99.0, 1.0),), ((101.0, 1.0),), names[k > 0]) for k in range(8)])
    return harness


TEXTS = {
    "overfill": (lambda: sent(fill(at(2.5), "E1", 1_250)), "filled 50 more than ordered"),
    "shortfall": (expired, "the window ended with 1200 not traded"),
    "crossed_feed": (crossed, "all books of the minute were refused, 3 of them crossed"),
    "venue_lost": (
        lost_venue,
        f"the book of FROG at A is too old: the merged book excludes it from {T0 + 30 * S} on",
    ),
    "halt": (lambda: sent(halt(at(2.5), "FROG", "exchange")), "FROG: exchange (active orders here: 1)"),
    "opposite_side": (
        lambda: sent(new("B", side=Side.SELL, ts=at(2.5))),
        "A works the other side of FROG; the two are not netted",
    ),
    "order_rejected": (
        lambda: sent(new("A", qty=7, ts=at(2.5))),
        "another order has this cl_ord_id; send a replace to amend it",
    ),
    "missing_ticks": (
        lambda: sent(new("C", symbol="NONE", ts=at(2.5))),
        "no tick for NONE yet: the order is planned without price or volume",
    ),
    "lifted": (
        lambda: sent(new("D", ts=at(2.5), participation_rate=0.1, must_complete=True)),
        "the plan exceeds participation_rate by 1200 of 1200 because the order must complete",
    ),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_alert_says(kind: str) -> None:
    act, text = TEXTS[kind]
    assert [alert.text for alert in act().alerts(kind)][-1] == text

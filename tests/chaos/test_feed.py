"""The feed of chaos and simulation draws everything that orders may instruct, and every type of record."""

from __future__ import annotations

import dataclasses

import pytest

from impactd.core.base.instrument import UNDEFINED
from impactd.core.base.topics import Topic
from impactd.core.inputs.events import NewOrder
from impactd.core.inputs.terms import TERMS, Terms
from impactd.core.orders.life import refusal
from impactd.core.orders.order import ApplyContext
from impactd.wire.codec import FROM_DATA, Limits
from impactd.wire.json_orders import decode_events
from tests.chaos.feed import VENUE, Desk, Message
from tests.core.builders import T0, M
from tests.reference import inputs

#: Of records that this feed leaves to others: nothing of it depends on definitions, and a halt comes by control.
_ELSEWHERE = {"definition", "status"}


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    desk = Desk("terms", 2, 2)
    return [message for step in range(20_000) for message in desk.step(T0 + step * M // 10)]


def test_every_term_is_in_orders_that_are_accepted(messages: list[Message]) -> None:
    """A new term fails here until the feed draws it, in orders that nothing else makes refused."""
    sent = [message.value for message in messages if message.topic is Topic.ORDERS]
    decoded = decode_events(Topic.ORDERS, sent, list(range(len(sent))), [FROM_DATA] * len(sent), None, Limits())
    blank, seen = Terms(1, 0, 1), set[str]()
    for event in (one.event for one in decoded.events):
        if isinstance(event, NewOrder):
            context = ApplyContext(event.ts_event, 3 * 10**9, 3_000, 100, venues=(VENUE,))
            if refusal(event.terms, event.side, context, UNDEFINED) is None:
                seen |= {name for name in TERMS if getattr(event.terms, name) != getattr(blank, name)}
    assert seen == set(TERMS)
    assert {field.name for field in dataclasses.fields(Terms)} == set(TERMS)


def test_every_type_of_record_is_sent(messages: list[Message]) -> None:
    for topic, names in inputs.BY_TOPIC.items():
        for name in set(names) - _ELSEWHERE - {"control"}:
            assert any(
                message.topic is topic and b'"type":"%s"' % name.encode() in message.value for message in messages
            )

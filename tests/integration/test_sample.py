"""The live sample of a selftest, on a real broker."""

from __future__ import annotations

import time

import pytest

from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import Broker
from impactd.shell.kafka.errors import FatalError
from impactd.shell.sample import sample_ticks
from impactd.wire.codec import Limits
from tests.integration.kafka_lab import SYMBOLS, book, lab, send

pytestmark = pytest.mark.broker


async def test_sample_of_live_ticks_counts_what_can_be_used_and_states_how_old_it_is(broker: Broker) -> None:
    settings = await lab(broker.bootstrap)
    empty = await sample_ticks(settings, Limits(), 100)
    assert (empty.records, empty.rows, empty.age_s) == (0, 0, None)
    now = time.time_ns()
    rows = [(symbol, book(symbol, now + n, n), now) for n in range(30) for symbol in SYMBOLS]
    await send(settings, Topic.TICKS, [*rows, (SYMBOLS[0], b"not a tick", now)])
    found = await sample_ticks(settings, Limits(), 1_000)
    assert found.records == len(rows) + 1
    assert found.rows == len(rows)
    assert found.symbols == len(set(SYMBOLS))
    assert found.refused == {"json": 1}
    assert found.age_s is not None
    assert 0.0 <= found.age_s < 120.0
    few = await sample_ticks(settings, Limits(), found.partitions)
    assert few.records == found.partitions


async def test_sample_where_topics_are_missing_states_how_to_make_them(broker: Broker) -> None:
    settings = await lab(broker.bootstrap)
    strange = settings.replace(topics={"prefix": "nobody."})
    with pytest.raises(FatalError, match="impactd topics create"):
        await sample_ticks(strange, Limits(), 10)

"""Partitions that are added while the service runs stop it, as soon as its client hears of them."""

from __future__ import annotations

from typing import Any

import pytest

from impactd.config import Settings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.shell.kafka.broker_watch import check_partitions
from impactd.shell.kafka.errors import FatalError

COUNTS = dict.fromkeys(INPUT_TOPICS, 2)


class Metadata:
    """What a consumer knows of topics."""

    def __init__(self, **counts: int) -> None:
        self._counts = counts

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        n = self._counts.get(topic.removeprefix("impactd."))
        return None if n is None else set(range(n))


def check(**counts: int) -> None:
    consumer: Any = Metadata(**counts)
    check_partitions(Settings(), consumer, COUNTS)


def test_check_partitions_as_at_the_start_or_not_yet_known_passes() -> None:
    check(ticks=2, orders=2, executions=2, control=2)
    check(ticks=2)


@pytest.mark.parametrize("topic", INPUT_TOPICS)
def test_check_partitions_added_to_any_input_stop_the_service(topic: Topic) -> None:
    with pytest.raises(FatalError, match=f"{topic.value} had 2 partitions and now has 3.*topics.names.state"):
        check(**{topic.value: 3})

"""The model answers scripted histories as a real broker does."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import Broker
from impactd.shell.kafka import transport as real
from impactd.shell.kafka.topics import admin_client
from tests.integration.kafka_lab import lab, lab_settings
from tests.simulate.clients import Link, Network, Transport
from tests.simulate.clock import Loop, Process
from tests.simulate.cluster import Cluster, Place
from tests.simulate.histories import HISTORIES, History, Seen

every_history = pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.__name__)

#: The least that a group may have on the broker; transactions time out soon.
_KAFKA = {"session_timeout_ms": 6_000, "heartbeat_interval_ms": 300, "transaction_timeout_ms": 3_000}


class _Model:
    def __init__(self, loop: Loop) -> None:
        self.settings = lab_settings("nowhere:1", kafka=_KAFKA)
        self._cluster = Cluster(loop, {self.settings.topics.name(topic): 2 for topic in Topic}, "model")
        self._network = Network(loop, self._cluster, "model")

    def transport(self) -> real.Transport:
        return Transport(Link(self._network, Process("history")), self.settings)

    async def limit(self, topic: Topic, n_bytes: int) -> None:
        self._cluster.max_bytes[self.settings.topics.name(topic)] = n_bytes

    async def delete_before(self, topic: Topic, offset: int) -> None:
        self._cluster.logs[Place(self.settings.topics.name(topic), 0)].truncate(offset)


class _Kafka:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def transport(self) -> real.Transport:
        return real.KafkaTransport(self.settings)

    async def limit(self, topic: Topic, n_bytes: int) -> None:
        name = self.settings.topics.name(topic)
        resource = ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": str(n_bytes)})
        async with admin_client(self.settings) as admin:
            await admin.alter_configs([resource])
        # Brokers apply it a moment after they have answered.
        await asyncio.sleep(2.0)

    async def delete_before(self, topic: Topic, offset: int) -> None:
        place = TopicPartition(self.settings.topics.name(topic), 0)
        async with admin_client(self.settings) as admin:
            await admin.delete_records({place: RecordsToDelete(before_offset=offset)})


def _of_model(history: History) -> Seen:
    loop = Loop("history")
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(_played(loop, history))
    finally:
        loop.close()
        asyncio.set_event_loop(None)


async def _played(loop: Loop, history: History) -> Seen:
    return await history(_Model(loop))


@every_history
def test_model_plays_every_history(history: History) -> None:
    assert _of_model(history)


@every_history
async def test_broker_and_model_agree(history: History, broker: Broker) -> None:
    settings = await lab(broker.bootstrap, kafka=_KAFKA)
    expected = await history(_Kafka(settings))
    assert await asyncio.to_thread(_of_model, history) == expected

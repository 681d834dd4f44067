"""A broker that is found can be trusted: it takes transactions, keeps them, dies when told, and never outlives us."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from impactd.shell.broker.broker import Broker, BrokerUnavailable, find_broker
from impactd.shell.broker.probe import answers
from impactd.shell.broker.server import KafkaServer

KafkaFactory = Callable[..., KafkaServer]

_DEADLINE_S: Final = 300.0
_SCRAM_MODULE: Final = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


async def _make_topic(bootstrap: str) -> str:
    topic = f"test-{uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        response = await admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])
        assert [error[1] for error in response.topic_errors] == [0]
    finally:
        await admin.close()
    return topic


async def _write_one_of_two(bootstrap: str, topic: str) -> None:
    """Abort a transaction with ``aborted`` in it, and commit one with ``committed``."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=uuid4().hex)
    async with AsyncExitStack() as stack:
        await producer.start()
        stack.push_async_callback(producer.stop)
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted", partition=1)
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(topic, b"committed", partition=1)


async def _read_committed(bootstrap: str, topic: str) -> list[bytes]:
    """Return what ``read_committed`` sees of partition 1, up to its last stable offset."""
    partition = TopicPartition(topic, 1)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    values: list[bytes] = []
    async with AsyncExitStack() as stack:
        await consumer.start()
        stack.push_async_callback(consumer.stop)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        async with asyncio.timeout(_DEADLINE_S):
            while await consumer.position(partition) < end:
                batches = await consumer.getmany(partition, timeout_ms=200)
                values += [record.value for batch in batches.values() for record in batch]
    return values


async def test_broker_transactions_only_the_committed_one_is_read(broker: Broker) -> None:
    assert broker.is_real
    topic = await _make_topic(broker.bootstrap)
    await _write_one_of_two(broker.bootstrap, topic)
    assert await _read_committed(broker.bootstrap, topic) == [b"committed"]


async def test_kafka_server_restarted_and_killed_keeps_committed_data(new_kafka: KafkaFactory) -> None:
    server = new_kafka()
    bootstrap, topic = server.bootstrap, await _make_topic(server.bootstrap)
    await _write_one_of_two(bootstrap, topic)
    await asyncio.to_thread(server.restart)
    assert (server.bootstrap, await _read_committed(bootstrap, topic)) == (bootstrap, [b"committed"])
    server.kill()
    assert not await asyncio.to_thread(answers, bootstrap)
    await asyncio.to_thread(server.start)
    assert await _read_committed(bootstrap, topic) == [b"committed"]


async def test_kafka_server_own_properties_and_listener_are_in_force(new_kafka: KafkaFactory) -> None:
    server = await asyncio.to_thread(
        new_kafka,
        properties={"num.partitions": "3", "sasl.enabled.mechanisms": "SCRAM-SHA-256"}
        | {"listener.name.secure.scram-sha-256.sasl.jaas.config": _SCRAM_MODULE},
        listeners={"SECURE": "SASL_PLAINTEXT"},
        format_arguments=("--add-scram", "SCRAM-SHA-256=[name=desk,password=open-sesame]"),
    )
    admin = AIOKafkaAdminClient(
        bootstrap_servers=server.address("SECURE"),
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-256",
        sasl_plain_username="desk",
        sasl_plain_password="open-sesame",  # noqa: S106  (this test's own)
    )
    await admin.start()
    try:
        wanted = ConfigResource(ConfigResourceType.BROKER, "1", configs={"num.partitions": None})
        [response] = await admin.describe_configs([wanted])
        [resource] = response.resources
        assert resource[4][0][:2] == ("num.partitions", "3")
    finally:
        await admin.close()


def test_kafka_server_bad_property_is_refused_with_its_log(new_kafka: KafkaFactory) -> None:
    new_kafka().close()  # a missing Java or Maven is told as such, and not as the refusal that is looked for
    with (
        pytest.raises(BrokerUnavailable, match="num\\.io\\.threads"),
        KafkaServer(properties={"num.io.threads": "none"}),
    ):
        pytest.fail("it started")


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux can wait for a process that is not a child")
def test_kafka_server_parent_killed_is_gone(new_kafka: KafkaFactory, tmp_path: Path) -> None:
    new_kafka().close()
    script = """if True:
        from impactd.shell.broker.server import KafkaServer
        server = KafkaServer()
        server.start()
        print(server.pid, flush=True)
        input()
    """
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},  # nobody is left to remove its data but pytest
    ) as parent:
        assert parent.stdout is not None
        server = os.pidfd_open(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    try:
        # Readable once the process has ended, reaped or not.
        ended, _, _ = select.select([server], [], [], _DEADLINE_S)
        assert ended, "the server outlived its parent"
    finally:
        os.close(server)


async def test_mock_transaction_and_group_of_one_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("IMPACTD_BOOTSTRAP", raising=False)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with find_broker(allow_mock=True) as broker:
        assert (broker.kind, broker.is_real) == ("mock", False)
        topic = f"test-{uuid4().hex}"
        consumer: Any = AIOKafkaConsumer(
            topic,
            bootstrap_servers=broker.bootstrap,
            group_id="only",
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id="only")
        async with AsyncExitStack() as stack:
            await producer.start()
            stack.push_async_callback(producer.stop)
            async with producer.transaction():
                await producer.send_and_wait(topic, b"committed", partition=1)
            await consumer.start()
            stack.push_async_callback(consumer.stop)
            async with asyncio.timeout(_DEADLINE_S):
                record = await consumer.getone()
        assert (record.partition, record.value) == (1, b"committed")

"""Files and a Kafka broker keep the contract of transports."""

from __future__ import annotations

import base64
from pathlib import Path

import orjson
import pytest

from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import Broker
from impactd.shell.kafka.publish import publish
from impactd.shell.outputs import FILES
from impactd.shell.replay import Sources, replay
from tests.checks.transport_checks import CHECKS, Check, Published
from tests.integration.kafka_lab import (
    DAY,
    PARTITIONS,
    from_topics,
    lab,
    published_all,
    records_until,
    running,
    values_by_topic,
)
from tests.records import read_topic

every_check = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))


class Files:
    """A replay of files into files."""

    durable = False

    async def carry(self, sources: Sources, directory: Path, *, batch: int = 5_000, stops: int = 0) -> Published:
        assert not stops
        replay(sources, DAY, directory / "out", partitions=PARTITIONS, batch_rows=batch)
        letters = (directory / "out" / FILES[Topic.DLQ]).read_bytes().splitlines()
        return Published(
            values_by_topic(directory / "out"), [base64.b64decode(orjson.loads(line)["value"]) for line in letters]
        )


class Kafka:
    """The service on a broker."""

    durable = True

    def __init__(self, broker: Broker) -> None:
        self._bootstrap = broker.bootstrap

    async def carry(self, sources: Sources, directory: Path, *, batch: int = 5_000, stops: int = 0) -> Published:
        replay(sources, DAY, directory / "counted", partitions=PARTITIONS)
        expected = values_by_topic(directory / "counted")
        settings = await lab(self._bootstrap, kafka={"max_commit_records": batch})
        await publish(settings, sources)
        for stop in range(stops):
            async with running(settings):
                await records_until(settings, Topic.JOURNAL, lambda found, least=3 * (stop + 1): len(found) >= least)
        async with running(settings):
            await published_all(settings, expected)
        letters = await read_topic(settings, settings.topics.name(Topic.DLQ))
        return Published(await from_topics(settings), [record.value or b"" for record in letters])


@every_check
async def test_files_keep_the_contract_of_transports(check: Check, tmp_path: Path) -> None:
    await check(Files(), tmp_path)


@every_check
async def test_kafka_keeps_the_contract_of_transports(check: Check, broker: Broker, tmp_path: Path) -> None:
    await check(Kafka(broker), tmp_path)

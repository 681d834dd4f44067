"""What is used of aiokafka that it does not promise: another release must not change it unseen."""

from __future__ import annotations

import inspect

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords

from impactd.config import Settings
from impactd.shell.kafka.client import manual_consumer


async def test_raw_consumer_stands_between_the_fetcher_and_the_client() -> None:
    consumer = manual_consumer(Settings())
    await consumer.stop()
    assert isinstance(consumer, AIOKafkaConsumer)
    assert consumer._client.send == consumer._observed
    # The fetcher is given that client, and keeps a response under its partition before it pauses again.
    assert "self._client," in inspect.getsource(AIOKafkaConsumer.start)
    source = inspect.getsource(Fetcher._proc_fetch_request)
    taken, _, rest = source.partition("response = await self._client.send(node_id, request)")
    assert "await" not in taken
    assert "self._records[tp] = FetchResult(" in rest
    assert "await " not in rest.partition("for topic, partitions in response.topics:")[2]


def test_raw_consumer_reads_what_the_fetcher_was_given() -> None:
    names = list(inspect.signature(PartitionRecords).parameters)
    assert names == [
        "tp",
        "records",
        "aborted_transactions",
        "fetch_offset",
        "key_deserializer",
        "value_deserializer",
        "check_crcs",
        "isolation_level",
    ]
    assert FetchResult.__name__ in inspect.getsource(Fetcher.fetched_records)
    source = inspect.getsource(Fetcher._proc_fetch_request)
    for said in ("API_VERSION >= 11", "aborted_transactions = part_data[2]", "aborted_transactions = part_data[-2]"):
        assert said in source
    assert "del self._records[tp]" in inspect.getsource(Fetcher.seek_to)

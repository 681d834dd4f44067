"""A day in Avro or Protobuf, in and out, on a real broker: its messages are those of JSON, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.research.cost_analysis import read_results
from impactd.shell.audit.capture import capture
from impactd.shell.broker.broker import Broker
from impactd.shell.export.parquet import ParquetSink
from impactd.shell.export.topics import export
from impactd.shell.kafka.registry import Readable
from impactd.wire.framing import TYPES, Format, Framer, is_framed, schema_text
from tests.integration.kafka_lab import (
    COMPARED,
    assert_same,
    audited,
    from_files,
    from_topics,
    lab,
    published_all,
    records_until,
    running,
    send,
    start,
    until,
    write_day,
)
from tests.shell.kafka.fake_registry import FakeRegistry, serving

pytest.importorskip("fastavro")
pytest.importorskip("google.protobuf")

pytestmark = pytest.mark.broker

#: Ids of the schemas by which the inputs are written, and one that no schema has.
INPUTS = {Topic.TICKS: 1, Topic.ORDERS: 2, Topic.EXECUTIONS: 3}
NOWHERE = 70_001


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with serving() as made:
        yield made


async def framed_day(settings: Settings, directory: Path, form: Format, registry: FakeRegistry) -> None:
    """Send a day's records in a format, with others among the orders that cannot be read."""
    for topic, number in INPUTS.items():
        registry.schemas[number] = {"schemaType": TYPES[form], "schema": schema_text(form, topic)}
        framer = Framer(form, topic, number)
        lines = (directory / f"{topic.value}.jsonl").read_bytes().splitlines()
        records = [
            (message["symbol"], framer.frame(message), message["ts_event"]) for message in map(orjson.loads, lines)
        ]
        if topic is Topic.ORDERS:
            symbol, value, at = records[0]
            records += [(symbol, b"\0" + NOWHERE.to_bytes(4) + value[5:], at), (symbol, value[:-3], at)]
        await send(settings, topic, records)


async def readable(settings: Settings) -> dict[Topic, list[list[bytes]]]:
    """Return what the service has published, as JSON."""
    as_json = Readable(settings)
    found: dict[Topic, list[list[bytes]]] = {}
    for topic, parts in (await from_topics(settings)).items():
        assert all(map(is_framed, [value for part in parts for value in part])), topic
        found[topic] = [[value or b"" for value in await as_json(part)] for part in parts]
    return found


@pytest.mark.parametrize("form", ["avro", "protobuf"])
async def test_day_in_a_format_is_the_day_in_json(
    broker: Broker, tmp_path: Path, form: Format, registry: FakeRegistry
) -> None:
    expected = from_files(write_day(tmp_path, 12), tmp_path / "out")
    sections: dict[str, Any] = {"wire": {"format": form}, "registry": {"url": f"http://127.0.0.1:{registry.port}"}}
    settings = await lab(broker.bootstrap, **sections)
    # Nothing is read before the outputs' schemas are registered.
    registry.away = True
    first = start(settings)
    await until(registry.heard.is_set, "the registry is asked")
    await framed_day(settings, tmp_path, form, registry)
    registry.away = False
    await records_until(settings, Topic.ESTIMATES, lambda found: len(found) >= 6)
    assert await first.end() == 0, first.service.error
    assert {registry.subjects[f"{settings.topics.name(topic)}-value"] for topic in COMPARED} <= set(registry.schemas)
    async with running(settings):
        await published_all(settings, expected)
        letters = await records_until(settings, Topic.DLQ, lambda found: len(found) >= 2)
        audit = await audited(settings)
    found = await readable(settings)
    refused = [[value for value in part if b'"order_refused"' in value] for part in found[Topic.ALERTS]]
    assert sorted(map(len, refused)) == [0, 2]
    found[Topic.ALERTS] = [
        [value for value in part if value not in those]
        for part, those in zip(found[Topic.ALERTS], refused, strict=True)
    ]
    assert_same(found, expected)
    assert audit.outcome == "agrees", audit
    assert sorted(record.header("reason") or b"" for record in letters) == [b"schema", b"unknown_schema"]
    assert all(is_framed(record.value) for record in letters)
    await capture(settings, tmp_path / "captured", outputs=True)
    costs, wanted = (read_results(tmp_path / name).costs for name in ("captured", "out"))
    for found_table, wanted_table in zip(costs, wanted, strict=True):
        names = [name for name in ("symbol", "cl_ord_id", "exec_id", "side", "day") if name in wanted_table]
        pd.testing.assert_frame_equal(
            *(table.sort_values(names, ignore_index=True) for table in (found_table, wanted_table))
        )
    with closing(ParquetSink(tmp_path / "tables")) as sink:
        rows = (await export(settings, sink)).rows
    assert rows["plans"] == sum(map(len, expected[Topic.PLANS]))
    assert rows["executions"] == len((tmp_path / "executions.jsonl").read_bytes().splitlines())

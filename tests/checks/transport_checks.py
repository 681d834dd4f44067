"""What every transport promises, whatever carries the records: files, a broker.

A check takes a transport and a directory, and raises AssertionError.  What a transport can do beyond the rest (go on
after a stop) is an attribute of it, and a check that needs that asks for it; none names a transport.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import orjson

from impactd.core.base.topics import Topic
from impactd.shell.replay import Sources
from impactd.wire.murmur2 import partition_for
from tests.integration.kafka_lab import COMPARED, PARTITIONS, assert_same, from_files, write_day

MINUTES = 6
BAD_ORDER = b'{"type":"new","cl_ord_id":"X"}'


@dataclass(frozen=True)
class Published:
    """What came out: values by topic and partition, in order, and the refused records as they came."""

    values: dict[Topic, list[list[bytes]]]
    refused: list[bytes]


class Transport(Protocol):
    """Carries a recorded day to the core and its outputs away, over `PARTITIONS` partitions.

    Attributes
    ----------
    durable : bool
        Whether a process that stops is continued by the next one.
    """

    durable: bool

    async def carry(self, sources: Sources, directory: Path, *, batch: int = 5_000, stops: int = 0) -> Published:
        """Return what is published when at most `batch` records are applied at once and the process stops so often."""


async def check_bytes_are_those_of_a_replay(transport: Transport, directory: Path) -> None:
    sources = write_day(directory, MINUTES)
    assert_same((await transport.carry(sources, directory)).values, from_files(sources, directory / "expected"))


async def check_batches_change_nothing(transport: Transport, directory: Path) -> None:
    sources = write_day(directory, MINUTES)
    expected = from_files(sources, directory / "expected")
    assert_same((await transport.carry(sources, directory, batch=7)).values, expected)


async def check_symbols_stay_in_their_partition_and_in_order(transport: Transport, directory: Path) -> None:
    found = (await transport.carry(write_day(directory, MINUTES), directory)).values
    assert sum(map(len, found[Topic.ESTIMATES])) > 0
    for topic in COMPARED:
        for partition in range(PARTITIONS):
            records = [orjson.loads(value) for value in found[topic][partition]]
            assert {partition_for(record["symbol"], PARTITIONS) for record in records} <= {partition}
            versions: dict[str, list[int]] = {}
            for record in records:
                if topic is Topic.PLANS:
                    versions.setdefault(record["cl_ord_id"], []).append(record["plan_version"])
            assert all(counted == list(range(1, len(counted) + 1)) for counted in versions.values())


async def check_refused_records_keep_their_bytes_and_stop_nothing(transport: Transport, directory: Path) -> None:
    sources = write_day(directory, MINUTES)
    expected = from_files(sources, directory / "expected")
    assert sources.orders is not None
    sources.orders.write_bytes(BAD_ORDER + b"\n" + sources.orders.read_bytes())
    found = await transport.carry(sources, directory)
    assert found.refused == [BAD_ORDER]
    # Alerts tell of what was refused; all else is as without it.
    assert_same(found.values | {Topic.ALERTS: expected[Topic.ALERTS]}, expected)


async def check_stops_change_nothing(transport: Transport, directory: Path) -> None:
    if transport.durable:
        sources = write_day(directory, MINUTES)
        found = await transport.carry(sources, directory, stops=1)
        assert_same(found.values, from_files(sources, directory / "expected"))


Check = Callable[[Transport, Path], Awaitable[None]]

CHECKS: tuple[Check, ...] = (
    check_bytes_are_those_of_a_replay,
    check_batches_change_nothing,
    check_symbols_stay_in_their_partition_and_in_order,
    check_refused_records_keep_their_bytes_and_stop_nothing,
    check_stops_change_nothing,
)

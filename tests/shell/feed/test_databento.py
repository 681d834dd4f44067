"""The Databento bridge with their own client, against a local gateway that drops sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from impactd.shell.feed.databento import DatabentoFeed, Subscription
from impactd.shell.feed.sink import FeedRecord
from impactd.shell.kafka.errors import FatalError
from tests.shell.feed.kept import Kept, kinds
from tests.wire.helpers import T0
from tests.wire.ticks.dbn.samples import IDS
from tests.wire.ticks.dbn.samples import head as dbn_head
from tests.wire.ticks.dbn.test_orders import SNAPSHOT, mbo

pytest.importorskip("databento", reason="the client is an extra")

KEY = "db-" + "a" * 29

#: Bytes of an MBO record.
MBO_BYTES = 56


class KeptOrders(Kept):
    """Keeps what is put, until `n` orders have come, in however many messages."""

    async def put(self, record: FeedRecord) -> None:
        self.records.append(record)
        if sum(len(one.value) for one in self.records) >= self._n * MBO_BYTES:
            self._full.set()


def mapping(symbol: str) -> bytes:
    """Return a symbol mapping record."""
    name = symbol.encode().ljust(71, b"\0")
    body = bytes([1]) + name + bytes([1]) + name
    times = T0.to_bytes(8, "little") + (2**64 - 1).to_bytes(8, "little")
    head = bytes([44, 22]) + (0).to_bytes(2, "little") + IDS[symbol].to_bytes(4, "little") + T0.to_bytes(8, "little")
    return head + body + times


def snapshot(px: int) -> bytes:
    return b"".join([
        mbo("R", flags=SNAPSHOT),
        mbo("A", "B", px, 5, 1, flags=SNAPSHOT, at=1),
        mbo("A", "A", px + 5, 7, 2, flags=SNAPSHOT | 128, at=2),
    ])  # fmt: skip


async def serve(sessions: Sequence[bytes], n: int, *, success: bool = True) -> tuple[list[FeedRecord], list[bytes]]:
    """Run a feed against a gateway that sends the records of each session and then closes it; the last stays open."""
    at = 0
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal at
        mine, at = sessions[min(at, len(sessions) - 1)], at + 1
        writer.write(b"lsg_version=1.0.0\ncram=abcdefgh\n")
        await reader.readline()
        writer.write(b"success=1|session_id=7\n" if success else b"success=0|error=Unknown key\n")
        while (line := await reader.readline()) and not line.startswith(b"start_session"):
            asked.append(line)
        if line:
            writer.write(dbn_head(schema=0) + mine)
            await writer.drain()
        if at >= len(sessions):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sink = KeptOrders(n)
    wanted = Subscription(KEY, "XNAS.ITCH", ["mbo"], ["FROG"], gateway="127.0.0.1", port=port)
    try:
        await sink.fill(DatabentoFeed(wanted, sink, first_wait_s=0.01).run())
    finally:
        server.close()
    return sink.records, asked


async def test_a_closed_session_ends_the_book_and_begins_with_a_new_snapshot() -> None:
    sessions = [mapping("FROG") + snapshot(3_100) + mbo("A", "B", 3_090, 5, 3, at=3), mapping("FROG") + snapshot(3_200)]
    records, asked = await serve(sessions, 4 + 1 + 3)
    assert {record.symbol for record in records} == {"FROG"}
    seen = [kind for kind in kinds(records) if kind != "none"]
    assert seen[0] == seen[-1] == "book"
    assert len([record for record in records if len(record.value) == MBO_BYTES]) >= 1
    assert all(b"schema=mbo" in line and b"snapshot=1" in line for line in asked)


async def test_a_key_that_is_refused_ends_the_feed() -> None:
    with pytest.raises(FatalError, match="Unknown key"):
        await serve([b""], 1, success=False)

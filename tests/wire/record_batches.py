"""An encoder of Kafka record batches for tests, written from the format's description alone.

It also makes what a producer would not: gaps, foreign times, control records, odd varints.
https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.record._crc32c import crc

ABORT, COMMIT = 0, 1

CODECS: Final[dict[int, Callable[[bytes], bytes]]] = {
    0: bytes,
    1: gzip_encode,
    2: snappy_encode,
    3: lz4_encode,
    4: zstd_encode,
}


@dataclass(frozen=True, slots=True)
class Item:
    """A record of a batch; `behind` are its offset and time over those of the batch."""

    behind: int
    behind_ms: int = 0
    key: bytes | None = b"FROG"
    value: bytes | None = b"{}"
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """A record batch before it is encoded."""

    base: int
    items: Sequence[Item]
    codec: int = 0
    first_ms: int = 1_743_687_000_000
    last_delta: int | None = None
    append_time: bool = False
    transactional: bool = False
    control: bool = False
    producer: int = -1
    damage: Callable[[bytes], bytes] = field(default=bytes)

    def encoded(self) -> bytes:
        """Return its bytes."""
        body = CODECS[self.codec](self.damage(b"".join(map(_record, self.items))))
        last = self.last_delta if self.last_delta is not None else self.items[-1].behind if self.items else 0
        attributes = self.codec | self.append_time << 3 | self.transactional << 4 | self.control << 5
        last_ms = self.first_ms + max((item.behind_ms for item in self.items), default=0)
        checked = (
            struct.pack(">hiqqqhii", attributes, last, self.first_ms, last_ms, self.producer, 0, 0, len(self.items))
            + body
        )
        return struct.pack(">qiibI", self.base, len(checked) + 9, 0, 2, crc(checked)) + checked


def marker(base: int, producer: int, kind: int) -> Batch:
    """Return the control batch that ends a transaction."""
    item = Item(0, key=struct.pack(">hh", 0, kind), value=struct.pack(">hi", 0, 0))
    return Batch(base, [item], transactional=True, control=True, producer=producer)


def _record(item: Item) -> bytes:
    body = b"\0" + varint(item.behind_ms) + varint(item.behind) + _sized(item.key) + _sized(item.value)
    body += varint(len(item.headers))
    for name, value in item.headers:
        body += _sized(name.encode()) + _sized(value)
    return varint(len(body)) + body


def _sized(part: bytes | None) -> bytes:
    return varint(-1) if part is None else varint(len(part)) + part


def varint(value: int) -> bytes:
    """Return a zigzag varint."""
    left = value << 1 if value >= 0 else ((-value) << 1) - 1
    out = bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)

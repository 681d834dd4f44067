"""Server-sent events to many readers: encoded once, resumable, and never blocked by a reader.

An event's id names for every partition of the topics that are followed the
offset of the last record that was sent.  It therefore means the same after a
restart, and in another process.  A reader that resumes gets what came after
its id as long as that is remembered, and otherwise one event ``reset``: fetch
the state again.

Each reader has a bounded queue.  One that does not read is dropped; its
browser comes back by itself and resumes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

Place = tuple[str, int]

#: Records that are remembered for readers that resume, and their bytes.
REMEMBERED: Final = 5_000
REMEMBERED_BYTES: Final = 16_000_000

#: Frames, and bytes, that wait for one reader before it is dropped.
QUEUE_FRAMES: Final = 256
QUEUE_BYTES: Final = 8_000_000

RESET: Final = b"event: reset\ndata: {}\n\n"


class Reader:
    """One open stream.

    Parameters
    ----------
    on_drop : callable, optional
        Told when the reader is dropped; what it writes at that moment may never end by itself.
    """

    def __init__(self, on_drop: Callable[[], None] = lambda: None) -> None:
        self._on_drop = on_drop
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._moved = asyncio.Event()
        self.dropped = False

    def put(self, frame: bytes) -> None:
        """Queue a frame, or drop the reader where too much waits."""
        if self.dropped:
            return
        self._frames.append(frame)
        self._bytes += len(frame)
        if len(self._frames) > QUEUE_FRAMES or self._bytes > QUEUE_BYTES:
            self.drop()
        self._moved.set()

    def drop(self) -> None:
        """Send nothing more."""
        self.dropped = True
        self._frames.clear()
        self._moved.set()
        self._on_drop()

    async def frames(self) -> bytes | None:
        """Return all that waits, as soon as something does; None once dropped."""
        while not self._frames and not self.dropped:
            self._moved.clear()
            await self._moved.wait()
        if self.dropped:
            return None
        found = b"".join(self._frames)
        self._frames.clear()
        self._bytes = 0
        return found


class Stream:
    """What was sent lately, and who gets what comes."""

    def __init__(self) -> None:
        self.readers: set[Reader] = set()
        self._sent: deque[tuple[Place, int, bytes]] = deque()
        self._bytes = 0
        self._at: dict[Place, int] = {}
        #: Offset up to which a place's records are no longer remembered.
        self._floor: dict[Place, int] = {}

    def begin(self, starts: dict[Place, int]) -> None:
        """Start again, at the first offset of each place."""
        self._sent.clear()
        self._bytes = 0
        self._at = {place: offset - 1 for place, offset in starts.items()}
        self._floor = dict(self._at)

    def records(self, items: Iterable[tuple[Place, int, str, bytes]]) -> None:
        """Remember records (place, offset, event, data) and send them to every reader, as one frame."""
        chunks = []
        for place, offset, event, data in items:
            chunk = b"event: %b\ndata: %b\n\n" % (event.encode(), data)
            chunks.append(chunk)
            self._at[place] = offset
            self._sent.append((place, offset, chunk))
            self._bytes += len(chunk)
        while len(self._sent) > REMEMBERED or self._bytes > REMEMBERED_BYTES:
            place, offset, chunk = self._sent.popleft()
            self._floor[place] = offset
            self._bytes -= len(chunk)
        if chunks and self.readers:
            self._send(self._with_id(chunks))

    def say(self, event: str, data: bytes) -> None:
        """Send what has no place on a topic; it is not remembered."""
        if self.readers:
            self._send(b"event: %b\ndata: %b\n\n" % (event.encode(), data))

    @property
    def position(self) -> str:
        """The id of the last event."""
        return ",".join(f"{topic}.{partition}.{offset}" for (topic, partition), offset in sorted(self._at.items()))

    def open(self, after: str | None, on_drop: Callable[[], None] = lambda: None) -> Reader:
        """Return a new reader that begins after an id; see `Reader`."""
        reader = Reader(on_drop)
        if after is not None and after != self.position:
            missed = self._since(after)
            reader.put(RESET if missed is None else self._with_id(missed))
        self.readers.add(reader)
        return reader

    def _since(self, after: str) -> list[bytes] | None:
        """Return what was sent after an id; None where that is not known any more."""
        seen: dict[Place, int] = {}
        try:
            for item in filter(None, after.split(",")):
                topic, partition, offset = item.rsplit(".", 2)
                seen[topic, int(partition)] = int(offset)
        except ValueError:
            return None
        if any(seen.get(place, -2) < floor for place, floor in self._floor.items()):
            return None
        return [chunk for place, offset, chunk in self._sent if offset > seen[place]]

    def _with_id(self, chunks: list[bytes]) -> bytes:
        """Return one frame whose last event carries the id; a connection that breaks within resumes before it."""
        head = b"id: %b\n" % self.position.encode()
        return b"".join(chunks[:-1]) + head + chunks[-1] if chunks else b": resumed\n\n"

    def _send(self, frame: bytes) -> None:
        for reader in self.readers:
            reader.put(frame)
        self.readers = {reader for reader in self.readers if not reader.dropped}

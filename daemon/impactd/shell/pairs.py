"""Two files that make one: LOBSTER's messages and books, joined line by line."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import chain, pairwise, zip_longest
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from impactd.wire.ticks.lobster.names import MESSAGE, ORDERBOOK, PAIR, LobsterName

_LINES: Final = 4_096


class Pair(NamedTuple):
    """The names of a message and an orderbook file, and of their joined lines."""

    message: str
    orderbook: str
    name: str


def pair_among(names: list[str]) -> Pair | None:
    """Return the one pair among the names of files; others may be there."""
    found: dict[str, list[tuple[str, LobsterName]]] = {MESSAGE: [], ORDERBOOK: []}
    for name in names:
        parsed = LobsterName.parse(Path(name).name)
        if parsed is not None and parsed.kind in found:
            found[parsed.kind].append((name, parsed))
    if [len(files) for files in found.values()] != [1, 1]:
        return None
    (message, parsed), (orderbook, other) = found[MESSAGE][0], found[ORDERBOOK][0]
    same = parsed._replace(kind=ORDERBOOK) == other
    return Pair(message, orderbook, parsed.text(PAIR)) if same else None


def other_half(path: Path) -> Pair | None:
    """Return the pair that a file is half of, as paths, if the other half is next to it."""
    base, dot, ending = path.name.partition(".csv")
    parsed = LobsterName.parse(base + dot)
    if parsed is None or parsed.kind == PAIR:
        return None
    message, orderbook = (path.with_name(parsed.text(kind) + ending) for kind in (MESSAGE, ORDERBOOK))
    both_there = message.is_file() and orderbook.is_file()
    return Pair(str(message), str(orderbook), parsed.text(PAIR)) if both_there else None


def joined(messages: IO[bytes], books: IO[bytes]) -> io.BufferedReader:
    """Return a stream of the lines of both, each pair as one line; where one file is shorter, a line is too."""
    return io.BufferedReader(_Joined(messages, books), 1 << 20)


class _Joined(io.RawIOBase):
    def __init__(self, messages: IO[bytes], books: IO[bytes]) -> None:
        super().__init__()
        self._files = (messages, books)
        self._pieces = self._lines()
        self._held = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._held:
            self._held = next(self._pieces, b"")
        n = min(len(buffer), len(self._held))
        buffer[:n], self._held = self._held[:n], self._held[n:]
        return n

    def _lines(self) -> Iterator[bytes]:
        made: list[bytes] = []
        lines = zip_longest(*self._files, fillvalue=b"")
        for (message, book), following in pairwise(chain(lines, [(b"", b"")])):
            # Where one file ends first, its last line may be cut: it is left out.
            is_whole = not any(following) or (message.endswith(b"\n") and book.endswith(b"\n"))
            made.append(message.rstrip(b"\r\n") + b"," + (book if is_whole else b"\n"))
            if len(made) == _LINES:
                yield b"".join(made)
                made = []
        if made:
            yield b"".join(made)

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()

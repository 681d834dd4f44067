"""Books that are built from changes live, and their part of a partition's state.

Records are decoded as they are fetched, ahead of the commit that takes them in. So there are two copies of the books:
one *ahead*, behind the last record fetched, which gives the rows; and one *behind*, at the committed position, which
follows by decoding the same records again, and is saved.

What is saved are the books as of some commit (``built/CODEC/SYMBOL/N``), and the records since (``changes/N``). A
commit adds only its records. Once these are larger than the books, the books that have changed are written again,
and the records are deleted. So a commit writes about twice what it reads, however deep the books are. The values
follow from the records and the commits' cuts, so that a derivation from the journal gives the same ones.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from impactd.core.inputs.ticks import Int
from impactd.wire.codec import Decoded, Limits
from impactd.wire.decoder import TickDecoder

#: Prefixes of the keys.
BOOKS: Final = "built/"
CHANGES: Final = "changes/"

#: Bytes of one value, at most.
_PIECE: Final = 200_000
#: Bytes of changes below which books are not written again.
_LEAST: Final = 200_000
#: Lengths of codec, key and value; -1 for none. A record without all three is a loss.
_HEAD: Final = struct.Struct("<iii")

Changed = dict[str, bytes | None]


class _Kept(NamedTuple):
    """A record that books depend on; without a value, the place where records are gone."""

    offset: int
    codec: str | None
    key: bytes | None
    value: bytes | None


class LiveBooks:
    """Decodes the tick records of one partition, and keeps the books that they build.

    Parameters
    ----------
    default : str
        Codec of records whose header names none.
    saved : mapping of str to bytes or None
        The keys of this part of the state; None where nothing is to be saved.
    """

    def __init__(self, default: str, limits: Limits, saved: Mapping[str, bytes] | None = None) -> None:
        self._ahead = TickDecoder(default, limits, live=True)
        self._behind = TickDecoder(default, limits, live=True)
        self._is_saved = saved is not None
        self._trail: deque[_Kept] = deque()
        #: Bytes of each saved book, by codec and symbol.
        self._sizes: dict[tuple[str, str], int] = {}
        self._pieces = 0
        self._n_changes = 0
        if saved:
            self._load(saved)

    def decode_columns(
        self,
        values: Sequence[bytes],
        offsets: Sequence[int] | Int,
        ts_records: Sequence[int] | Int,
        keys: Sequence[bytes | None],
        headers: Sequence[str | None] | None,
    ) -> Decoded:
        """Decode the records that follow those of the last call; see `TickDecoder.decode_columns`."""
        decoded = self._ahead.decode_columns(values, offsets, ts_records, keys, headers)
        if decoded.building and self._is_saved:
            wanted = frozenset(decoded.building)
            for i, offset in enumerate(map(int, offsets)):
                if offset in wanted:
                    self._trail.append(_Kept(offset, headers[i] if headers is not None else None, keys[i], values[i]))
        return decoded

    def skip(self, first: int) -> None:
        """Note that the records before offset `first` are gone, as retention deletes them."""
        gone = _Kept(first - 1, None, None, None)
        _apply(self._ahead, [gone])
        if self._is_saved:
            self._trail.append(gone)

    def advance(self, to: int) -> Changed:
        """Follow the records before offset `to`; return the changed keys, None for a deleted one."""
        kept = []
        while self._trail and self._trail[0].offset < to:
            kept.append(self._trail.popleft())
        if not kept:
            return {}
        _apply(self._behind, kept)
        log = b"".join(map(_packed, kept))
        self._n_changes += len(log)
        if self._n_changes > max(_LEAST, sum(self._sizes.values())):
            return self._rewritten()
        changed: Changed = {}
        for piece in _cut(log):
            changed[f"{CHANGES}{self._pieces:08}"] = piece
            self._pieces += 1
        return changed

    def _rewritten(self) -> Changed:
        """Return the books that have changed, without the records."""
        changed: Changed = {f"{CHANGES}{number:08}": None for number in range(self._pieces)}
        self._pieces = self._n_changes = 0
        for name, books in self._behind.books:
            for symbol, value in books.saved().items():
                before = self._sizes.pop((name, symbol), 0)
                for number in range(-(-before // _PIECE)):
                    changed[_book_key(name, symbol, number)] = None
                if value is not None:
                    self._sizes[name, symbol] = len(value)
                    pieces = enumerate(_cut(value))
                    changed |= {_book_key(name, symbol, number): piece for number, piece in pieces}
        return changed

    def _load(self, saved: Mapping[str, bytes]) -> None:
        books: dict[str, dict[str, bytes]] = {}
        for key in sorted(saved):
            if key.startswith(BOOKS):
                head, _, _ = key.removeprefix(BOOKS).rpartition("/")
                # Names of codecs have slashes, and so may symbols: the codec's length stands before it.
                length, _, rest = head.partition("/")
                name, symbol = rest[: int(length)], rest[int(length) + 1 :]
                of = books.setdefault(name, {})
                of[symbol] = of.get(symbol, b"") + saved[key]
        pieces = [saved[key] for key in sorted(saved) if key.startswith(CHANGES)]
        log = b"".join(pieces)
        kept = list(_unpacked(log))
        for decoder in (self._ahead, self._behind):
            for name, of in books.items():
                building = decoder.codec_for(name).books
                if building is not None:
                    building.load(of)
            _apply(decoder, kept)
        self._sizes = {(name, symbol): len(value) for name, of in books.items() for symbol, value in of.items()}
        self._pieces, self._n_changes = len(pieces), len(log)


def _book_key(codec: str, symbol: str, number: int) -> str:
    return f"{BOOKS}{len(codec)}/{codec}/{symbol}/{number:04}"


def _apply(decoder: TickDecoder, kept: Sequence[_Kept]) -> None:
    """Let a decoder's books follow records; their rows were given out when they were fetched."""
    for is_gap, group in groupby(kept, lambda one: one.value is None):
        if is_gap:
            for _, books in decoder.books:
                books.lose()
            continue
        run = list(group)
        decoder.decode_columns(
            [one.value or b"" for one in run],
            [one.offset for one in run],
            [0] * len(run),
            [one.key for one in run],
            [one.codec for one in run],
        )


def _packed(kept: _Kept) -> bytes:
    parts = [None if kept.codec is None else kept.codec.encode(), kept.key, kept.value]
    lengths = (-1 if part is None else len(part) for part in parts)
    return _HEAD.pack(*lengths) + b"".join(part or b"" for part in parts)


def _unpacked(log: bytes) -> Iterator[_Kept]:
    at = 0
    while at < len(log):
        lengths = _HEAD.unpack_from(log, at)
        at += _HEAD.size
        parts: list[bytes | None] = []
        for length in lengths:
            parts.append(None if length < 0 else log[at : at + length])
            at += max(length, 0)
        codec = parts[0]
        yield _Kept(0, None if codec is None else codec.decode(), parts[1], parts[2])


def _cut(value: bytes) -> Iterator[bytes]:
    return (value[at : at + _PIECE] for at in range(0, len(value), _PIECE))

"""Writes generated order books to a file; the same specification gives the same bytes.

The name chooses the format: ``.jsonl`` holds books and prints as our JSON,
``.csv`` the books alone as the long CSV (with a symbol column if there are
several); ``.gz`` and ``.xz`` compress.  The compressed stream holds no
name and no time of writing; its bytes may still differ between releases of
the compression library, what it holds does not.
"""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from impactd.core.inputs.ticks import BOOK, TRADE, TickBatch
from impactd.research.generator import GeneratorSpec, generate
from impactd.wire.tick_records import encode_ticks
from impactd.wire.ticks.long_csv.codec import HEADER

_COMPRESSED: Final = (".gz", ".xz")
#: gzip's own default costs half as much again for a hundredth of the size.
_GZIP_LEVEL: Final = 6


@dataclass(frozen=True, slots=True)
class Generated:
    """What was written."""

    path: Path
    books: int
    trades: int
    n_bytes: int


def generate_file(path: Path, spec: GeneratorSpec, progress: Callable[[int], None] | None = None) -> Generated:
    """Write generated order books.

    Parameters
    ----------
    path : Path
        Ends in ``.jsonl`` or ``.csv``, perhaps with ``.gz`` or ``.xz`` behind it.
    progress : callable, optional
        Called with the number of rows made so far.

    Raises
    ------
    ValueError
        If the name ends in something else.
    OSError
        If the file cannot be written.  An earlier file of that name then stays as it was.
    """
    encode = _encoder(path, spec)
    books = trades = 0
    part = path.with_name(path.name + ".part")
    try:
        with _created(part, path.suffix) as file:
            file.write(encode.header)
            for batch in generate(spec):
                file.write(encode.rows(batch))
                books += int(np.count_nonzero(batch.kind == BOOK))
                trades += int(np.count_nonzero(batch.kind == TRADE)) if encode.has_trades else 0
                if progress is not None:
                    progress(books + trades)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return Generated(path, books, trades, path.stat().st_size)


class _Encoder(Protocol):
    @property
    def header(self) -> bytes: ...

    @property
    def has_trades(self) -> bool: ...

    def rows(self, batch: TickBatch) -> bytes: ...


def _encoder(path: Path, spec: GeneratorSpec) -> _Encoder:
    plain = path.with_suffix("") if path.suffix in _COMPRESSED else path
    if plain.suffix == ".jsonl":
        return _JsonLines()
    if plain.suffix == ".csv":
        return _LongCsv(with_symbol=spec.symbols > 1)
    raise ValueError(f"{path}: the name chooses the format; let it end in .jsonl or .csv, with .gz or .xz behind it")


@contextmanager
def _created(path: Path, suffix: str) -> Iterator[BufferedIOBase]:
    with path.open("wb") as raw:
        if suffix == ".gz":
            # Neither name nor time in the stream: equal content is equal bytes.
            with gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0) as file:
                yield file
        elif suffix == ".xz":
            with lzma.open(raw, "wb") as file:
                yield file
        else:
            yield raw


class _JsonLines:
    header = b""
    has_trades = True

    def rows(self, batch: TickBatch) -> bytes:
        return b"".join(record.value + b"\n" for record in encode_ticks(batch))


class _LongCsv:
    has_trades = False

    def __init__(self, *, with_symbol: bool) -> None:
        self._with_symbol = with_symbol
        self.header = (HEADER + (",symbol" if with_symbol else "") + "\n").encode()

    def rows(self, batch: TickBatch) -> bytes:
        books = batch.take(batch.kind == BOOK)
        columns = (books.ts_event, books.symbol, books.bid_px, books.bid_sz, books.ask_px, books.ask_sz)
        lines: list[str] = []
        for ts, symbol, *levels in zip(*(column.tolist() for column in columns), strict=True):
            end = f",{books.symbols[symbol]}\n" if self._with_symbol else "\n"
            for side, px, sz in (("bid", *levels[:2]), ("ask", *levels[2:])):
                lines += [f"{ts},{side},{p!r},{s:.15g},{k}{end}" for k, (p, s) in enumerate(zip(px, sz, strict=True))]
        return "".join(lines).encode()

"""Recorded days and event files: paths in, decoded batches out.

The codec is the one that is asked for, or else told from the file: JSON lines
by name or by their first byte, the CSVs by their header.  A record's offset is
the number of its (first) line, its timestamp is ``ts_recv or ts_event`` floored
to the millisecond.

The last line of a JSON lines file may lack its line end: the JSON itself says
whether it is whole.  Nothing in a CSV says so (``...,290`` may have been
``...,2900``), so there the last line without a line end is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Final

import numpy as np

from impactd.core.base.topics import Topic
from impactd.core.inputs.ticks import Int, Refused
from impactd.shell.lines import InputFileError, Line, read_lines
from impactd.wire import json_orders
from impactd.wire.codec import FROM_DATA, Decoded, FieldError, Limits, TickCodec
from impactd.wire.registry import CODEC_NAMES
from impactd.wire.ticks.databento import codec as databento
from impactd.wire.ticks.databento.columns import HeaderError, split_header
from impactd.wire.ticks.json import codec as json_ticks
from impactd.wire.ticks.long_csv import codec as long_csv

BATCH_ROWS: Final = 4096

_COMPRESSED: Final = frozenset({".gz", ".xz"})
_JSON_ENDINGS: Final = frozenset({".jsonl", ".ndjson", ".json"})


@dataclass(frozen=True, slots=True)
class FileBatch:
    """A decoded batch with the offsets of all its records, refused and skipped ones included."""

    decoded: Decoded
    offsets: Int


def symbol_of(path: Path) -> str:
    """Return the symbol that a file's name gives: up to the first ``_`` or ``.``."""
    return path.name.partition("_")[0].partition(".")[0]


def read_ticks(
    path: Path,
    codec: str | None = None,
    symbol: str | None = None,
    batch_rows: int = BATCH_ROWS,
    limits: Limits | None = None,
) -> Iterator[Decoded]:
    """Yield the ticks of a file in batches.

    Parameters
    ----------
    path : Path
        Plain, ``.gz`` or ``.xz``.
    codec : str, optional
        One of `impactd.wire.registry.CODEC_NAMES`; told from the file by default.
    symbol : str, optional
        For data that name no symbol; by default what the file's name begins with.
    batch_rows : int
        Records decoded together; no row depends on it.

    Yields
    ------
    Decoded
        An empty file yields nothing.

    Raises
    ------
    InputFileError
        If the file cannot be read or its format is not known.
    """
    for batch in read_batches(path, codec, symbol, batch_rows, limits):
        yield batch.decoded


def read_batches(
    path: Path,
    codec: str | None = None,
    symbol: str | None = None,
    batch_rows: int = BATCH_ROWS,
    limits: Limits | None = None,
) -> Iterator[FileBatch]:
    """Yield the ticks of a file with the offsets of all records; see `read_ticks`."""
    limits = limits or Limits()
    lines = read_lines(path, limits.max_message_bytes)
    first = next(lines, None)
    if first is None:
        return
    name = codec or _detect(path, first)
    tick_codec, lines = _prepare(path, name, symbol or symbol_of(path), first, lines, limits)
    records = _snapshots(tick_codec, lines) if isinstance(tick_codec, long_csv.LongCsvCodec) else lines
    ts_last = 0
    for batch in _batched(records, batch_rows):
        decoded = _decode(tick_codec, batch)
        rows = decoded.batch
        decoded = replace(decoded, refused=_dated(decoded.refused, rows.offset, rows.ts_record, ts_last))
        ts_last = int(rows.ts_record[-1]) if len(rows) else ts_last
        yield FileBatch(decoded, np.array([line.number for line in batch], np.int64))


def read_events(path: Path, topic: Topic, limits: Limits | None = None) -> json_orders.DecodedEvents:
    """Return the orders, executions or controls of a JSON lines file.

    Raises
    ------
    InputFileError
        If the file cannot be read.
    """
    limits = limits or Limits()
    lines = list(read_lines(path, limits.max_message_bytes))
    good = [line for line in lines if line.fault is None]
    decoded = json_orders.decode_events(
        topic, [line.text for line in good], [line.number for line in good], [FROM_DATA] * len(good), None, limits
    )
    offsets = np.array([event.offset for event in decoded.events], np.int64)
    times = np.array([event.ts_record for event in decoded.events], np.int64)
    refused = _dated(_with_faults(decoded.refused, lines, json_orders.NAME), offsets, times, 0)
    return replace(decoded, refused=refused)


def _detect(path: Path, first: Line) -> str:
    endings = [ending for ending in path.suffixes if ending not in _COMPRESSED]
    if (endings and endings[-1] in _JSON_ENDINGS) or first.text.lstrip()[:1] in (b"{", b"["):
        return json_ticks.NAME
    names = split_header(first.text.decode(errors="replace"))
    if "bid_px_00" in names:
        return databento.NAME
    if set(long_csv.HEADER.split(",")) <= set(names):
        return long_csv.NAME
    if first.fault is not None:
        raise InputFileError(f"{path}: {first.fault.detail}")
    raise InputFileError(
        f"{path}: its first line is no header of a known format; name the codec: {', '.join(CODEC_NAMES)}"
    )


def _prepare(
    path: Path, name: str, symbol: str, first: Line, rest: Iterator[Line], limits: Limits
) -> tuple[TickCodec, Iterator[Line]]:
    """Return the codec and the lines that are records."""
    if name == json_ticks.NAME:
        return json_ticks.JsonTickCodec(limits), chain([first], rest)
    if name not in CODEC_NAMES:
        raise InputFileError(f"codec {name!r} does not exist; choose one of {', '.join(CODEC_NAMES)}")
    header = first.text.decode(errors="replace")
    try:
        codec: TickCodec = (
            databento.DatabentoCodec(header, symbol, limits)
            if name == databento.NAME
            else long_csv.LongCsvCodec(header, symbol, limits)
        )
    except HeaderError as error:
        raise InputFileError(f"{path}: {error}") from error
    return codec, (_closed(line) for line in rest)


def _closed(line: Line) -> Line:
    if line.is_last_open and line.fault is None:
        return line._replace(fault=FieldError("truncated", "the last line has no line end; end the file with one"))
    return line


def _snapshots(codec: long_csv.LongCsvCodec, lines: Iterable[Line]) -> Iterator[Line]:
    """Yield each snapshot as one line; a fault in one of its lines is the snapshot's."""
    faults: dict[int, FieldError] = {}
    n_read = 0

    def plain() -> Iterator[tuple[int, bytes]]:
        nonlocal n_read
        for line in lines:
            if line.fault is not None:
                faults[n_read] = line.fault
            n_read += 1
            yield line.number, line.text

    start = 0
    for number, value in codec.group_lines(plain()):
        end = start + value.count(b"\n") + 1
        found = [faults.pop(i) for i in range(start, end) if i in faults]
        yield Line(number, value, found[0] if found else None)
        start = end


def _batched(lines: Iterable[Line], n: int) -> Iterator[list[Line]]:
    source = iter(lines)
    while batch := list(islice(source, n)):
        yield batch


def _decode(codec: TickCodec, batch: list[Line]) -> Decoded:
    good = [line for line in batch if line.fault is None]
    decoded = codec.decode_columns(
        [line.text for line in good], [line.number for line in good], [FROM_DATA] * len(good)
    )
    return replace(decoded, refused=_with_faults(decoded.refused, batch, codec.name))


def _with_faults(refused: list[Refused], batch: list[Line], codec: str) -> list[Refused]:
    faulty = [
        Refused(line.number, line.fault.reason, line.fault.detail, line.text, None, codec, FROM_DATA)
        for line in batch
        if line.fault is not None
    ]
    return sorted([*refused, *faulty], key=lambda letter: letter.offset)


def _dated(refused: list[Refused], offsets: Int, times: Int, ts_before: int) -> list[Refused]:
    """Give refusals, which have no time of their own, that of what precedes them."""
    dated = []
    for letter in refused:
        before = int(np.searchsorted(offsets, letter.offset))
        dated.append(replace(letter, ts_record=int(times[before - 1]) if before else ts_before))
    return dated

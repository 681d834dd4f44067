"""Recorded days and event files: paths in, decoded batches out.

The codec is the one given, or else recognised from the file's name
and beginning (`impactd.wire.registry.detect`).  A record's offset is the number
of its (first) line, its timestamp is ``ts_recv or ts_event`` floored to the
millisecond.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from impactd.core.base.registry import UnknownNameError
from impactd.core.base.topics import Topic
from impactd.shell.lines import InputFileError, open_content, unreadable
from impactd.shell.stray import with_record_times
from impactd.wire import json_orders
from impactd.wire.codec import FROM_DATA, Decoded, Limits
from impactd.wire.content import Content
from impactd.wire.json_values import json_objects
from impactd.wire.registry import CODECS, DEFAULT_CODEC, detect
from impactd.wire.symbols import FileSymbols
from impactd.wire.tick_codec import FileBatch, FileFormatError, FileOptions, TickCodec, dated, with_faults

logger = logging.getLogger("impactd.files")

BATCH_ROWS: Final = 4096


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
        Plain, or compressed with gzip, xz, zstd, bzip2 or zip.
    codec : str, optional
        A name in `impactd.wire.registry.CODECS`; recognised from the file by default.
    symbol : str, optional
        For data that name no symbol: ``NAME``, or ``ID=NAME,ID=NAME`` by the ids in the data.  Without it, a
        guess from the file's name, which is logged.
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
    content = open_content(path)
    if not content.head.text.strip() and content.damage is None:
        return
    options = FileOptions(FileSymbols.parse(symbol, content.head.name), limits or Limits())
    found = _codec(path, codec, content, options)
    if found.named_by_file and options.symbols.guessed:
        _state_guess(path, options.symbols.name)
    try:
        yield from with_record_times(found.batches(content, batch_rows))
    except FileFormatError as error:
        raise InputFileError(f"{path}: {error}") from error


@cache
def _state_guess(path: Path, symbol: str | None) -> None:
    """Log once what symbol data without one are taken to be of."""
    if symbol is None:
        raise InputFileError(f"{path}: the data name no symbol; give it: --symbol NAME")
    logger.warning("%s: the data name no symbol: %s is a guess from the file's name; give --symbol NAME", path, symbol)


def read_events(path: Path, topic: Topic, limits: Limits | None = None) -> json_orders.DecodedEvents:
    """Return the orders, executions or controls of a file of JSON: lines, an array, or values over several lines."""
    limits = limits or Limits()
    lines = list(json_objects(open_content(path), limits.max_message_bytes))
    good = [line for line in lines if line.fault is None]
    decoded = json_orders.decode_events(
        topic, [line.text for line in good], [line.number for line in good], [FROM_DATA] * len(good), None, limits
    )
    offsets = np.array([event.offset for event in decoded.events], np.int64)
    times = np.array([event.ts_record for event in decoded.events], np.int64)
    refused = dated(with_faults(decoded.refused, lines, json_orders.NAME), offsets, times, 0)
    return replace(decoded, refused=refused)


def _codec(path: Path, name: str | None, content: Content, options: FileOptions) -> TickCodec:
    """Return the codec of a file: the named one, or the one that recognises it."""
    try:
        found = CODECS.get(name) if name is not None else detect(content.head)
        if found is not None:
            return found.from_header(content.head, options)
    except (UnknownNameError, ImportError) as error:
        raise InputFileError(str(error)) from error
    except FileFormatError as error:
        raise InputFileError(f"{path}: {error}") from error
    if content.damage is not None:
        if content.damage.reason == "truncated" and b"\n" not in content.head.text:
            return CODECS.get(DEFAULT_CODEC).from_header(content.head, options)  # refuses what there is of a line
        raise InputFileError(f"{path}: {content.damage.detail}")
    if (what := unreadable(content.head)) is not None:
        raise InputFileError(f"{path}: {what}")
    names = ", ".join(CODECS.names())
    raise InputFileError(f"{path}: its first line is not the header of a known format; name the codec: {names}")

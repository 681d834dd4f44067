"""The head of a DBN file: its version, its schema and its symbols.

Layout (Databento, "DBN encoding"): ``DBN``, the version (1 byte), the length of
the rest (uint32), then dataset (16 bytes), schema (uint16), start, end, limit
(uint64), in version 1 a record count (uint64), both symbology types and ts_out
(1 byte each), from version 2 on the width of symbols (uint16), reserved bytes
up to 100, the length of a schema definition (uint32), and four lists:
symbols, partial, not found, mappings.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

MAGIC: Final = b"DBN"
#: Magic and length, which are not part of the length.
PRELUDE: Final = 8

_DAY_NS: Final = 86_400_000_000_000
_LAST_NS: Final = 2**63 - 1
_FIXED: Final = 100
_SYMBOL_WIDTH_1: Final = 22
_INSTRUMENT_ID: Final = 0
_NULL_SCHEMA: Final = 0xFFFF
#: Schemas with neither books nor trades.
_NO_TICKS: Final = {
    **dict.fromkeys((5, 6, 7, 8, 13), "bars"),
    10: "statistics",
}


class DbnError(ValueError):
    """A DBN stream whose head or framing cannot be read; the message names the remedy."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """A raw symbol of one instrument id between two times, [start_ns, end_ns), UTC."""

    instrument_id: int
    start_ns: int
    end_ns: int
    symbol: str


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the head of a DBN file says."""

    version: int
    #: Bytes of the head; records follow.
    size: int
    dataset: str
    #: Databento's number of the schema; None where records are mixed (live captures).
    schema: int | None
    mappings: tuple[Mapping, ...]


def head_size(data: bytes) -> int:
    """Return how many bytes the head takes; `data` needs its first eight.

    Raises
    ------
    DbnError
        If it does not begin with DBN, or is of a version that is not read.
    """
    if len(data) < PRELUDE or data[:3] != MAGIC:
        raise DbnError("does not begin with DBN; give a .dbn file, or .dbn.zst")
    if not 1 <= data[3] <= 3:
        raise DbnError(f"DBN version {data[3]} is not read; convert it to version 3 with Databento's `dbn` tool")
    return PRELUDE + int(struct.unpack_from("<I", data, 4)[0])


def schema_in(data: bytes) -> int | None:
    """Return Databento's number of the schema that a head names; None for a mixture, or where the head is cut."""
    at = PRELUDE + 16
    schema = int.from_bytes(data[at : at + 2], "little") if len(data) >= at + 2 else _NULL_SCHEMA
    return None if schema == _NULL_SCHEMA else schema


def check_schema(schema: int | None) -> None:
    """Refuse a schema that gives no rows."""
    if schema in _NO_TICKS:
        raise DbnError(f"holds {_NO_TICKS[schema]}, no books or trades; download mbp-10, mbp-1, bbo or trades")


def parse_metadata(data: bytes) -> Metadata:
    """Return the head that `data` begins with.

    Raises
    ------
    DbnError
        If it is cut off or inconsistent.
    """
    size = head_size(data)
    if len(data) < size:
        raise DbnError(f"the head has {size} bytes, {len(data)} are there; fetch the file again")
    version = data[3]
    try:
        return _parse(data[PRELUDE:size], version, size)
    except (struct.error, UnicodeDecodeError, ValueError, OverflowError) as error:
        raise DbnError(f"the head cannot be read ({error}); fetch the file again") from error


def _parse(body: bytes, version: int, size: int) -> Metadata:
    dataset = _text(body[:16])
    at = 42 + (8 if version == 1 else 0)
    stype_in, stype_out = body[at : at + 2]
    width = _SYMBOL_WIDTH_1 if version == 1 else struct.unpack_from("<H", body, at + 3)[0]
    at = _FIXED
    at += 4 + struct.unpack_from("<I", body, at)[0]
    for _ in range(3):  # symbols, partial, not found
        at += 4 + width * struct.unpack_from("<I", body, at)[0]
    mappings: list[Mapping] = []
    n_mappings = struct.unpack_from("<I", body, at)[0]
    at += 4
    for _ in range(n_mappings):
        raw = _text(body[at : at + width])
        n_intervals = struct.unpack_from("<I", body, at + width)[0]
        at += width + 4
        for _ in range(n_intervals):
            start, end = struct.unpack_from("<II", body, at)
            symbol = _text(body[at + 8 : at + 8 + width])
            at += 8 + width
            if not symbol:
                continue  # the symbol does not resolve on these days
            number, name = (symbol, raw) if stype_out == _INSTRUMENT_ID else (raw, symbol)
            if _INSTRUMENT_ID not in (stype_in, stype_out):
                continue  # neither side numbers the instrument
            mappings.append(Mapping(_instrument_id(number), _date_ns(start), _date_ns(end), name))
    return Metadata(
        version=version,
        size=size,
        dataset=dataset,
        schema=schema_in(b"\0" * PRELUDE + body),
        mappings=tuple(mappings),
    )


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode()


def _instrument_id(text: str) -> int:
    number = int(text)
    if not 0 <= number < 1 << 32:
        raise ValueError(f"instrument id {text[:20]} is not of 32 bits")
    return number


def _date_ns(date: int) -> int:
    """Return midnight UTC of a date written as YYYYMMDD, ns, within 1970 and what 64 bits hold."""
    day = datetime(date // 10_000, date // 100 % 100, date % 100, tzinfo=UTC)
    return min(max(int(day.timestamp()) // 86_400 * _DAY_NS, 0), _LAST_NS)

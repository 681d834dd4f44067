"""Vendors' records out of files and clients, as books."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import orjson
import pandas as pd

from impactd.research.errors import MALFORMED, NothingUsableError, ValidationError
from impactd.research.sources.base import source
from impactd.research.sources.fields import Record
from impactd.shell.lines import InputFileError, open_content, unreadable

#: A line of a stream may hold a whole book.
_MAX_LINE_BYTES: Final = 1 << 30
#: Characters of a bad record that are kept.
_SHOWN: Final = 200


def read_source(name: str, records: str | Path | Iterable[Record], *, symbol: str | None = None) -> pd.DataFrame:
    """Return a vendor's records as books in the long form.

    Parameters
    ----------
    name : str
        A name in `impactd.research.sources.SOURCES`.
    records : path or iterable of mapping
        Recorded ones: JSON (an array, or an object whose ``results`` is one),
        JSON lines (of records, or of arrays as a WebSocket sends them) or CSV,
        perhaps compressed; or the records.
    symbol : str, optional
        Of records that name their symbols, the one to keep; of others, their symbol.

    Returns
    -------
    DataFrame
        time, side, price, size, level, and ``symbol`` where there are several;
        see `impactd.read_books`.

    Raises
    ------
    ValidationError
        1001 for what cannot be read or used, 1002 for missing fields.

    Examples
    --------
    >>> quotes = [{"ev": "Q", "sym": "FROG", "bp": 31.2, "bs": 3, "ap": 31.25, "as": 2, "t": 1743687000125}]
    >>> read_source("polygon", quotes)[["side", "price", "size"]].values.tolist()
    [['bid', 31.2, 300.0], ['ask', 31.25, 200.0]]
    """
    rows = read_records(Path(records)) if isinstance(records, str | Path) else records
    table = source(name).books(rows)
    if symbol is None:
        return table
    names = set(table["symbol"]) if "symbol" in table.columns else set(table.attrs.get("symbols", ()))
    if names and symbol not in names:
        raise ValidationError(MALFORMED, f"symbol: no book of {symbol!r}", f"name one of {', '.join(sorted(names))}")
    kept = table
    if "symbol" in table.columns:
        kept = table[table["symbol"] == symbol].drop(columns="symbol").reset_index(drop=True)
    kept.attrs = {**table.attrs, "symbols": [symbol]}
    return kept


def fetch_source(name: str, symbol: str, start: Any, end: Any) -> pd.DataFrame:
    """Return a vendor's books of [start, end), fetched by its own client.

    Parameters
    ----------
    name, symbol : str
        The symbol is the vendor's: FROG, FROG.O, FROG US Equity.
    start, end : datetime or str
        Without a zone: UTC.

    Raises
    ------
    ValidationError
        1001 if the client or its credentials are missing, it fails, or it has
        no book in this time.
    """
    first, last = (_utc(what, value) for what, value in (("start", start), ("end", end)))
    if first >= last:
        raise ValidationError(MALFORMED, f"end: {last} is not after {first}", "give a later one")
    found = source(name)
    table = found.books(found.fetch(symbol, first, last))
    # Vendors differ in whether the end counts.
    kept = table[(table["time"] >= first) & (table["time"] < last)].reset_index(drop=True)
    if not len(kept):
        raise ValidationError(MALFORMED, f"{name}: no book from {first} to {last}", "give times of a session")
    return kept


def _utc(what: str, value: Any) -> pd.Timestamp:
    try:
        at = pd.Timestamp(value)
        if not pd.isna(at):
            return (at.tz_localize("UTC") if at.tzinfo is None else at.tz_convert("UTC")).as_unit("ns")
    except (ValueError, TypeError, OverflowError):
        pass  # told below
    raise ValidationError(MALFORMED, f"{what}: {value!r} is not a time", "give one such as 2025-04-03T13:30Z")


def read_records(path: Path) -> list[Any]:
    """Return the records of a file: JSON, JSON lines or CSV, perhaps compressed.

    A line or element that cannot be read is returned as its text, which every source refuses by itself.
    """
    try:
        content = open_content(path)
    except InputFileError as error:
        raise ValidationError(MALFORMED, str(error), "name a readable file") from error
    if (what := unreadable(content.head)) is not None:
        raise ValidationError(MALFORMED, f"{path}: {what}", "give .json, .jsonl or .csv")
    lines = list(content.lines(_MAX_LINE_BYTES))
    text = b"\n".join(line.text for line in lines)
    if content.head.text.lstrip()[:1] not in (b"{", b"["):
        if content.damage is not None and not text:
            raise ValidationError(MALFORMED, f"{path}: {content.damage.detail}", "name a readable file")
        return _csv_records(path, text, is_cut=content.damage is not None)
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return _lines_or_part(path, text)
    if isinstance(found, dict) and "results" in found:
        found = found["results"]
    rows = found if isinstance(found, list) else [found]
    if found == []:
        raise NothingUsableError(MALFORMED, f"{path}: holds no record", "give the vendor's quotes or books")
    if not any(isinstance(row, dict) for row in rows) or (isinstance(found, dict) and "status" in found):
        raise ValidationError(MALFORMED, f"{path}: holds no array of records", "give an array, or one in results")
    return rows


def _csv_records(path: Path, text: bytes, *, is_cut: bool) -> list[Any]:
    try:
        rows: list[Any] = list(csv.DictReader(io.StringIO(text.decode())))
    except (ValueError, csv.Error) as error:
        raise ValidationError(MALFORMED, f"{path}: {error}", "give .csv, .jsonl or .json as its content is") from error
    if rows and (is_cut or None in rows[-1].values()):
        rows[-1] = str(rows[-1])
    return rows


def _lines_or_part(path: Path, text: bytes) -> list[Any]:
    """Return the records of JSON lines, or those before the damage of one document."""
    rows: list[Any] = []
    for line in text.splitlines():
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            rows.append(line.decode(errors="replace"))
        else:
            rows += found if isinstance(found, list) else [found]
    if any(isinstance(row, dict) for row in rows):
        return rows
    # One array that ends early, or has a bad element: what precedes it is kept.
    decoder, rest = json.JSONDecoder(), text.decode(errors="replace")
    at, part = rest.find("[") + 1, list[Any]()
    while 0 < at < len(rest):
        at = len(rest) - len(rest[at:].lstrip(", \n\r\t"))
        if part and rest[at : at + 1] == "]":
            break
        try:
            record, at = decoder.raw_decode(rest, at)
        except (ValueError, RecursionError):
            return [*part, rest[at : at + _SHOWN]] if part else _none(path)
        part.append(record)
    return part or _none(path)


def _none(path: Path) -> list[Any]:
    raise ValidationError(
        MALFORMED, f"{path}: holds no array of records", "give .csv, .jsonl or .json as its content is"
    )

"""Vendors' records out of files and clients, as books."""

from __future__ import annotations

import csv
import gzip
import io
import lzma
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from impactd.research.errors import MALFORMED, ValidationError
from impactd.research.sources.base import source
from impactd.research.sources.fields import Record


def read_source(name: str, records: str | Path | Iterable[Record], *, symbol: str | None = None) -> pd.DataFrame:
    """Return a vendor's records as books in the long form.

    Parameters
    ----------
    name : str
        A name in `impactd.research.sources.SOURCES`.
    records : path or iterable of mapping
        Recorded ones: JSON (an array, or an object whose ``results`` is one),
        JSON lines (of records, or of arrays as a WebSocket sends them) or CSV,
        perhaps compressed (.gz, .xz); or the records.
    symbol : str, optional
        Of several, the one to keep.

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
    if symbol is None or "symbol" not in table.columns:
        return table
    kept = table[table["symbol"] == symbol].drop(columns="symbol").reset_index(drop=True)
    if not len(kept):
        names = ", ".join(sorted(map(str, table["symbol"].unique())))
        raise ValidationError(MALFORMED, f"symbol: no book of {symbol!r}", f"the records have {names}")
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
    raise ValidationError(MALFORMED, f"{what}: {value!r} is no time", "give one such as 2025-04-03T13:30Z")


def read_records(path: Path) -> list[Record]:
    """Return the records of a file.

    Raises
    ------
    ValidationError
        1001 if it cannot be read, or holds none.
    """
    unpack = {".gz": gzip.decompress, ".xz": lzma.decompress}
    try:
        content = path.read_bytes()
        if path.suffix in unpack:
            content = unpack[path.suffix](content)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise ValidationError(MALFORMED, f"{path}: {error}", "name a readable file") from error
    suffix = (path.with_suffix("") if path.suffix in unpack else path).suffix
    rows: Any
    try:
        if suffix == ".csv":
            return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
        if suffix == ".jsonl":
            lines = [orjson.loads(line) for line in content.splitlines() if line.strip()]
            rows = [row for line in lines for row in (line if isinstance(line, list) else [line])]
        else:
            found = orjson.loads(content)
            rows = found.get("results") if isinstance(found, dict) else found
    except (ValueError, csv.Error) as error:
        raise ValidationError(MALFORMED, f"{path}: {error}", "give .csv, .jsonl or .json as its content is") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValidationError(MALFORMED, f"{path}: holds no array of records", "give an array, or one in results")
    return rows

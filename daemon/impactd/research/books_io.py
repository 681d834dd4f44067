"""Recorded and live books, into the long form and back.

In the long form a book that came right after another at the same ``ts_event``
has replaced it: the first prevailed for no time and enters no estimate.  Rows
in the middle of a venue's event, prints, and records that cannot be read are
left out and counted in ``.attrs``.
"""

from __future__ import annotations

import gzip
import logging
import lzma
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from impactd.core.base.venue import in_words
from impactd.core.inputs.ticks import BOOK, MID_EVENT, UNDECODABLE_BOOK, Float, TickBatch
from impactd.research.errors import MALFORMED, NothingUsableError, ValidationError
from impactd.research.frames import COLUMNS, iter_books, long_form, numbers, require_columns, times_ns
from impactd.research.minutes import as_batch
from impactd.shell.lines import InputFileError
from impactd.shell.recorded import read_ticks
from impactd.wire.tick_records import encode_ticks

logger = logging.getLogger("impactd.research")

_LIVE: Final = ("timestamp", "bid_price", "ask_price", "bid_size", "ask_size")

#: Rows that `write_books` turns into arrays at a time, in bytes of work.
_PART_BYTES: Final = 50_000_000


def read_books(path: str | Path, *, codec: str | None = None, symbol: str | None = None) -> pd.DataFrame:
    """Return the books of a recorded file in the long form.

    Parameters
    ----------
    path : str or Path
        JSON lines, Databento MBP-10 CSV or long CSV; plain, ``.gz`` or ``.xz``.
    codec : str, optional
        Name of the format; told from the file by default.
    symbol : str, optional
        Of a file that names none; in one that names them, the one to keep.

    Returns
    -------
    DataFrame
        time (UTC), side, price, size, level (0 is the best), and ``symbol``
        where the file has several.  A book without any level is one row of
        size 0.  ``.attrs``: ``symbols``, ``refused`` (records that could not be
        read, by reason), ``mid_event`` and ``replaced`` (books that prevailed for no time).

    Raises
    ------
    ValidationError
        1001 if the file cannot be read, or holds no book.
    """
    refused: dict[str, int] = {}
    first = ""
    batches = []
    try:
        for decoded in read_ticks(Path(path), codec, symbol):
            for letter in decoded.refused:
                first = first or f"line {letter.offset}: {letter.detail}"
                refused[letter.reason] = refused.get(letter.reason, 0) + 1
            batches.append(decoded.batch.take(decoded.batch.kind == BOOK))
    except InputFileError as error:
        raise ValidationError(MALFORMED, str(error), "name a file of a known format") from error
    books = TickBatch.concat(batches)
    books = replace(books, symbols=tuple(map(in_words, books.symbols)))
    stands = (books.flags & (MID_EVENT | UNDECODABLE_BOOK)) == 0
    n_mid_event = int(np.count_nonzero(books.flags & MID_EVENT))
    books = books.take(stands)
    if symbol is not None and "=" not in symbol:
        if len(books) and symbol not in books.symbols:
            there = ", ".join(sorted(books.symbols))
            raise ValidationError(MALFORMED, f"symbol: no book of {symbol!r}", f"name one of {there}")
        books = books.take(np.array(books.symbols)[books.symbol] == symbol)
    if not len(books):
        reasons = ", ".join(f"{name} {count}" for name, count in refused.items()) or "it holds none"
        told = f"; the first refused: {first}" if first else ""
        raise NothingUsableError(
            MALFORMED, f"{path}: no book in it ({reasons}){told}", "name another file, codec or symbol"
        )
    if refused:
        logger.warning("%s: refused records: %s; the first: %s", path, refused, first)
    last = _last_of_each_time(books)
    n_replaced = len(books) - int(np.count_nonzero(last))
    table = _table(books.take(last))
    names = [books.symbols[i] for i in np.unique(books.symbol)]
    table.attrs.update(symbols=names, refused=refused, mid_event=n_mid_event, replaced=n_replaced)
    return table


def _last_of_each_time(books: TickBatch) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Say which books are the last of their symbol and time, where these follow one another."""
    last = np.ones(len(books), np.bool_)
    for code in np.unique(books.symbol):
        rows = np.flatnonzero(books.symbol == code)
        last[rows[:-1]] = books.ts_event[rows[1:]] != books.ts_event[rows[:-1]]
    return last


def _table(books: TickBatch) -> pd.DataFrame:
    time = pd.DatetimeIndex(pd.to_datetime(books.ts_event, utc=True), name="time")
    bid_sz, ask_sz = np.nan_to_num(books.bid_sz), np.nan_to_num(books.ask_sz)
    table = long_form(time, books.bid_px, bid_sz, books.ask_px, ask_sz, keep_empty=True)
    if len(np.unique(books.symbol)) > 1:
        table["symbol"] = np.repeat(np.array(books.symbols, dtype=object)[books.symbol], 2 * books.n_levels)
    there = np.array(table["size"] > 0.0).reshape(len(books), -1)
    there[~there.any(axis=1), 0] = True
    return table[there.ravel()].reset_index(drop=True)


def write_books(table: pd.DataFrame, path: str | Path, *, symbol: str | None = None) -> Path:
    """Write books in the long form to a file that every command and `read_books` read.

    Parameters
    ----------
    table : DataFrame
        Long form; with a ``symbol`` column if there are several.
    path : str or Path
        Ends in ``.csv`` (long CSV) or ``.jsonl`` (our JSON; usable books of one
        symbol), perhaps with ``.gz`` or ``.xz`` behind it.
    symbol : str, optional
        Of a table without a ``symbol`` column; by default the one in ``.attrs["symbols"]``.  Without either a CSV
        names none, and JSON has what the file's name begins with; a warning states it.

    Raises
    ------
    ValidationError
        1001, 1002 for tables and names that cannot be used.
    """
    path = Path(path)
    require_columns(table, COLUMNS, "table")
    plain = path.with_suffix("") if path.suffix in (".gz", ".xz") else path
    known = table.attrs.get("symbols") or []
    name = symbol or (known[0] if len(known) == 1 else None)
    if plain.suffix == ".csv":
        named = table if name is None or "symbol" in table.columns else table.assign(symbol=name)
        value = _as_csv(named)
    elif plain.suffix == ".jsonl":
        if "symbol" in table.columns and table["symbol"].nunique() > 1:
            raise ValidationError(MALFORMED, "symbol: the table holds several", "write one file per symbol, or a .csv")
        if "symbol" in table.columns:
            name = str(table["symbol"].iloc[0])
        if name is None:
            name = plain.stem
            logger.warning("%s: the records name no symbol: it is taken as %s, from the file's name", path, name)
        lines, rejected = [], Counter[str]()
        for books in iter_books(table, _PART_BYTES):
            lines += [record.value + b"\n" for record in encode_ticks(as_batch(books, 0, name))]
            rejected.update(books.rejected)
        if rejected:
            logger.warning("%s: left out unusable books: %s", path, dict(rejected))
        value = b"".join(lines)
    else:
        raise ValidationError(MALFORMED, f"{path}: unknown file ending", "let it end in .csv or .jsonl")
    if path.suffix == ".gz":
        value = gzip.compress(value, mtime=0)
    elif path.suffix == ".xz":
        value = lzma.compress(value)
    try:
        path.write_bytes(value)
    except OSError as error:
        raise ValidationError(MALFORMED, f"{path}: {error.strerror}", "name a file that can be written") from error
    return path


def _as_csv(table: pd.DataFrame) -> bytes:
    names = [*COLUMNS, "symbol"] if "symbol" in table.columns else list(COLUMNS)
    rows = table[names].assign(time=times_ns(table["time"]))
    return rows.sort_values("time", kind="stable").to_csv(index=False, lineterminator="\n").encode()


def convert_live_data_to_system_format(df: pd.DataFrame) -> pd.DataFrame:
    """Return quotes, one best bid and ask a row, in the long form.

    Parameters
    ----------
    df : DataFrame
        timestamp, bid_price, ask_price, bid_size, ask_size; ``symbol`` is kept.

    Returns
    -------
    DataFrame
        time, side, price, size, level 0; two rows per quote, in the order of
        time.  Where quotes share a timestamp, the last one counts.

    Raises
    ------
    ValidationError
        1001 malformed input, 1002 missing columns.

    Examples
    --------
    >>> quotes = pd.DataFrame({"timestamp": ["2025-04-03T13:30:00Z"], "bid_price": [31.2], "ask_price": [31.25],
    ...                        "bid_size": [300], "ask_size": [200]})
    >>> convert_live_data_to_system_format(quotes)[["side", "price", "size", "level"]].values.tolist()
    [['bid', 31.2, 300.0, 0], ['ask', 31.25, 200.0, 0]]
    """
    require_columns(df, _LIVE, "live data")
    ts = times_ns(df["timestamp"], "timestamp")
    key = [ts] if "symbol" not in df.columns else [ts, pd.factorize(df["symbol"])[0]]
    order = np.lexsort(key[::-1])
    keys = np.stack([part[order] for part in key])
    last = np.append(np.any(keys[:, 1:] != keys[:, :-1], axis=0), True)
    rows = order[last]
    columns: dict[str, Float] = {name: numbers(df[name], name)[rows, None] for name in _LIVE[1:]}
    for name, values in columns.items():
        if np.isinf(values).any() or (values < 0.0).any():
            raise ValidationError(MALFORMED, f"{name}: holds negative or infinite values", "drop or correct these rows")
    bid_sz, ask_sz = (np.nan_to_num(columns[name]) for name in ("bid_size", "ask_size"))
    time: pd.Index[Any] = pd.DatetimeIndex(pd.to_datetime(ts[rows], utc=True), name="time")
    table = long_form(time, columns["bid_price"], bid_sz, columns["ask_price"], ask_sz, keep_empty=True)
    if "symbol" in df.columns:
        table["symbol"] = np.repeat(df["symbol"].to_numpy(dtype=object)[rows], 2)
    return table

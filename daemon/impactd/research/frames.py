"""Order books as tables in the long form, and as the arrays that the core walks.

The long form has one row per level: ``time``, ``side`` ('bid' or 'ask'), ``price``,
``size``, ``level`` (from the best on, counted from 0 or 1).  Rules:

- Rows of equal time are one snapshot.  Rows need not stand in order; tables
  that are sorted by time are read without a copy.
- ``time`` is a datetime (without a zone: UTC), an ISO text, or a whole number
  of nanoseconds.  What comes out has the times that went in.
- A level of size 0, whatever its price, is an empty one; a snapshot may have
  fewer levels than others, or an empty side.
- A value that is not a number is an error that names its row.  Numbers that make no
  usable book (crossed, negative, unsorted; `impactd.core.books.checks`) cost their
  snapshot only, which is left out and counted by reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from impactd.core.books.checks import REASONS, USABLE, check_books
from impactd.core.inputs.ticks import Float, Int
from impactd.research.errors import MALFORMED, MISSING_COLUMNS, ValidationError
from impactd.wire.codec import FieldError
from impactd.wire.times import MAX_NS, MIN_NS, parse_time

COLUMNS: Final = ("time", "side", "price", "size", "level")

#: Levels a side; a table with more is a mistake.
MAX_LEVELS: Final = 1_000

#: Bytes of work for a row of the long form, while its part of the table is turned into arrays.
ROW_BYTES: Final = 160

_SIDES: Final = {"bid": 0, "ask": 1, "b": 0, "a": 1}


@dataclass(frozen=True, slots=True, eq=False)
class Books:
    """Consecutive usable snapshots."""

    #: As the table has them, length n.
    time: pd.Index[Any]
    #: Shape (n,). The same in ns, ascending.
    ts_ns: Int
    #: Shape (n, n_levels). Best first; size 0 where there is no level.
    bid_px: Float
    bid_sz: Float
    ask_px: Float
    ask_sz: Float
    #: Snapshots that were left out, by reason.
    rejected: dict[str, int]

    def __len__(self) -> int:
        return len(self.ts_ns)

    def depths(self) -> Float:
        """Return the visible shares of the thinner side of each two-sided book."""
        thinner: Float = np.minimum(self.bid_sz.sum(axis=1), self.ask_sz.sum(axis=1))
        return thinner[thinner > 0.0]


def require_columns(table: object, columns: tuple[str, ...], what: str) -> pd.DataFrame:
    """Return `table` as a frame that has `columns` and at least one row."""
    if not isinstance(table, pd.DataFrame):
        raise ValidationError(MALFORMED, f"{what}: a {type(table).__name__} is not a table", "give a pandas DataFrame")
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ValidationError(
            MISSING_COLUMNS, f"{', '.join(missing)}: missing in {what}", f"it needs {', '.join(columns)}"
        )
    if not len(table):
        raise ValidationError(MALFORMED, f"{what}: the table has no rows", "give at least one")
    return table


def numbers(column: pd.Series[Any], what: str) -> Float:
    """Return a column as float64."""
    if not (pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)):
        parsed = pd.to_numeric(column, errors="coerce")
        bad = np.flatnonzero(np.asarray(parsed.isna() & column.notna()))
        if bad.size:
            row, value = column.index[bad[0]], column.iloc[bad[0]]
            raise ValidationError(MALFORMED, f"{what}: {value!r} in row {row} is not a number", "give numbers only")
        column = parsed
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def times_ns(column: pd.Series[Any], what: str = "time") -> Int:
    """Return a column of times in ns since the epoch, UTC.

    Examples
    --------
    >>> times_ns(pd.Series(["1970-01-01 00:00:01", "1970-01-01T00:00:02Z"])).tolist()
    [1000000000, 2000000000]
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if pd.api.types.is_bool_dtype(column):
        raise ValidationError(MALFORMED, f"{what}: holds booleans", "give datetimes, or whole nanoseconds")
    if pd.api.types.is_numeric_dtype(column):
        return _whole_ns(column, what)
    try:
        index = pd.DatetimeIndex(pd.to_datetime(column, utc=True, format="ISO8601"))
    except (ValueError, TypeError, OverflowError) as error:
        raise ValidationError(
            MALFORMED, f"{what}: {error}", "give datetimes, ISO texts or whole nanoseconds"
        ) from error
    if index.hasnans:
        row = column.index[int(np.argmax(np.asarray(index.isna())))]
        raise ValidationError(MALFORMED, f"{what}: row {row} has none", "give each row its time")
    return np.asarray(index.as_unit("ns").asi8, dtype=np.int64)


def _whole_ns(column: pd.Series[Any], what: str) -> Int:
    """Return a column of numbers as ns, unless their magnitude is that of another unit.

    Smaller numbers, which fit no unit, may count snapshots.
    """
    if column.isna().any() or not bool((column == np.floor(column)).all()):
        raise ValidationError(MALFORMED, f"{what}: holds fractions or gaps", "give datetimes, or whole nanoseconds")
    strange = column[~column.between(MIN_NS, MAX_NS)]
    try:
        for value in strange.iloc[:1]:
            parse_time(int(value), what)
    except FieldError as error:
        if error.reason == "time_unit":
            said, _, remedy = error.detail.partition("; ")
            remedy = remedy.partition(", or set")[0]
            raise ValidationError(MALFORMED, said, f"{remedy}, or give datetimes, which have a unit") from None
    return column.to_numpy(dtype=np.int64)


def long_form(
    time: pd.Index[Any], bid_px: Float, bid_sz: Float, ask_px: Float, ask_sz: Float, *, keep_empty: bool = False
) -> pd.DataFrame:
    """Return books as a table in the long form, bids before asks.

    Parameters
    ----------
    time : Index
        Length n.
    bid_px, bid_sz, ask_px, ask_sz : ndarray of float64, shape (n, n_levels)
        Best first.
    keep_empty : bool
        Whether levels without a size have rows too.
    """
    n, width = bid_px.shape
    table = pd.DataFrame(
        {
            "time": time.repeat(2 * width),
            "side": np.tile(np.repeat(np.array(["bid", "ask"], dtype=object), width), n),
            "price": np.stack([bid_px, ask_px], axis=1).ravel(),
            "size": np.stack([bid_sz, ask_sz], axis=1).ravel(),
            "level": np.tile(np.arange(width), 2 * n),
        }
    )
    if keep_empty:
        return table
    there = table["size"].to_numpy() > 0.0
    return table if there.all() else table[there].reset_index(drop=True)


def iter_books(table: pd.DataFrame, limit_bytes: int) -> Iterator[Books]:
    """Yield the snapshots of a table in the long form, in the order of time and in parts that fit.

    Parameters
    ----------
    table : DataFrame
        With `COLUMNS`, at least one row.
    limit_bytes : int
        Memory for one part's work.

    Raises
    ------
    ValidationError
        1001 if a value cannot be used, or sorting would need more than the limit.
    """
    ts = times_ns(table["time"])
    if np.any(ts[1:] < ts[:-1]):
        if 2 * ts.nbytes + len(table) * ROW_BYTES > limit_bytes:
            raise ValidationError(
                MALFORMED,
                f"time: {len(table):,} rows out of order cannot be sorted within the memory limit",
                "sort the table by time, or raise memory_limit_mb",
            )
        order = np.argsort(ts, kind="stable")
        table, ts = table.iloc[order], ts[order]
    starts = np.concatenate([[0], np.flatnonzero(ts[1:] != ts[:-1]) + 1, [len(ts)]])
    part = max(limit_bytes // ROW_BYTES, 1)
    first = 0
    while first < len(starts) - 1:
        # Whole snapshots, and one at least.
        last = max(int(np.searchsorted(starts, starts[first] + part, side="right")) - 1, first + 1)
        rows = slice(int(starts[first]), int(starts[last]))
        yield _usable(table.iloc[rows], ts[rows], starts[first : last + 1] - starts[first])
        first = last


def _side_codes(column: pd.Series[Any]) -> npt.NDArray[np.int64]:
    codes, names = pd.factorize(column)
    known = [_SIDES.get(str(name).lower(), -1) for name in names]
    if -1 in known or (codes < 0).any():
        value = names[known.index(-1)] if -1 in known else None
        raise ValidationError(MALFORMED, f"side: {value!r} is not a side", "give 'bid' or 'ask'")
    return np.array(known, np.int64)[codes]


def _levels(column: pd.Series[Any]) -> npt.NDArray[np.int64]:
    values = numbers(column, "level")
    whole = np.isfinite(values) & (values == np.floor(values)) & (values >= 0)
    if not whole.all():
        bad = int(np.argmin(whole))
        raise ValidationError(
            MALFORMED,
            f"level: {float(values[bad]):g} in row {column.index[bad]} is not a whole number",
            "number levels from the best on, from 0 or 1",
        )
    levels = values.astype(np.int64)
    levels -= levels.min()
    if levels.max() >= MAX_LEVELS:
        raise ValidationError(MALFORMED, f"level: {levels.max() + 1} levels a side", f"give {MAX_LEVELS} at most")
    return levels


def _usable(part: pd.DataFrame, ts: Int, starts: npt.NDArray[np.int64]) -> Books:
    """Return the usable snapshots of a part; `starts` are its snapshots' first rows, and its length."""
    n = len(starts) - 1
    level = _levels(part["level"])
    width = int(level.max()) + 1
    row = np.repeat(np.arange(n), np.diff(starts))
    place = (row * 2 + _side_codes(part["side"])) * width + level
    price, size = numbers(part["price"], "price"), numbers(part["size"], "size")
    px, sz = np.full(n * 2 * width, np.nan), np.zeros(n * 2 * width)
    px[place], sz[place] = price, size
    seen = np.zeros(n * 2 * width, np.bool_)
    seen[place] = True
    if np.count_nonzero(seen) < len(place):
        row_of = pd.Series(place).duplicated().to_numpy()
        name = part.index[int(np.argmax(row_of))]
        raise ValidationError(
            MALFORMED,
            f"level: row {name} appears twice in its snapshot",
            "give each (time, side, level) one row, and each symbol its own table",
        )
    shape = (n, 2, width)
    bid_px, ask_px = (np.ascontiguousarray(px.reshape(shape)[:, s]) for s in (0, 1))
    bid_sz, ask_sz = (np.ascontiguousarray(sz.reshape(shape)[:, s]) for s in (0, 1))
    reasons = check_books(bid_px, bid_sz, ask_px, ask_sz, allow_locked=True)
    good = reasons == USABLE
    counts = np.bincount(reasons[~good].astype(np.int64), minlength=len(REASONS))
    rejected = {REASONS[i].value: int(counts[i]) for i in np.flatnonzero(counts)}
    first = starts[:-1]
    if not good.all():
        first = first[good]
        bid_px, bid_sz, ask_px, ask_sz = (side[good] for side in (bid_px, bid_sz, ask_px, ask_sz))
    return Books(pd.Index(part["time"].iloc[first]), ts[first], bid_px, bid_sz, ask_px, ask_sz, rejected)

"""Books, one after another, as a table in the long form."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import pandas as pd

from impactd.research.errors import MALFORMED, MISSING_COLUMNS, NothingUsableError, ValidationError
from impactd.research.frames import long_form, times_ns
from impactd.research.sources.fields import Side

logger = logging.getLogger("impactd.research")

#: Characters of a refused record that a message repeats.
_SHOWN: Final = 200

#: What a record that is not as its vendor documents it makes a reader raise.
_NOT_AS_DOCUMENTED: Final = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)


class Snapshots:
    """Books in the order in which they came.

    A source reads each record within `one`, so that a bad record is refused by itself.

    Parameters
    ----------
    time_field, symbol_field : str
        What the vendor calls them, for errors.

    Examples
    --------
    >>> snapshots = Snapshots("t", "sym")
    >>> snapshots.add(1743687000125000000, [(31.2, 300.0)], [])
    >>> snapshots.table()[["side", "price", "size", "level"]].values.tolist()
    [['bid', 31.2, 300.0, 0], ['ask', nan, 0.0, 0]]
    """

    def __init__(self, time_field: str, symbol_field: str) -> None:
        self._time_field = time_field
        self._symbol_field = symbol_field
        self._times: list[Any] = []
        self._sides: tuple[list[Side], list[Side]] = ([], [])
        self._codes: list[int] = []
        self._code_of: dict[str | None, int] = {}
        #: Records that could not be used, by reason; of the first one the error, and its reason in words.
        self.refused: Counter[str] = Counter()
        self.first_refused = ""
        self._first_error: Exception | None = None

    @contextmanager
    def one(self, record: object) -> Iterator[None]:
        """Read one record: an error in it refuses the record and undoes what it added."""
        n = len(self._times)
        try:
            yield
        except _NOT_AS_DOCUMENTED as error:
            for column in (self._times, *self._sides, self._codes):
                del column[n:]
            self.refuse(error, record)

    def refuse(self, error: Exception, record: object) -> None:
        """Count a record as refused."""
        missing = isinstance(error, KeyError) or getattr(error, "code", None) == MISSING_COLUMNS
        if not self.refused:
            said = str(error) if isinstance(error, ValidationError) else f"{type(error).__name__}: {error}"
            if not isinstance(record, Mapping):
                said = "it is no JSON object; give each record whole"
            self.first_refused = f"{said} (record {str(record)[:_SHOWN]})"
            self._first_error = error.with_traceback(None)
        self.refused["missing" if missing else "malformed"] += 1

    def add(self, time: Any, bids: Side, asks: Side, symbol: str | None = None) -> None:
        """Add a book.

        Parameters
        ----------
        time : datetime, str or int
            ISO text, or ns since the epoch; without a zone: UTC.  The same kind for all.
        bids, asks : list of (price, size)
            Best first; empty for an empty side.  They are not copied.
        symbol : str, optional
            None if the records name no instrument.
        """
        self._times.append(time)
        self._sides[0].append(bids)
        self._sides[1].append(asks)
        self._codes.append(self._code_of.setdefault(symbol, len(self._code_of)))

    def table(self) -> pd.DataFrame:
        """Return them by time; of an instrument's books that share a time, the last one.

        Returns
        -------
        DataFrame
            time (UTC), side, price, size, level from 0, and ``symbol`` if there
            are several; an empty side is one row of size 0.  ``.attrs``: ``symbols``,
            the instruments' names; ``refused``, bad records by reason.

        Raises
        ------
        ValidationError
            1001 if there is no book (its cause is the error of the first record) or a time is none, 1002 if only some
            records name their instrument.
        """
        if not self._times:
            code = MISSING_COLUMNS if next(iter(self.refused), None) == "missing" else MALFORMED
            told = f"; the first of {self.refused.total()} refused: {self.first_refused}" if self.refused else ""
            raise NothingUsableError(
                code, f"records: no book in them{told}", "give the vendor's quotes or books"
            ) from self._first_error
        if self.refused:
            logger.warning("refused %d records, the first: %s", self.refused.total(), self.first_refused)
        if None in self._code_of and len(self._code_of) > 1:
            raise ValidationError(
                MISSING_COLUMNS, f"{self._symbol_field}: missing in some records", "name it in all or in none"
            )
        ts = times_ns(pd.Series(self._times), self._time_field)
        codes = np.array(self._codes)
        order = np.lexsort((codes, ts))
        new = (ts[order][1:] != ts[order][:-1]) | (codes[order][1:] != codes[order][:-1])
        rows = order[np.append(new, True)]
        depth = max(1, *(len(side) for sides in self._sides for side in sides))
        arrays = []
        for sides in self._sides:
            px, sz = np.full((len(rows), depth), np.nan), np.zeros((len(rows), depth))
            for row, at in enumerate(rows.tolist()):
                for n, (price, size) in enumerate(sides[at]):
                    px[row, n], sz[row, n] = price, size
            arrays += [px, sz]
        index = pd.DatetimeIndex(pd.to_datetime(ts[rows], utc=True), name="time")
        table = long_form(index, *arrays, keep_empty=True)
        names = [name for name in self._code_of if name is not None]
        if len(names) > 1:
            table["symbol"] = np.repeat(np.array(names, dtype=object)[codes[rows]], 2 * depth)
        table = table[(table["size"] > 0.0) | (table["level"] == 0)].reset_index(drop=True)
        table.attrs.update(symbols=names, refused=dict(self.refused))
        return table

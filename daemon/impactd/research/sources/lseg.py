"""LSEG (Refinitiv): Tick History's market depth and quotes, the data library's quotes, and live books by price.

Shapes, by what a record has:

- ``L1-BidPrice``, ``L1-BidSize``, ``L1-AskPrice``, ``L1-AskSize``, and so on
  for deeper levels: Tick History, Market Depth / Legacy Level 2 [1]_; each row
  is a whole book.
- ``Bid Price``, ``Bid Size``, ``Ask Price``, ``Ask Size``: Tick History, Time
  and Sales quotes [1]_.
- ``BID``, ``BIDSIZE``, ``ASK``, ``ASKSIZE``: quotes by ``get_history`` of the
  data library [2]_, its index in the field ``Timestamp``.
- ``Domain`` "MarketByPrice": messages of the WebSocket API; see
  `impactd.research.sources.lseg_stream`.

Instruments are distinguished by ``#RIC``, or ``RIC``.  Times are in ``Date-Time``,
ISO with nanoseconds, in UTC or with an offset.  A quote names only what has
changed: an empty field keeps the instrument's last value.  Rows of
quotes whose ``Type`` is another one than Quote are skipped.

.. [1] LSEG, Tick History user guide, report templates
.. [2] https://developers.lseg.com/en/api-catalog/lseg-data-platform/lseg-data-library-for-python
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import pandas as pd

from impactd.core.base.extras import remedy
from impactd.research.errors import MISSING_COLUMNS, ValidationError
from impactd.research.sources.clients import client, client_failed, credential
from impactd.research.sources.fields import Record, Side, is_missing, level, name_of, number
from impactd.research.sources.lseg_stream import LostBookError, PriceBooks, is_message
from impactd.research.sources.snapshots import Snapshots

#: Quote columns: price and size of the bid, then of the ask.
_QUOTES: Final = (
    ("Bid Price", "Bid Size", "Ask Price", "Ask Size"),
    ("BID", "BIDSIZE", "ASK", "ASKSIZE"),
)

#: Levels a side that are kept of a live book, which may have hundreds.
N_LEVELS: Final = 50


class LsegSource:
    """Reads LSEG's quotes and books.

    Parameters
    ----------
    n_levels : int
        Best levels a side to keep of live books, which have all.
    """

    def __init__(self, n_levels: int = N_LEVELS) -> None:
        self.n_levels = n_levels

    def books(self, records: Iterable[Record]) -> pd.DataFrame:
        """Return quotes or market depth in the long form."""
        snapshots = Snapshots("Date-Time", "#RIC")
        last: dict[str | None, list[float]] = {}
        streams = PriceBooks(self.n_levels)
        for record in records:
            with snapshots.one(record):
                self._add(snapshots, record, last, streams)
        return snapshots.table()

    @staticmethod
    def _add(snapshots: Snapshots, record: Record, last: dict[str | None, list[float]], streams: PriceBooks) -> None:
        if is_message(record):
            try:
                book = streams.apply(record)
            except LostBookError as lost:
                snapshots.refuse(lost.error, record)
                if lost.ts_ns is not None:
                    snapshots.add(lost.ts_ns, [], [], lost.name)
                return
            if book is not None:
                snapshots.add(book.ts_ns, book.bids, book.asks, book.name)
            return
        ric = name_of(record, "#RIC", "RIC")
        if "L1-BidPrice" in record:
            snapshots.add(_time(record), _depth(record, "Bid"), _depth(record, "Ask"), ric)
        elif is_missing(record.get("Type")) or record["Type"] == "Quote":
            found = [number(record, name) for name in _quote_columns(record)]
            time = _time(record)
            old = last.get(ric, [math.nan] * 4)
            now = last[ric] = [before if math.isnan(new) else new for new, before in zip(found, old, strict=True)]
            snapshots.add(time, level(*now[:2]), level(*now[2:]), ric)

    def fetch(self, symbol: str, start: pd.Timestamp, end: pd.Timestamp) -> list[Record]:
        """Return quotes by LSEG's data library, with the app key in LSEG_APP_KEY; a RIC is the symbol."""
        ld = client("lseg.data", "lseg", remedy("lseg"))
        key = credential("LSEG_APP_KEY", "lseg")
        try:
            ld.open_session(app_key=key)
            try:
                # The library asks for part after part, until it has reached the start.
                table = ld.get_history(
                    universe=symbol,
                    fields=["BID", "BIDSIZE", "ASK", "ASKSIZE"],
                    interval="tick",
                    start=start.isoformat(),
                    end=end.isoformat(),
                )
            finally:
                ld.close_session()
        except Exception as error:  # noqa: BLE001  (its own kinds, and those of what it is built on)
            raise client_failed("lseg", error, key) from None
        rows = table.rename_axis("Timestamp").sort_index(kind="stable").reset_index().to_dict("records")
        return [{str(name): value for name, value in row.items()} | {"RIC": symbol} for row in rows]


def _quote_columns(record: Record) -> tuple[str, ...]:
    for names in _QUOTES:
        if any(name in record for name in names):
            return names
    raise ValidationError(
        MISSING_COLUMNS, "L1-BidPrice, Bid Price or BID: none is in a record", "give market depth or quotes"
    )


def _depth(record: Record, side: str) -> Side:
    found: Side = []
    n = 1
    while f"L{n}-{side}Price" in record:
        found += level(number(record, f"L{n}-{side}Price"), number(record, f"L{n}-{side}Size"))
        n += 1
    return found


def _time(record: Record) -> object:
    for name in ("Date-Time", "Timestamp"):
        if not is_missing(record.get(name)):
            return record[name]
    raise ValidationError(MISSING_COLUMNS, "Date-Time: missing in a record", "give it, or Timestamp")

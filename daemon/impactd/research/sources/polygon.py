"""Polygon (Massive): quotes of the REST API and of the WebSocket, and level-2 books of crypto pairs.

Shapes, by what a record has:

- ``sip_timestamp``: REST ``/v3/quotes/{ticker}`` [1]_, whose records name no
  ticker, and flat files of quotes, with ``ticker``; ``bid_price``,
  ``bid_size``, ``ask_price``, ``ask_size``; times in nanoseconds.
- ``ev`` "Q": WebSocket [2]_; ``sym``, ``bp``, ``bs``, ``ap``, ``as``, ``t`` in milliseconds.
- ``ev`` "XL2": crypto level 2 [3]_; ``pair``, ``b`` and ``a`` as [price, size],
  best first, ``t`` in milliseconds.  The vendor deprecated this feed on 1 July
  2024; books that were recorded from it are read as before.

A quote is whole: a side without price or size, or whose fields are left out, is
an empty one.  Stock sizes
counted round lots of 100 shares until the SEC's market data infrastructure
rules took effect on 3 November 2025, and count shares since [1]_; tickers with
a market's prefix (``O:``, ``X:``) have always counted units.

.. [1] https://massive.com/docs/rest/stocks/trades-quotes/quotes
.. [2] https://massive.com/docs/websocket/stocks/quotes
.. [3] https://polygon.io/docs/crypto/ws_crypto_xl2
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pandas as pd

from impactd.core.base.extras import remedy
from impactd.research.errors import MALFORMED, MISSING_COLUMNS, ValidationError
from impactd.research.sources.clients import client, client_failed, credential
from impactd.research.sources.fields import Record, Side, level, name_of, number, whole_ns
from impactd.research.sources.snapshots import Snapshots
from impactd.wire.ticks.round_lots import lot_of

_MS: Final = 1_000_000


class PolygonSource:
    """Reads Polygon's quotes and books.

    Parameters
    ----------
    round_lot : float, optional
        Shares in one unit of a stock quote's size; by default by the quote's date.
    """

    def __init__(self, round_lot: float | None = None) -> None:
        self.round_lot = round_lot

    def books(self, records: Iterable[Record]) -> pd.DataFrame:
        """Return quotes or level-2 books in the long form; other events are skipped."""
        snapshots = Snapshots("sip_timestamp", "sym")
        for record in records:
            with snapshots.one(record):
                self._add(snapshots, record)
        return snapshots.table()

    def _add(self, snapshots: Snapshots, record: Record) -> None:
        event = record.get("ev")
        if event == "XL2":
            ts, symbol = whole_ns(record, "t", _MS), name_of(record, "pair")
            bids, asks = _levels(record, "b"), _levels(record, "a")
        elif event == "Q":
            ts, symbol = whole_ns(record, "t", _MS), name_of(record, "sym")
            bids, asks = self._quote(record, ts, symbol, ("bp", "bs"), ("ap", "as"))
        elif event is None:
            ts, symbol = whole_ns(record, "sip_timestamp"), name_of(record, "ticker")
            bids, asks = self._quote(record, ts, symbol, ("bid_price", "bid_size"), ("ask_price", "ask_size"))
        else:
            return
        snapshots.add(ts, bids, asks, symbol)

    def _quote(self, record: Record, ts: int, symbol: str | None, *names: tuple[str, str]) -> list[Side]:
        lot = lot_of(symbol, ts)
        if self.round_lot is not None and (symbol is None or ":" not in symbol):
            lot = self.round_lot
        if not any(name in record for pair in names for name in pair):
            raise ValidationError(
                MISSING_COLUMNS,
                f"{names[0][0]}, {names[1][0]}: missing in a record",
                "give quotes of one side at least",
            )
        # The vendor leaves the fields of an empty side out.
        return [
            level(number(record, price), lot * number(record, size)) if price in record and size in record else []
            for price, size in names
        ]

    def fetch(self, symbol: str, start: pd.Timestamp, end: pd.Timestamp) -> list[Record]:
        """Return the quotes of a ticker by the vendor's client, with the key in POLYGON_API_KEY."""
        massive = client("massive", "polygon", remedy("polygon"))
        key = credential("POLYGON_API_KEY", "polygon")
        try:
            # The client asks for page after page; the newest come first if no order is asked for.
            quotes = massive.RESTClient(key).list_quotes(
                symbol,
                timestamp_gte=start.value,
                timestamp_lt=end.value,
                sort="timestamp",
                order="asc",
                limit=50_000,
            )
            return [vars(quote) | {"ticker": symbol} for quote in quotes]
        except Exception as error:  # noqa: BLE001  (its own kinds, and those of what it is built on)
            raise client_failed("polygon", error, key) from None


def _levels(record: Record, side: str) -> Side:
    found = record.get(side)
    if isinstance(found, list):
        try:
            return [pair for price, size, *_ in found for pair in level(float(price), float(size))]
        except (TypeError, ValueError):
            pass  # told below
    raise ValidationError(MALFORMED, f"{side}: {found!r} is not a list of levels", "give [[price, size], ...]")

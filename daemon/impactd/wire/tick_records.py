"""Ticks as our JSON: for a recorded day to be sent to Kafka, and for generated ones.

`decode` of what is encoded here gives the same arrays bit for bit: floats are
written in the shortest form that reads back as the same float, and what only
another format can say about a row travels in the added fields ``mid_event``
and ``auction``.  A record's rows become one record again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from impactd.core.base.venue import venue_of, whole_of
from impactd.core.inputs.ticks import AUCTION, MID_EVENT, TRADE, UNDECODABLE_BOOK, Float, TickBatch

_AGGRESSOR: Final = {1: "buy", -1: "sell", 0: None}


class TickRecord(NamedTuple):
    """A tick record: `rows` are the rows of the batch that it holds."""

    symbol: str
    offset: int
    ts_record: int
    value: bytes
    rows: slice


def encode_ticks(batch: TickBatch) -> Iterator[TickRecord]:
    """Yield the records of a batch: rows of one offset together, as an array where they are several.

    Raises
    ------
    ValueError
        If a row holds what JSON cannot: a book marked undecodable, or a level that is no
        finite number.  No codec makes such rows.
    """
    if (batch.flags & UNDECODABLE_BOOK).any():
        raise ValueError("a row marked UNDECODABLE_BOOK has no JSON; drop such rows first")
    n = len(batch)
    ends = np.flatnonzero(np.append(batch.offset[1:] != batch.offset[:-1], n > 0)) + 1
    objects = _objects(batch)
    start = 0
    for end in ends.tolist():
        value = objects[start] if end - start == 1 else objects[start:end]
        symbol = whole_of(batch.symbols[batch.symbol[start]])
        yield TickRecord(
            symbol, int(batch.offset[start]), int(batch.ts_record[start]), orjson.dumps(value), slice(start, end)
        )
        start = end


def _objects(batch: TickBatch) -> list[dict[str, Any]]:
    n_bid, n_ask = batch.n_bid.tolist(), batch.n_ask.tolist()
    bids = _levels(batch.bid_px, batch.bid_sz, n_bid)
    asks = _levels(batch.ask_px, batch.ask_sz, n_ask)
    symbol, flags = batch.symbol.tolist(), batch.flags.tolist()
    ts_event, kind = batch.ts_event.tolist(), batch.kind.tolist()
    px, qty, aggressor = batch.px.tolist(), batch.qty.tolist(), batch.aggressor.tolist()
    objects: list[dict[str, Any]] = []
    names = [(whole_of(name), venue_of(name)) for name in batch.symbols]
    for i in range(len(batch)):
        name, venue = names[symbol[i]]
        head = {"type": "book", "symbol": name, "ts_event": ts_event[i], "ts_recv": None}
        if venue is not None:
            head["venue"] = venue
        if kind[i] == TRADE:
            head |= {"type": "trade", "px": px[i], "qty": _whole(qty[i]), "aggressor": _AGGRESSOR[aggressor[i]]}
            if flags[i] & AUCTION:
                head["auction"] = True
        else:
            head |= {"seq": None, "bids": bids[i], "asks": asks[i]}
            if flags[i] & MID_EVENT:
                head["mid_event"] = True
        objects.append(head)
    return objects


def _whole(value: float) -> float | int:
    # Integers beyond 64 bits are none of orjson's; as a float such a size reads back the same.
    return int(value) if value.is_integer() and abs(value) < 2**63 else value


def _levels(px: Float, sz: Float, count: list[int]) -> list[list[tuple[float, float | int]]]:
    """Return [(price, size), ...] a row, sizes as integers where whole."""
    used = np.arange(px.shape[1]) < np.array(count, np.int64)[:, None]
    if not (np.isfinite(px[used]).all() and np.isfinite(sz[used]).all()):
        raise ValueError("a level that is not a finite number has no JSON; drop such rows first")
    prices = px.tolist()
    sizes: list[list[float | int]]
    if (np.abs(sz[used]) < 2**53).all() and (sz[used] == np.floor(sz[used])).all():
        sizes = np.where(used, sz, 0.0).astype(np.int64).tolist()
    else:
        sizes = [[_whole(value) for value in row[:n]] for row, n in zip(sz.tolist(), count, strict=True)]
    return [
        list(zip(row_px[:n], row_sz[:n], strict=True)) for row_px, row_sz, n in zip(prices, sizes, count, strict=True)
    ]

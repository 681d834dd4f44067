"""`impactd.books/1`: many rows of one symbol in one message, as columns of integers.

All numbers are little-endian. A message is a head, the symbol in UTF-8, and a body:

====== ===== ========================================================================
byte   type  head
====== ===== ========================================================================
0      8 B   ``IMPBOOK1``
8      u32   length of the whole message, bytes
12     u32   n, rows
16     u8    1 if the body is one zstd frame, else 0
17     u8    L, levels of each side that a row has room for
18     u8    w, bytes of a price and of a size: 4 or 8
19     u8    S, bytes of the symbol
20     u32   0
24     i64   base time, ns since the epoch, UTC
32     i64   base price, in units of the price
40     i64   units of the price in 1
48     i64   units of the size in 1
====== ===== ========================================================================

The body's columns follow one another, each of n values, those of levels of n times L, row by row, best first:

==================================== =================================================
``ts_event`` i64                     ns behind the base time
``ts_recv`` i64                      ns since the epoch; 0: unknown
``px``, ``qty`` i w, u w             of a trade: price over the base price, and size
``bid_px``, ``bid_sz`` i w, u w      of levels, likewise
``ask_px``, ``ask_sz`` i w, u w
``kind`` u8                          0: a book, 1: a trade
``flags`` u8                         1: in the middle of an event, 2: auction
``aggressor`` i8                     1 bought, -1 sold, 0 unknown
``n_bid``, ``n_ask`` u8              levels that are there
==================================== =================================================

A file is messages, one after another.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from impactd.core.inputs.ticks import AUCTION, BOOK, MID_EVENT, TRADE, Float, Int, TickBatch
from impactd.wire.codec import FieldError
from impactd.wire.content import Content, Head, Line
from impactd.wire.fields import parse_symbol
from impactd.wire.rows import RowBuilder, Rows, by_first_appearance
from impactd.wire.tick_codec import TickCodec
from impactd.wire.times import MAX_NS, MIN_NS
from impactd.wire.zstd import ZSTD

MAGIC: Final = b"IMPBOOK1"

_HEAD: Final = struct.Struct("<8sIIBBBBIqqqq")
_ZSTD_FRAME: Final = 1
_MAX_BODY: Final = 1 << 26
_FLAGS: Final = {1: MID_EVENT, 2: AUCTION}
_SIGNED: Final[dict[int, np.dtype[Any]]] = {4: np.dtype("<i4"), 8: np.dtype("<i8")}
_UNSIGNED: Final[dict[int, np.dtype[Any]]] = {4: np.dtype("<u4"), 8: np.dtype("<u8")}


class _Message(NamedTuple):
    """A message's rows, checked."""

    symbol: str
    ts_event: Int
    ts_recv: Int
    kind: npt.NDArray[np.uint8]
    flags: npt.NDArray[np.uint8]
    aggressor: npt.NDArray[np.int8]
    n_bid: npt.NDArray[np.int32]
    n_ask: npt.NDArray[np.int32]
    px: Float
    qty: Float
    sides: tuple[Float, Float, Float, Float]


class CompactCodec(TickCodec):
    """Decodes messages of many rows of one symbol."""

    name = "impactd.books/1"

    @classmethod
    def detects(cls, head: Head) -> bool:
        """Return whether a file begins with a message."""
        return head.data.startswith(MAGIC)

    def records(self, content: Content) -> Iterator[Line]:
        """Yield the messages of a file; their numbers are from 1 on."""
        held, number = b"", 1
        for piece in content.pieces():
            held += piece
            while len(held) >= _HEAD.size:
                length = int.from_bytes(held[8:12], "little")
                if not held.startswith(MAGIC) or length < _HEAD.size:
                    fault = FieldError("value", "no message begins here; the rest of the file cannot be read")
                    yield Line(number, held[: _HEAD.size], fault)
                    return
                if length > self.limits.max_message_bytes:
                    limit = self.limits.max_message_bytes
                    fault = FieldError("too_large", f"{length} bytes; send at most {limit} (wire.max_message_bytes)")
                    yield Line(number, held[: _HEAD.size], fault)
                    return
                if len(held) < length:
                    break
                yield Line(number, held[:length])
                held, number = held[length:], number + 1
        if content.damage is not None:
            yield Line(number, held, content.damage)
        elif held:
            fault = FieldError("truncated", "the file ends in the middle of a message; send it whole")
            yield Line(number, held, fault)

    def decode_record(self, value: bytes, record: int, builder: RowBuilder) -> int:
        """Decode one message, row by row."""
        message = _parse(value, self.limits.max_levels)
        bid_px, bid_sz, ask_px, ask_sz = (side.tolist() for side in message.sides)
        for i in range(len(message.kind)):
            head = (record, message.symbol, int(message.flags[i]), int(message.ts_event[i]), int(message.ts_recv[i]))
            if message.kind[i] == TRADE:
                builder.add_trade(*head, float(message.px[i]), float(message.qty[i]), int(message.aggressor[i]))
                continue
            n_bid, n_ask = int(message.n_bid[i]), int(message.n_ask[i])
            bids, asks = (bid_px[i][:n_bid], bid_sz[i][:n_bid]), (ask_px[i][:n_ask], ask_sz[i][:n_ask])
            builder.add_book(*head, bids, asks)
        return 0

    def scan(self, values: Sequence[bytes]) -> tuple[Rows | None, Sequence[int]]:
        """Decode the messages that are good, column by column."""
        parts: list[TickBatch] = []
        records: list[Int] = []
        received: list[Int] = []
        left: list[int] = []
        for i, value in enumerate(values):
            try:
                self._check_size(value)
                message = _parse(value, self.limits.max_levels)
            except FieldError:
                left.append(i)
                continue
            if len(message.kind):
                parts.append(_batch(message))
                records.append(np.full(len(message.kind), i, np.int64))
                received.append(message.ts_recv)
        if not parts:
            return None, range(len(values)) if len(left) == len(values) else left
        batch = by_first_appearance(TickBatch.concat(parts))
        return Rows(batch, np.concatenate(records), np.concatenate(received)), left


def _parse(value: bytes, max_levels: int) -> _Message:
    """Return a message's rows.

    Raises
    ------
    FieldError
        If it cannot be used.
    """
    if not value:
        raise FieldError("empty", "the message has no value; send one")
    if len(value) < _HEAD.size:
        raise FieldError("truncated", f"{len(value)} bytes where the head has {_HEAD.size}; send it whole")
    magic, length, n, compression, n_levels, width, n_symbol, zero, base_ts, base_px, px_units, sz_units = _HEAD.unpack(
        value[: _HEAD.size]
    )
    if magic != MAGIC:
        raise FieldError("value", "does not begin with IMPBOOK1; send a message of impactd.books/1")
    if length != len(value):
        raise FieldError("truncated", f"length: {length}, and {len(value)} bytes are there; send it whole")
    if compression not in (0, _ZSTD_FRAME) or width not in _SIGNED or zero:
        raise FieldError(
            "value", "compression, width or the reserved bytes are not of version 1; send 0 or 1, 4 or 8, 0"
        )
    if px_units <= 0 or sz_units <= 0:
        raise FieldError("value", "units of price or size are not positive; send how many are in 1")
    if n_levels > max_levels:
        raise FieldError("too_deep", f"{n_levels} levels; send at most {max_levels} (books.max_levels)")
    n_body = n * (21 + 2 * width + 4 * width * n_levels)
    if n_body > _MAX_BODY:
        raise FieldError("too_large", f"a body of {n_body} bytes; send at most {_MAX_BODY}")
    if len(value) < _HEAD.size + n_symbol:
        raise FieldError("truncated", "ends within the symbol; send it whole")
    try:
        symbol = parse_symbol(value[_HEAD.size : _HEAD.size + n_symbol].decode())
    except UnicodeDecodeError:
        raise FieldError("encoding", "symbol: not UTF-8; send UTF-8") from None
    body = value[_HEAD.size + n_symbol :]
    if compression == _ZSTD_FRAME:
        body = _decompressed(body, n_body)
    if len(body) != n_body:
        raise FieldError("truncated", f"a body of {len(body)} bytes where {n_body} belong; send all columns")
    return _columns(body, n, n_levels, width, symbol, (base_ts, base_px, px_units, sz_units))


def _decompressed(body: bytes, n_bytes: int) -> bytes:
    if ZSTD is None:
        raise FieldError("value", "compressed with zstd, which is not installed; pip install backports-zstd")
    try:
        frame = ZSTD.ZstdDecompressor()
        # No message makes more than its head says.
        found: bytes = frame.decompress(body, max_length=n_bytes + 1)
    except ZSTD.ZstdError as error:
        raise FieldError("corrupt", f"the zstd frame is damaged: {error}; send it again") from None
    if len(found) <= n_bytes and (not frame.eof or frame.unused_data):
        raise FieldError("truncated", "the zstd frame is cut, or bytes follow it; send one whole frame")
    return found


def _columns(body: bytes, n: int, n_levels: int, width: int, symbol: str, units: tuple[int, int, int, int]) -> _Message:
    at = 0

    def column(dtype: np.dtype[Any], per_row: int = 1) -> npt.NDArray[Any]:
        nonlocal at
        found = np.frombuffer(body, dtype, n * per_row, at)
        at += n * per_row * dtype.itemsize
        return found

    base_ts, base_px, px_units, sz_units = units
    behind, ts_recv = (column(np.dtype("<i8")).astype(np.int64) for _ in range(2))
    raw = [column(_SIGNED[width]), column(_UNSIGNED[width])]
    raw += [column(dtype[width], n_levels) for _ in range(2) for dtype in (_SIGNED, _UNSIGNED)]
    kind, code = (column(np.dtype(np.uint8)).astype(np.uint8) for _ in range(2))
    aggressor = column(np.dtype(np.int8)).astype(np.int8)
    n_bid, n_ask = (column(np.dtype(np.uint8)).astype(np.int32) for _ in range(2))
    is_trade = kind == 1
    if (kind > 1).any() or (code > 2).any() or (np.abs(aggressor.astype(np.int32)) > 1).any():
        raise FieldError("value", "kind, flags or aggressor is none of the values that there are; send one of those")
    if ((n_bid > n_levels) | (n_ask > n_levels)).any():
        raise FieldError("value", f"n_bid or n_ask is beyond the {n_levels} levels of the head; send room for all")
    good = (behind >= MIN_NS - base_ts) & (behind <= MAX_NS - base_ts) if MIN_NS <= base_ts <= MAX_NS else None
    if good is None or not good.all() or ((ts_recv != 0) & ((ts_recv < MIN_NS) | (ts_recv > MAX_NS))).any():
        raise FieldError("value", "a time is not in 1973..2255; send nanoseconds since the epoch, UTC")
    flags = np.zeros(n, np.uint8)
    for number, flag in _FLAGS.items():
        flags[code == number] = flag
    if (is_trade & (code == 1)).any() or (~is_trade & (code == 2)).any():
        raise FieldError("value", "flags: a trade is never in the middle of an event, a book no auction; send 0")
    return _Message(
        symbol=symbol,
        ts_event=base_ts + behind,
        ts_recv=ts_recv,
        kind=np.where(is_trade, TRADE, BOOK).astype(np.uint8),
        flags=flags,
        aggressor=np.where(is_trade, aggressor, 0).astype(np.int8),
        n_bid=np.where(is_trade, 0, n_bid).astype(np.int32),
        n_ask=np.where(is_trade, 0, n_ask).astype(np.int32),
        px=_price(raw[0], base_px, px_units),
        qty=raw[1] / np.float64(sz_units),
        sides=(
            _price(raw[2], base_px, px_units).reshape(n, n_levels),
            (raw[3] / np.float64(sz_units)).reshape(n, n_levels),
            _price(raw[4], base_px, px_units).reshape(n, n_levels),
            (raw[5] / np.float64(sz_units)).reshape(n, n_levels),
        ),
    )


def _price(raw: npt.NDArray[Any], base_px: int, px_units: int) -> Float:
    over = raw.astype(np.int64)
    total = over + np.int64(base_px)
    # A sum beyond 64 bits has the wrong sign: it becomes what the core rejects as undefined.
    wrapped = ((over ^ total) & (np.int64(base_px) ^ total)) < 0
    return np.where(wrapped, float(2**63 - 1), total / np.float64(px_units)) + 0.0


def _batch(message: _Message) -> TickBatch:
    n = len(message.kind)
    is_trade = message.kind == TRADE
    width = int(max(message.n_bid.max(initial=0), message.n_ask.max(initial=0)))
    sides = []
    for side, count in zip(message.sides, (message.n_bid,) * 2 + (message.n_ask,) * 2, strict=True):
        sides.append(np.where(np.arange(width) < count[:, None], side[:, :width], np.nan))
    return TickBatch(
        symbols=(message.symbol,),
        symbol=np.zeros(n, np.int32),
        kind=message.kind,
        flags=message.flags,
        ts_event=message.ts_event,
        ts_record=np.zeros(n, np.int64),
        offset=np.zeros(n, np.int64),
        bid_px=sides[0],
        bid_sz=sides[1],
        ask_px=sides[2],
        ask_sz=sides[3],
        n_bid=message.n_bid,
        n_ask=message.n_ask,
        px=np.where(is_trade, message.px, np.nan),
        qty=np.where(is_trade, message.qty, np.nan),
        aggressor=message.aggressor,
    )

"""`impactd.books/1`: many rows of one symbol in one message, as columns of integers.

All numbers are little-endian. A message is a head, the symbol in UTF-8, the venue in ASCII, and a body:

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
20     u8    V, bytes of the venue
21     3 B   0
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

from impactd.core.base.jit import uncounted_kernel
from impactd.core.base.venue import at_venue
from impactd.core.inputs.ticks import AUCTION, BOOK, MID_EVENT, TRADE, Float, Int, Int32
from impactd.wire.codec import FieldError
from impactd.wire.content import Content, Head, Line
from impactd.wire.fields import parse_symbol, parse_venue
from impactd.wire.rows import RowBuilder, RowColumns, Rows, interleave
from impactd.wire.tick_codec import TickCodec
from impactd.wire.times import MAX_NS, MIN_NS
from impactd.wire.zstd import ZSTD

MAGIC: Final = b"IMPBOOK1"

_HEAD: Final = struct.Struct("<8sIIBBBBB3sqqqq")
_ZSTD_FRAME: Final = 1
_MAX_BODY: Final = 1 << 26
#: Rows of a message, so that no small one makes millions.
_MAX_ROWS: Final = 1 << 16
#: A price beyond 64 bits, which the core rejects as undefined.
_LARGEST: Final = float(2**63 - 1)
_FLAGS: Final = {1: MID_EVENT, 2: AUCTION}
_SIGNED: Final[dict[int, np.dtype[Any]]] = {4: np.dtype("<i4"), 8: np.dtype("<i8")}
_UNSIGNED: Final[dict[int, np.dtype[Any]]] = {4: np.dtype("<u4"), 8: np.dtype("<u8")}


class _Message(NamedTuple):
    """A message with its head read and its body decompressed."""

    symbol: str
    n: int
    n_levels: int
    width: int
    base_ts: int
    base_px: int
    px_units: int
    sz_units: int
    body: bytes


class _Rows(NamedTuple):
    """The rows of messages of one width and depth, one message after another."""

    message: Int
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
    #: Rows that cannot be used, and why.
    faults: list[tuple[npt.NDArray[np.bool_], FieldError]]


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
        rows = _columns([message])
        for rows_at_fault, error in rows.faults:
            if rows_at_fault.any():
                raise error
        bid_px, bid_sz, ask_px, ask_sz = (side.tolist() for side in rows.sides)
        for i in range(message.n):
            head = (record, message.symbol, int(rows.flags[i]), int(rows.ts_event[i]), int(rows.ts_recv[i]))
            if rows.kind[i] == TRADE:
                builder.add_trade(*head, float(rows.px[i]), float(rows.qty[i]), int(rows.aggressor[i]))
                continue
            n_bid, n_ask = int(rows.n_bid[i]), int(rows.n_ask[i])
            bids, asks = (bid_px[i][:n_bid], bid_sz[i][:n_bid]), (ask_px[i][:n_ask], ask_sz[i][:n_ask])
            builder.add_book(*head, bids, asks)
        return 0

    def scan(self, values: Sequence[bytes]) -> tuple[Rows | None, Sequence[int]]:
        """Decode the messages that are good, those of one width and depth together."""
        groups: dict[tuple[int, int], list[tuple[int, _Message]]] = {}
        left: list[int] = []
        for i, value in enumerate(values):
            try:
                self._check_size(value)
                message = _parse(value, self.limits.max_levels)
            except FieldError:
                left.append(i)
            else:
                groups.setdefault((message.width, message.n_levels), []).append((i, message))
        found: Rows | None = None
        for group in groups.values():
            rows, bad = _of_group(group)
            left += bad
            found = rows if found is None else interleave(found, rows)
        return found, sorted(left)


def _of_group(group: Sequence[tuple[int, _Message]]) -> tuple[Rows, list[int]]:
    """Return the rows of the good messages, and the records of the others."""
    origin = np.array([i for i, _ in group], np.int64)
    messages = [message for _, message in group]
    rows = _columns(messages)
    is_bad = np.zeros(len(messages), np.bool_)
    for at_fault, _ in rows.faults:
        is_bad[rows.message[at_fault]] = True
    keep = ~is_bad[rows.message]
    codes: dict[str, int] = {}
    code = np.array([codes.setdefault(message.symbol, len(codes)) for message in messages], np.int32)
    sides = rows.sides if keep.all() else [side[keep] for side in rows.sides]
    columns = RowColumns(
        record=origin[rows.message[keep]],
        symbol=code[rows.message[keep]],
        kind=rows.kind[keep],
        flags=rows.flags[keep],
        ts_event=rows.ts_event[keep],
        ts_recv=rows.ts_recv[keep],
        bid_px=sides[0],
        bid_sz=sides[1],
        ask_px=sides[2],
        ask_sz=sides[3],
        n_bid=rows.n_bid[keep],
        n_ask=rows.n_ask[keep],
        px=rows.px[keep],
        qty=rows.qty[keep],
        aggressor=rows.aggressor[keep],
        publisher=np.zeros(int(np.count_nonzero(keep)), np.int64),
        instrument=np.zeros(int(np.count_nonzero(keep)), np.int64),
    )
    return columns.rows(list(codes)).in_order(), origin[is_bad].tolist()


def _parse(value: bytes, max_levels: int) -> _Message:  # noqa: PLR0912  # one check after another
    """Return a message with its head read and its body decompressed."""
    if not value:
        raise FieldError("empty", "the message has no value; send one")
    if len(value) < _HEAD.size:
        raise FieldError("truncated", f"{len(value)} bytes where the head has {_HEAD.size}; send it whole")
    magic, length, n, compression, n_levels, width, n_symbol, n_venue, zero, *base = _HEAD.unpack(value[: _HEAD.size])
    base_ts, base_px, px_units, sz_units = base
    if magic != MAGIC:
        raise FieldError("value", "does not begin with IMPBOOK1; send a message of impactd.books/1")
    if length != len(value):
        raise FieldError("truncated", f"length: {length}, and {len(value)} bytes are there; send it whole")
    if compression not in (0, _ZSTD_FRAME) or width not in _SIGNED or any(zero):
        raise FieldError(
            "value", "compression, width or the reserved bytes are not of version 1; send 0 or 1, 4 or 8, 0"
        )
    if px_units <= 0 or sz_units <= 0:
        raise FieldError("value", "units of price or size are not positive; send how many are in 1")
    if not MIN_NS <= base_ts <= MAX_NS:
        raise FieldError("value", "base time is not in 1973..2255; send nanoseconds since the epoch, UTC")
    if n_levels > max_levels:
        raise FieldError("too_deep", f"{n_levels} levels; send at most {max_levels} (books.max_levels)")
    n_body = n * (21 + 2 * width + 4 * width * n_levels)
    if n > _MAX_ROWS or n_body > _MAX_BODY:
        raise FieldError("too_large", f"{n} rows in {n_body} bytes; send at most {_MAX_ROWS} rows in {_MAX_BODY} bytes")
    at = _HEAD.size + n_symbol
    if len(value) < at + n_venue:
        raise FieldError("truncated", "ends within the symbol or the venue; send it whole")
    try:
        symbol = parse_symbol(value[_HEAD.size : at].decode())
        if n_venue:
            symbol = at_venue(symbol, parse_venue(value[at : at + n_venue].decode()))
    except UnicodeDecodeError:
        raise FieldError("encoding", "symbol or venue: not UTF-8; send UTF-8") from None
    body = value[at + n_venue :]
    if compression == _ZSTD_FRAME:
        body = _decompressed(body, n_body)
    if len(body) != n_body:
        raise FieldError("truncated", f"a body of {len(body)} bytes where {n_body} belong; send all columns")
    return _Message(symbol, n, n_levels, width, base_ts, base_px, px_units, sz_units, body)


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


def _columns(messages: Sequence[_Message]) -> _Rows:
    """Return the rows of messages of one width and depth."""
    n_levels, width = messages[0].n_levels, messages[0].width
    signed, unsigned, byte = _SIGNED[width], _UNSIGNED[width], np.dtype(np.uint8)
    begin = 0

    def column(dtype: np.dtype[Any], per_row: int = 1) -> npt.NDArray[Any]:
        nonlocal begin
        end = begin + per_row * dtype.itemsize
        data = b"".join([message.body[message.n * begin : message.n * end] for message in messages])
        begin = end
        return np.frombuffer(data, dtype)

    counts = np.array([message.n for message in messages], np.int64)

    def of_rows(values: Sequence[int]) -> Int:
        return np.repeat(np.array(values, np.int64), counts)

    behind, ts_recv = (column(np.dtype("<i8")).astype(np.int64) for _ in range(2))
    raw = [column(signed), column(unsigned)]
    raw += [column(dtype, n_levels) for _ in range(2) for dtype in (signed, unsigned)]
    kind, code = column(byte), column(byte)
    aggressor = column(np.dtype(np.int8))
    n_bid, n_ask = column(byte).astype(np.int32), column(byte).astype(np.int32)
    base_ts = of_rows([message.base_ts for message in messages])
    base_px = of_rows([message.base_px for message in messages])
    px_units = of_rows([message.px_units for message in messages]).astype(np.float64)
    sz_units = of_rows([message.sz_units for message in messages]).astype(np.float64)
    is_trade = kind == 1
    is_odd = (kind > 1) | (code > 2) | (np.abs(aggressor.astype(np.int32)) > 1)
    bad_time = (behind < MIN_NS - base_ts) | (behind > MAX_NS - base_ts)
    bad_time |= (ts_recv != 0) & ((ts_recv < MIN_NS) | (ts_recv > MAX_NS))
    faults = [
        (is_odd, FieldError("value", "kind, flags or aggressor has a value that is not there; send one of the page's")),
        (
            (n_bid > n_levels) | (n_ask > n_levels),
            FieldError("value", f"n_bid or n_ask is beyond the {n_levels} levels of the head; send room for all"),
        ),
        (bad_time, FieldError("value", "a time is not in 1973..2255; send nanoseconds since the epoch, UTC")),
        (
            (is_trade & (code == 1)) | (~is_trade & (code == 2)),
            FieldError("value", "flags: a trade is never in the middle of an event, a book no auction; send 0"),
        ),
    ]
    flags = np.zeros(len(kind), np.uint8)
    for number, flag in _FLAGS.items():
        flags[code == number] = flag
    n_bid, n_ask = (np.where(is_trade, 0, count).astype(np.int32) for count in (n_bid, n_ask))
    px, qty = np.empty((2, len(kind), 1))
    n_prints = is_trade.astype(np.int32)
    _fill_prices(raw[0], base_px, px_units, n_prints, px)
    _fill_sizes(raw[1], sz_units, n_prints, qty)
    sides = np.empty((4, len(kind), n_levels))
    for side, count in enumerate((n_bid, n_ask)):
        _fill_prices(raw[2 + 2 * side], base_px, px_units, count, sides[2 * side])
        _fill_sizes(raw[3 + 2 * side], sz_units, count, sides[2 * side + 1])
    return _Rows(
        message=np.repeat(np.arange(len(messages)), counts),
        ts_event=base_ts + behind,
        ts_recv=ts_recv,
        kind=np.where(is_trade, TRADE, BOOK).astype(np.uint8),
        flags=flags,
        aggressor=np.where(is_trade, aggressor, 0).astype(np.int8),
        n_bid=n_bid,
        n_ask=n_ask,
        px=px[:, 0],
        qty=qty[:, 0],
        sides=(sides[0], sides[1], sides[2], sides[3]),
        faults=faults,
    )


@uncounted_kernel
def _fill_prices(raw: npt.NDArray[Any], base_px: Int, px_units: Float, count: Int32, out: Float) -> None:
    """Write the prices of each row's levels, and NaN behind them."""
    n_levels = out.shape[1]
    for row in range(out.shape[0]):
        base, units = base_px[row], px_units[row]
        n = min(count[row], n_levels)
        for k in range(n):
            over = np.int64(raw[row * n_levels + k])
            total = over + base
            # A sum beyond 64 bits has the wrong sign: it becomes what the core rejects as undefined.
            wrapped = ((over ^ total) & (base ^ total)) < 0
            out[row, k] = (np.float64(_LARGEST) if wrapped else total / units) + 0.0
        for k in range(n, n_levels):
            out[row, k] = np.nan


@uncounted_kernel
def _fill_sizes(raw: npt.NDArray[Any], sz_units: Float, count: Int32, out: Float) -> None:
    """Write the sizes of each row's levels, and NaN behind them."""
    n_levels = out.shape[1]
    for row in range(out.shape[0]):
        units = sz_units[row]
        n = min(count[row], n_levels)
        for k in range(n):
            out[row, k] = raw[row * n_levels + k] / units
        for k in range(n, n_levels):
            out[row, k] = np.nan

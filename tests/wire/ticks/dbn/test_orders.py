"""Books out of single orders: against dictionaries, on what Databento's library decodes."""

from __future__ import annotations

import io
import random
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.inputs.ticks import BOOK, TRADE
from impactd.wire.codec import Decoded, Limits
from impactd.wire.content import Content, Head
from impactd.wire.decoder import join
from impactd.wire.registry import detect
from impactd.wire.tick_codec import FileOptions
from impactd.wire.ticks.dbn.codec import DbnCodec
from impactd.wire.ticks.dbn.mbo_csv import DatabentoMboCodec
from tests.wire.helpers import T0, assert_same_batch, decode_in_batches, reasons
from tests.wire.ticks.dbn.samples import IDS, UNDEF_PX, head, orders

LAST, TOB, SNAPSHOT, BAD = 128, 64, 32, 4
PX = 1_000_000_000


def mbo(action: str, side: str = "N", px: int | None = None, size: int = 0, order: int = 0, flags: int = LAST,
        at: int = 0, symbol: str = "FROG", publisher: int = 2) -> bytes:  # fmt: skip
    ts = T0 + at
    data = struct.pack("<BBHIQQ", 14, 160, publisher, IDS[symbol], ts, order)
    price = UNDEF_PX if px is None else px * PX // 100
    data += struct.pack("<qIBBcc", price, size, flags, 255, action.encode(), side.encode())
    return data + struct.pack("<QiI", ts + 1_000, 0, 0)


def read(*records: bytes, size: int = 4_096, n_levels: int = 100) -> Decoded:
    content = Content("day.dbn", iter([head(schema=0) + b"".join(records)]))
    codec = DbnCodec.from_header(content.head, FileOptions(limits=Limits(max_levels=n_levels)))
    return join([batch.decoded for batch in codec.batches(content, size)])


def books(decoded: Decoded) -> list[tuple[int, str, list[tuple[float, float]], list[tuple[float, float]]]]:
    batch = decoded.batch
    return [
        (int(batch.offset[i]), batch.symbols[batch.symbol[i]],
         list(zip(batch.bid_px[i, : batch.n_bid[i]].tolist(), batch.bid_sz[i, : batch.n_bid[i]].tolist(), strict=True)),
         list(zip(batch.ask_px[i, : batch.n_ask[i]].tolist(), batch.ask_sz[i, : batch.n_ask[i]].tolist(), strict=True)))
        for i in np.flatnonzero(batch.kind == BOOK)
    ]  # fmt: skip


class Reference:
    """Orders in a dictionary, and no levels but their sums."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[int, tuple[str, int, int]] | None] = dict.fromkeys(IDS)
        self.changed: set[str] = set()

    def follow(self, symbol: str, action: str, side: str, px: int, size: int, order: int, flags: int) -> Any:
        """Return the sides where a row is due, "gap" where the book ends, or None."""
        live = self.orders[symbol]
        if action == "R":
            self.orders[symbol] = {}
            self.changed.add(symbol)
        elif live is None:
            return None
        elif action in "AM":
            if action == "A" and order in live:
                self.orders[symbol] = None
                return "gap"
            live.pop(order, None)
            if size:
                live[order] = (side, px, size)
            self.changed.add(symbol)
        elif action == "C":
            if order not in live or live[order][2] < size:
                self.orders[symbol] = None
                return "gap"
            held = live[order]
            live[order] = (held[0], held[1], held[2] - size)
            if not live[order][2]:
                del live[order]
            self.changed.add(symbol)
        if symbol in self.changed and (flags & LAST or action == "R"):
            self.changed.discard(symbol)
            return self.sides(symbol)
        return None

    def sides(self, symbol: str) -> Any:
        found = []
        for side, sign in (("B", -1), ("A", 1)):
            sums: dict[int, int] = {}
            for one, px, size in (self.orders[symbol] or {}).values():
                if one == side:
                    sums[px] = sums.get(px, 0) + size
            found.append([(px / 100, float(sums[px])) for px in sorted(sums, key=lambda px, sign=sign: sign * px)])
        return found


RECORD = st.tuples(
    st.sampled_from(["FROG", "ARL"]),
    st.sampled_from("AAAAAMMCCCRTFN"),
    st.sampled_from("AB"),
    st.integers(95, 105),
    st.sampled_from([1, 2, 3, 5]),
    st.integers(1, 12),
    st.sampled_from([LAST, LAST, 0]),
)


def check(records: list[Any]) -> None:
    reference = Reference()
    made, expected, gaps, n_trades = [], [], 0, 0
    for i, (symbol, action, side, px, size, order, flags) in enumerate(records, 1):
        made.append(mbo(action, side, px, size, order, flags, i, symbol))
        n_trades += action == "T"
        found = reference.follow(symbol, action, side, px, size, order, flags)
        if found == "gap":
            gaps += 1
            reference.changed.discard(symbol)
            expected.append((i, symbol, [], []))
        elif found is not None:
            expected.append((i, symbol, *found))
    for size in (4_096, 1, 7):
        decoded = read(*made, size=size)
        assert books(decoded) == expected
        assert int(np.count_nonzero(decoded.batch.kind == TRADE)) == n_trades
        assert [letter.reason for letter in decoded.refused if "clear before" not in letter.detail] == ["gap"] * gaps


@settings(max_examples=100, deadline=None)
@given(st.lists(RECORD, max_size=60))
def test_books_are_the_sums_of_their_orders(records: list[Any]) -> None:
    start = [(symbol, "R", "A", 100, 0, 0, LAST) for symbol in ("FROG", "ARL")]
    check([*start, *records])


def test_books_of_a_long_day_are_the_sums_of_their_orders() -> None:
    rng = random.Random(7)
    records: list[Any] = [("FROG", "R", "A", 100, 0, 0, LAST)]
    live: dict[int, int] = {}
    for order in range(1, 6_000):
        if live and rng.random() < 0.45:
            gone = rng.choice(list(live))
            size = live.pop(gone) if rng.random() < 0.7 else 1
            if gone in live and live[gone] > 1:
                live[gone] -= 1
            elif gone in live:
                live.pop(gone)
            records.append(("FROG", "C", "B", 100, size, gone, LAST))
        else:
            live[order] = rng.randrange(1, 50)
            side = rng.choice("AB")
            px = rng.randrange(1, 900) + (1_000 if side == "A" else 0)
            records.append(("FROG", "A", side, px, live[order], order, LAST))
    reference = Reference()
    for record in records:
        found = reference.follow(*record)
    decoded = read(*(mbo(*record[1:6], LAST, i) for i, record in enumerate(records)), n_levels=1_000)
    assert not decoded.refused
    assert books(decoded)[-1][2:] == tuple(found)


def test_orders_without_a_clear_are_refused_once() -> None:
    decoded = read(*(mbo("A", "B", 100, 5, order) for order in (1, 2, 3)))
    assert (reasons(decoded), len(decoded.batch)) == (["gap"], 0)


def test_snapshot_is_one_book_at_its_own_time() -> None:
    decoded = read(
        mbo("R", flags=SNAPSHOT),
        mbo("A", "B", 100, 5, 1, SNAPSHOT),
        mbo("A", "A", 101, 6, 2, SNAPSHOT | LAST, at=5),
        mbo("C", "A", 101, 2, 2, at=9),
    )
    assert books(decoded) == [(3, "FROG", [(1.0, 5.0)], [(1.01, 6.0)]), (4, "FROG", [(1.0, 5.0)], [(1.01, 4.0)])]
    assert decoded.batch.ts_event.tolist() == [T0 + 1_005, T0 + 9]


@pytest.mark.parametrize(
    "bad", [mbo("A", "B", 100, 1, 2, LAST | BAD), mbo("X", "B", 100, 1, 2), mbo("A", "N", 100, 1, 2)]
)
def test_book_ends_where_the_feed_lost_something_or_a_record_is_damaged(bad: bytes) -> None:
    decoded = read(mbo("R"), mbo("A", "B", 100, 5, 1), bad, mbo("A", "B", 99, 5, 3), mbo("R"), mbo("A", "A", 9, 5, 1))
    assert [book[2:] for book in books(decoded)] == [
        ([], []),
        ([(1.0, 5.0)], []),
        ([], []),
        ([], []),
        ([], [(0.09, 5.0)]),
    ]
    assert len(decoded.refused) == 1


def test_record_of_no_known_time_ends_all_books() -> None:
    lost = bytearray(mbo("A", "B", 100, 5, 9))
    lost[8:16] = bytes(8)
    decoded = read(mbo("R"), mbo("A", "B", 100, 5, 1), bytes(lost), mbo("A", "B", 99, 5, 3))
    assert reasons(decoded) == ["value", "gap"]
    assert books(decoded)[-1][2:] == ([], [])


def test_top_of_book_replaces_its_side() -> None:
    decoded = read(
        mbo("R"), mbo("A", "B", 100, 5, 0, LAST | TOB), mbo("A", "B", 99, 7, 0, LAST | TOB),
        mbo("A", "B", None, 0, 0, LAST | TOB),
    )  # fmt: skip
    assert [book[2] for book in books(decoded)] == [[], [(1.0, 5.0)], [(0.99, 7.0)], []]


def test_fewer_levels_are_handed_on_where_there_is_a_limit() -> None:
    records = [mbo("R"), *(mbo("A", "B", 100 - k, 5, k + 1) for k in range(5))]
    assert books(read(*records, n_levels=2))[-1][2] == [(1.0, 5.0), (0.99, 5.0)]


def test_records_are_those_that_the_library_makes() -> None:
    dbn = pytest.importorskip("databento_dbn")
    theirs = dbn.MBOMsg(
        publisher_id=2, instrument_id=IDS["FROG"], ts_event=T0 + 4, order_id=7, price=PX, size=5,
        action=dbn.Action("A"), side=dbn.Side("B"), ts_recv=T0 + 1_004, flags=LAST,
    )  # fmt: skip
    assert bytes(theirs)[:48] == mbo("A", "B", 100, 5, 7, at=4)[:48]


def test_batching_changes_nothing() -> None:
    rng = random.Random(3)
    records = [mbo("R"), mbo("R", symbol="ARL")]
    records += [
        mbo(
            rng.choice("AAMCT"), rng.choice("AB"), rng.randrange(90, 110), rng.randrange(1, 9), rng.randrange(1, 40),
            rng.choice((LAST, 0)), i, rng.choice(("FROG", "ARL")),
        )
        for i in range(400)
    ]  # fmt: skip
    whole = read(*records)
    for size in (1, 13):
        found = read(*records, size=size)
        assert_same_batch(found.batch, whole.batch)
        assert found.refused == whole.refused


def text_of(data: bytes, pretty: tuple[bool, bool]) -> bytes:
    dbn = pytest.importorskip("databento_dbn")
    out = io.BytesIO()
    transcoder = dbn.Transcoder(
        out, dbn.Encoding.CSV, dbn.Compression.NONE, pretty_px=pretty[0], pretty_ts=pretty[1], map_symbols=True
    )
    transcoder.write(data)
    transcoder.flush()
    return out.getvalue()


@pytest.mark.parametrize("pretty", [(True, True), (False, False), (True, False), (False, True)])
@pytest.mark.parametrize("size", [1, 50])
def test_csv_of_the_library_gives_the_same_books(pretty: tuple[bool, bool], size: int) -> None:
    rng = random.Random(5)
    records = [mbo("R"), mbo("R", symbol="ARL", flags=SNAPSHOT)]
    records += [
        mbo(
            rng.choice("AAAAMCTR" if i % 50 == 0 else "AAAMT"), rng.choice("AB"), rng.randrange(90, 110) * 10**3,
            rng.randrange(1, 9), rng.randrange(1, 10**6), rng.choice((LAST, 0, LAST | SNAPSHOT)), i,
            rng.choice(("FROG", "ARL")),
        )
        for i in range(300)
    ]  # fmt: skip
    expected = read(*records)
    content = Content("day.csv", iter([text_of(head(schema=0) + b"".join(records), pretty)]))
    codec = detect(content.head)
    assert codec is DatabentoMboCodec
    found = join([b.decoded for b in codec.from_header(content.head, FileOptions()).batches(content, size)])
    assert [letter.offset - 1 for letter in found.refused] == [letter.offset for letter in expected.refused]
    assert reasons(found) == reasons(expected)
    assert_same_batch(replace(found.batch, offset=found.batch.offset - 1), expected.batch)


def test_line_of_csv_that_cannot_be_read_ends_the_books() -> None:
    lines = text_of(head(schema=0) + mbo("R") + mbo("A", "B", 100, 5, 1) + mbo("A", "B", 99, 5, 2), (True, True)).split(
        b"\n"
    )
    lines[2] = lines[2].replace(b",5,", b",five,", 1)
    content = Content("day.csv", iter([b"\n".join(lines)]))
    codec = DatabentoMboCodec.from_header(content.head, FileOptions())
    (batch,) = codec.batches(content, 10)
    assert [(letter.offset, letter.reason) for letter in batch.decoded.refused] == [(3, "type"), (4, "gap")]
    assert batch.decoded.batch.n_bid.tolist() == [0, 0]


def test_books_with_a_column_of_order_ids_are_books() -> None:
    header = "ts_event,action,side,price,size,order_id,flags,bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,symbol"
    found = detect(Head("ARL.csv", header.encode() + b"\n"))
    assert getattr(found, "name", None) == "databento-mbp10-csv"


def test_message_that_ends_in_the_middle_of_an_event_is_refused() -> None:
    lines = orders("FROG", T0, [(31.2, 5), (31.1, 5)], []).split(b"\n")
    for n, found in ((3, []), (2, ["truncated"]), (1, ["truncated"])):
        assert reasons(decode_in_batches(DatabentoMboCodec(), [b"\n".join(lines[:n])], 1)) == found
    nothing = lines[0].replace(b",R,", b",N,")
    assert reasons(decode_in_batches(DatabentoMboCodec(), [nothing], 1)) == ["truncated"]

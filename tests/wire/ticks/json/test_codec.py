"""Our JSON of ticks: the scanner and the reference, on good input and bad."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.core.inputs.ticks import AUCTION, BOOK, MID_EVENT, TRADE
from impactd.wire.codec import FROM_DATA, REASONS, Decoded, Limits
from impactd.wire.ticks.json.codec import JsonTickCodec
from tests.wire.helpers import T0, assert_same_batch, decode_in_batches, reasons


def book(**changes: Any) -> dict[str, Any]:
    obj = {
        "type": "book",
        "symbol": "FROG",
        "ts_event": T0,
        "ts_recv": None,
        "seq": None,
        "bids": [[31.20, 300], [31.19, 500]],
        "asks": [[31.25, 200], [31.26, 400], [31.5, 1]],
    }
    return obj | changes


def trade(**changes: Any) -> dict[str, Any]:
    return {
        "type": "trade",
        "symbol": "FROG",
        "ts_event": T0 + 5,
        "px": 31.22,
        "qty": 100,
        "aggressor": "buy",
    } | changes


def both(values: list[bytes], limits: Limits | None = None) -> Decoded:
    """Decode with the scanner and with the reference, assert that they agree, and return it."""
    fast = decode_in_batches(JsonTickCodec(limits), values, max(1, len(values)), ts_record=T0)
    slow = decode_in_batches(JsonTickCodec(limits).reference(), values, max(1, len(values)), ts_record=T0)
    assert_same_batch(fast.batch, slow.batch)
    assert fast.refused == slow.refused
    assert fast.skipped_unknown == slow.skipped_unknown
    return fast


def one(value: object) -> Decoded:
    return both([value if isinstance(value, bytes) else orjson.dumps(value)])


def test_book_as_published_gives_one_row() -> None:
    batch = one(book()).batch
    assert batch.symbols == ("FROG",)
    assert batch.kind.tolist() == [BOOK]
    assert batch.ts_event.tolist() == [T0]
    assert (batch.n_bid.tolist(), batch.n_ask.tolist()) == ([2], [3])
    assert batch.bid_px[0, :2].tolist() == [31.20, 31.19]
    assert batch.ask_sz[0].tolist() == [200.0, 400.0, 1.0]
    assert np.isnan(batch.bid_px[0, 2])
    assert np.isnan(batch.px[0])


def test_trade_as_published_gives_one_row() -> None:
    batch = one(trade()).batch
    assert batch.kind.tolist() == [TRADE]
    assert (batch.px[0], batch.qty[0], batch.aggressor[0]) == (31.22, 100.0, 1)
    assert batch.n_levels == 0


def test_array_of_ticks_gives_its_rows_in_order_under_one_offset() -> None:
    batch = both([orjson.dumps([trade(), book()]), orjson.dumps(book(symbol="ARL")), b"[]"]).batch
    assert batch.kind.tolist() == [TRADE, BOOK, BOOK]
    assert batch.offset.tolist() == [0, 0, 1]
    assert batch.symbols == ("FROG", "ARL")
    assert np.isnan(batch.bid_px[0]).all()


@pytest.mark.parametrize(
    ("aggressor", "expected"), [("buy", 1), ("sell", -1), (None, 0)], ids=["buy", "sell", "unknown"]
)
def test_trade_aggressor_is_decoded(aggressor: str | None, expected: int) -> None:
    assert one(trade(aggressor=aggressor)).batch.aggressor.tolist() == [expected]


def test_added_fields_mark_their_rows() -> None:
    assert one(book(mid_event=True)).batch.flags.tolist() == [MID_EVENT]
    assert one(book(mid_event=False)).batch.flags.tolist() == [0]
    assert one(trade(auction=True)).batch.flags.tolist() == [AUCTION]
    assert one(trade(auction=None)).batch.flags.tolist() == [0]


@pytest.mark.parametrize(
    "value",
    [
        orjson.dumps(book(colour="red", extra={"a": [1, 2]})),
        orjson.dumps(book(px="nothing", aggressor=7)),
        orjson.dumps(book(), option=orjson.OPT_INDENT_2),
        json.dumps(book()).encode(),
        orjson.dumps(dict(reversed(book().items()))),
        orjson.dumps(book(ts_event=str(T0), bids=[["31.20", "300"], ["31.19", "5e2"]])),
        orjson.dumps(book(bids=[[31.2, 300.0], [3.119e1, 500]])),
        orjson.dumps(book()).replace(b"FROG", b"FR\\u004fG"),
        orjson.dumps(book()).replace(b'"symbol":"FROG"', b'"symbol":"X","symbol":"FROG"'),
        b" " + orjson.dumps(book()) + b"\n",
    ],
    ids=["unknown", "others", "indented", "spaced", "reversed", "strings", "floats", "escape", "twice", "around"],
)
def test_book_in_another_form_is_the_same_row(value: bytes) -> None:
    decoded = one(value)
    batch = decoded.batch
    assert not decoded.refused
    assert batch.symbols == ("FROG",)
    assert batch.bid_px[0, :2].tolist() == [31.20, 31.19]
    assert batch.bid_sz[0, :2].tolist() == [300.0, 500.0]


@pytest.mark.parametrize(
    "levels",
    [
        [[31.3, 100]],
        [[0, 100]],
        [[-1.5, -200]],
        [[9223372036854775807, 100]],
        [[9999999999.0, 1]],
        [[31.2, 1], [31.3, 1]],
    ],
    ids=["crossed", "zero price", "negative", "int64 max", "nines", "unsorted"],
)
def test_book_that_is_bad_but_numeric_passes_for_the_core_to_count(levels: list[list[float]]) -> None:
    decoded = one(book(bids=levels))
    assert not decoded.refused
    assert decoded.batch.bid_px[0, : len(levels)].tolist() == [float(px) for px, _ in levels]


def test_negative_zero_becomes_zero() -> None:
    batch = both(
        [
            orjson.dumps(book(bids=[[-0.0, 0]])),
            b'{"type":"trade","symbol":"A","ts_event":1743687000125395235,"px":-0,"qty":-0.0}',
        ]
    )
    assert not np.signbit(batch.batch.bid_px[0, 0])
    assert not np.signbit(batch.batch.px[1])
    assert not np.signbit(batch.batch.qty[1])


def test_unknown_type_is_counted_and_skipped() -> None:
    decoded = both([orjson.dumps({"type": "status"}), orjson.dumps([book(), {"type": "status"}, trade()])])
    assert decoded.skipped_unknown == 2
    assert len(decoded.batch) == 2
    assert not decoded.refused


BAD = [
    (b"", "empty"),
    (orjson.dumps(book())[:-1], "truncated"),
    (orjson.dumps(book())[:40], "truncated"),
    (b"[" + orjson.dumps(book()), "truncated"),
    (b"{'type':'book'}", "json"),
    (orjson.dumps(book()) + b"x", "json"),
    (orjson.dumps(book()).replace(b"FROG", b"FR\xffG"), "json"),
    (orjson.dumps(book()).replace(b"31.19", b"031.19"), "json"),
    (orjson.dumps(book()).replace(b"31.19", b"31."), "json"),
    (orjson.dumps(book()) + b"\0", "json"),
    (orjson.dumps(book()).replace(b"31.19", b"NaN"), "missing_field"),
    (orjson.dumps(book()).replace(b"31.19", b"Infinity"), "not_finite"),
    (orjson.dumps(book()).replace(b"31.19", b"-Infinity"), "not_finite"),
    (orjson.dumps(book()).replace(b"31.19", b"1e999"), "not_finite"),
    (orjson.dumps(book()).replace(b"31.19", b'"1e999"'), "not_finite"),
    (b"7", "type"),
    (b"[[]]", "type"),
    (b"null", "type"),
    (orjson.dumps({"symbol": "FROG"}), "missing_field"),
    (orjson.dumps(book(type=7)), "type"),
    *[
        (orjson.dumps({k: v for k, v in book().items() if k != name}), "missing_field")
        for name in ("symbol", "ts_event", "bids", "asks")
    ],
    *[(orjson.dumps({k: v for k, v in trade().items() if k != name}), "missing_field") for name in ("px", "qty")],
    (orjson.dumps(book(symbol="")), "value"),
    (orjson.dumps(book(symbol="A" * 33)), "value"),
    (orjson.dumps(book(symbol="A\nB")), "value"),
    (orjson.dumps(book(symbol="A\x7fB")), "value"),
    (orjson.dumps(book(symbol=7)), "type"),
    (orjson.dumps(book(ts_event=0)), "value"),
    (orjson.dumps(book(ts_event=-5)), "value"),
    (orjson.dumps(book(ts_event=2**63)), "value"),
    (orjson.dumps(book(ts_event=1.5e18)), "type"),
    (orjson.dumps(book(ts_event=True)), "type"),
    (orjson.dumps(book(ts_event="1e18")), "type"),
    (orjson.dumps(book(ts_event="01")), "type"),
    (orjson.dumps(book(ts_recv="soon")), "type"),
    (orjson.dumps(book(bids={})), "type"),
    (orjson.dumps(book(bids=[[31.2]])), "type"),
    (orjson.dumps(book(bids=[[31.2, 1, 1]])), "type"),
    (orjson.dumps(book(bids=[31.2, 1])), "type"),
    (orjson.dumps(book(bids=[[True, 1]])), "type"),
    (orjson.dumps(book(bids=[[None, 1]])), "missing_field"),
    (orjson.dumps(book(bids=[[None, False]])), "missing_field"),
    (orjson.dumps(book(bids=[["0x1F", 1]])), "type"),
    (orjson.dumps(book(bids=[[" 1", 1]])), "type"),
    (orjson.dumps(book(bids=[["1_0", 1]])), "type"),
    (orjson.dumps(book(bids=[["nan", 1]])), "type"),
    (orjson.dumps(book(bids=[["1" * 41, 1]])), "type"),
    (orjson.dumps(book(bids=[[i, 1] for i in range(101, 0, -1)])), "too_deep"),
    (orjson.dumps(book(mid_event="yes")), "type"),
    (orjson.dumps(trade(qty=-1)), "value"),
    (orjson.dumps(trade(qty=False)), "type"),
    (orjson.dumps(trade(qty=9999999999)), "sentinel"),
    (orjson.dumps(trade(qty=2**63 - 1)), "sentinel"),
    (orjson.dumps(trade(px=None)), "missing_field"),
    (orjson.dumps(trade(aggressor="B")), "value"),
    (orjson.dumps(trade(aggressor=1)), "type"),
    (orjson.dumps(trade(auction=1)), "type"),
    (orjson.dumps([book(), trade(qty=-1)]), "value"),
    (b"[" * 2000, "json"),
]


@pytest.mark.parametrize("blank", [b"null", b"NaN"])
def test_blank_levels_and_optional_fields_are_absent(blank: bytes) -> None:
    padded = b"[[31.2,300],[31.19,500],[%b,%b],[%b,0]]" % (blank, blank, blank)
    value = orjson.dumps(book()).replace(b"[[31.2,300],[31.19,500]]", padded).replace(b"null", blank)
    decoded = one(value)
    assert not decoded.refused
    assert_same_batch(decoded.batch, one(book()).batch)
    assert one(orjson.dumps(trade(aggressor=None)).replace(b"null", blank)).batch.aggressor.tolist() == [0]


@pytest.mark.parametrize(("value", "reason"), BAD, ids=[f"{i}-{reason}" for i, (_, reason) in enumerate(BAD)])
def test_bad_record_is_refused_with_reason_and_original_bytes(value: bytes, reason: str) -> None:
    good = orjson.dumps(book())
    decoded = both([good, value, good])
    assert reasons(decoded) == [reason]
    assert reason in REASONS
    refused = decoded.refused[0]
    assert (refused.offset, refused.raw, refused.codec, refused.ts_record) == (1, value, "json", T0)
    assert 0 < len(refused.detail) <= 200
    assert decoded.batch.offset.tolist() == [0, 2]


def test_array_with_one_bad_element_is_refused_whole_and_names_it() -> None:
    decoded = one([book(), book(bids=[["x", 1]])])
    assert len(decoded.batch) == 0
    assert decoded.refused[0].detail.startswith("element 1: bids: 'x'")


def test_time_from_data_is_the_latest_of_the_record_floored_to_milliseconds() -> None:
    values = [
        orjson.dumps(book(ts_recv=T0 + 3_000_000)),
        orjson.dumps([trade(), book(ts_recv=T0 + 9_000_000), book()]),
        orjson.dumps(book()),
    ]
    batch = decode_in_batches(JsonTickCodec(), values, 3, ts_record=FROM_DATA).batch
    base = T0 // 1_000_000 * 1_000_000
    assert batch.ts_record.tolist() == [base + 3_000_000, *[base + 9_000_000] * 3, base]


def test_scanner_takes_the_published_form_and_nothing_is_left() -> None:
    values = [orjson.dumps(x) for x in (book(), trade(), [book(), trade(auction=True)], book(symbol="B" * 32))]
    _, left = JsonTickCodec()._scanner.scan(values)
    assert left == []


def test_scanner_grows_with_rows_levels_and_symbols() -> None:
    rng = random.Random(3)
    values = [
        orjson.dumps(
            [
                book(
                    symbol=f"S{rng.randrange(300)}",
                    bids=[[100 - k, k] for k in range(rng.choice([0, 1, 12, 40, 100]))],
                )
                for _ in range(rng.randrange(9))
            ]
        )
        for _ in range(200)
    ]
    decoded = both(values)
    assert decoded.batch.n_levels == 100


def test_symbol_cache_full_changes_speed_only() -> None:
    codec = JsonTickCodec()
    values = [orjson.dumps(trade(symbol=f"S{i}")) for i in range(9_000)]
    for _ in range(2):
        decoded = decode_in_batches(codec, values, 3_000)
        assert decoded.batch.symbols == tuple(f"S{i}" for i in range(9_000))


numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**64), 2**64),
    st.decimals(-1000, 1000, allow_nan=False, places=4).map(float),
    st.decimals(-1000, 1000, allow_nan=False, places=9).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(numbers, numbers), max_size=12))
def test_scanner_numbers_are_the_reference_bits(levels: list[tuple[Any, Any]]) -> None:
    one(json.dumps(book(bids=[list(level) for level in levels])).encode())


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123456789.-+eE", max_size=24), st.text(alphabet="0123456789.-", max_size=24))
def test_scanner_number_texts_are_the_reference_bits(px: str, sz: str) -> None:
    one(b'{"type":"book","symbol":"A","ts_event":%d,"bids":[[%b,%b]],"asks":[]}' % (T0, px.encode(), sz.encode()))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "type": st.sampled_from(["book", "trade", "other", None, 1]),
                "symbol": st.one_of(st.text(max_size=34), st.sampled_from(["FROG", "ARL"])),
                "ts_event": st.one_of(st.integers(-1, 2**64 - 1), st.integers(0, 2**63).map(str), st.none()),
                "ts_recv": st.one_of(st.none(), st.integers(0, 2**63)),
                "seq": st.one_of(st.none(), st.integers(0, 10**18), st.text(max_size=2)),
                "bids": st.one_of(st.lists(st.tuples(numbers, numbers), max_size=3), st.none()),
                "asks": st.lists(st.tuples(numbers, numbers), max_size=3),
                "px": numbers,
                "qty": numbers,
                "aggressor": st.sampled_from(["buy", "sell", None, "BUY", True]),
                "auction": st.sampled_from([True, False, None, "true", 1]),
                "mid_event": st.sampled_from([True, False, None, "true", 0]),
            },
        ),
        max_size=4,
    ),
    st.booleans(),
)
def test_scanner_objects_are_the_reference_rows(objects: list[dict[str, Any]], compact: bool) -> None:  # noqa: FBT001  # hypothesis gives it by position
    separators = (",", ":") if compact else None
    both([json.dumps(obj, separators=separators).encode() for obj in objects])
    one(json.dumps(objects, separators=separators).encode())


def mutated(rng: random.Random, value: bytes) -> bytes:
    data = bytearray(value)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del data[at : at + rng.randrange(1, 8)]
            case 2:
                data[at:at] = rng.choice(
                    (b'"', b"[", b"]", b"{", b"}", b",", b":", b"-", b".", b"e", b"0", b" ", b"\0")
                )
            case 3:
                data[at : at + 1] = rng.choice((b"NaN", b"null", b"true", b"1e5", b"-0", b"99999999999999999999"))
            case 4:
                del data[at:]
            case _:
                other = rng.randrange(len(data) + 1)
                data[at:at] = data[other : other + rng.randrange(1, 30)]
    return bytes(data)


def test_mutated_messages_are_all_answered_and_leave_the_good_ones_alone() -> None:
    rng = random.Random(20250403)
    seeds = [
        orjson.dumps(x)
        for x in (book(), trade(), [book(), trade()], book(mid_event=True), trade(auction=False), book(symbol="ARL"))
    ]
    values = []
    for _ in range(10_000):
        values += [mutated(rng, rng.choice(seeds)), rng.choice(seeds)]
    fast = decode_in_batches(JsonTickCodec(), values, 997, ts_record=T0)
    slow = decode_in_batches(JsonTickCodec().reference(), values, len(values), ts_record=T0)
    assert_same_batch(fast.batch, slow.batch)
    assert fast.refused == slow.refused
    good = np.unique(fast.batch.offset[fast.batch.offset % 2 == 1])
    assert len(good) == 10_000
    assert {refused.reason for refused in fast.refused} <= REASONS.keys()

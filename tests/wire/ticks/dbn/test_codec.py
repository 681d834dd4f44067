"""DBN: its rules one by one, cut and damaged streams, and what a head says."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from impactd.core.inputs.ticks import AUCTION, BOOK, MID_EVENT, TRADE
from impactd.wire.codec import REASONS, Decoded
from impactd.wire.content import Content, Head
from impactd.wire.decoder import join
from impactd.wire.tick_codec import FileFormatError, FileOptions
from impactd.wire.ticks.dbn.codec import DbnCodec
from tests.checks.codec_checks import bad_records
from tests.wire.helpers import T0, decode_in_batches, reasons
from tests.wire.ticks.dbn.samples import IDS, SAMPLES, head, record

FROG, ARL = IDS["FROG"], IDS["ARL"]
BIDS = [(31.2, 300.0), (31.19, 500.0)]
ASKS = [(31.25, 200.0)]


def read(data: bytes, symbol: str | None = None, batch_rows: int = 1_000, pieces: int = 1 << 20) -> Decoded:
    content = Content("day.dbn", iter([data[i : i + pieces] for i in range(0, len(data), pieces)]))
    return join([batch.decoded for batch in DbnCodec(symbol=symbol).batches(content, batch_rows)])


def message(*records: bytes, key: bytes | None = b"FROG") -> Decoded:
    return DbnCodec().decode_columns([b"".join(records)], [3], [T0], [key])


def mapping_record(number: int, symbol: str, *, version: int) -> bytes:
    width, lead = (22, b"") if version == 1 else (71, b"\x01")
    body = (lead + b"requested".ljust(width, b"\0")) + (lead + symbol.encode().ljust(width, b"\0"))
    body += b"\0" * (4 if version == 1 else 0) + bytes(16)
    return bytes([(16 + len(body)) // 4, 22, 0, 0]) + number.to_bytes(4, "little") + T0.to_bytes(8, "little") + body


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_is_read(version: int) -> None:
    decoded = read(head(version=version) + record(FROG, T0, BIDS, ASKS))
    assert not decoded.refused
    assert decoded.batch.symbols == ("FROG",)
    assert decoded.batch.bid_px.tolist() == [[31.2, 31.19]]


def test_version_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(FileFormatError, match="version 9"):
        DbnCodec.from_header(Head("day.dbn", b"DBN\x09" + bytes(200)), FileOptions())


@pytest.mark.parametrize("schema", [5, 10])
def test_schema_without_books_and_trades_is_refused(schema: int) -> None:
    with pytest.raises(FileFormatError, match="mbp-10"):
        DbnCodec.from_header(Head("day.dbn", head(schema=schema)), FileOptions())


def test_print_gives_the_trade_and_then_its_book() -> None:
    batch = message(record(FROG, T0, BIDS, ASKS, action="T", side="A", px=31.2, size=40)).batch
    assert batch.kind.tolist() == [TRADE, BOOK]
    assert (batch.px[0], batch.qty[0], batch.aggressor[0]) == (31.2, 40.0, -1)


@pytest.mark.parametrize(("schema", "rtype"), [(3, 1), (17, 194)])
def test_book_before_its_trade_comes_first_and_prevails(schema: int, rtype: int) -> None:
    data = record(FROG, T0, BIDS, ASKS, action="T", px=31.25, rtype=rtype, n_levels=1, flags=0)
    batch = read(head(schema=schema) + data).batch
    assert (batch.kind.tolist(), batch.flags.tolist()) == ([BOOK, TRADE], [0, 0])


def test_heads_of_messages_are_read_each_by_its_own() -> None:
    data = record(FROG, T0, BIDS, ASKS, action="T", px=31.25, rtype=1, n_levels=1, flags=0)
    values = [head(schema=1) + data, head(schema=3) + data, head(ids={"ARL": FROG}) + data]
    decoded = decode_in_batches(DbnCodec(), values, 3, T0)
    assert decoded.batch.kind.tolist() == [TRADE, BOOK, BOOK, TRADE, TRADE, BOOK]
    assert decoded.batch.flags.tolist() == [0, MID_EVENT, 0, 0, 0, MID_EVENT]
    assert [decoded.batch.symbols[code] for code in decoded.batch.symbol] == ["FROG"] * 4 + ["ARL"] * 2


def test_sampled_book_is_that_of_the_end_of_its_interval() -> None:
    data = record(FROG, T0, BIDS, ASKS, rtype=195, n_levels=1, flags=0, ts_recv=T0 + 10**9)
    batch = message(data).batch
    assert (batch.kind.tolist(), batch.flags.tolist(), batch.ts_event.tolist()) == ([BOOK], [0], [T0 + 10**9])


def test_sampled_book_without_a_last_trade_is_read() -> None:
    assert len(message(record(FROG, 2**64 - 1, BIDS, ASKS, rtype=196, n_levels=1, ts_recv=T0)).batch) == 1


def test_trade_without_a_book_is_a_trade_alone() -> None:
    batch = message(record(FROG, T0, action="T", side="N", px=31.0, size=10**6, rtype=0, n_levels=0, flags=0)).batch
    assert (batch.kind.tolist(), batch.flags.tolist()) == ([TRADE], [0])


def test_cross_is_an_auction_print() -> None:
    data = record(FROG, T0, BIDS, ASKS, action="T", side="N", px=31.0, size=1_001, flags=0)
    assert message(data).batch.flags.tolist() == [AUCTION, MID_EVENT]


def test_clear_is_an_empty_book() -> None:
    batch = message(record(FROG, T0, BIDS, ASKS, action="R", side="N", flags=0)).batch
    assert (batch.n_bid.tolist(), batch.flags.tolist(), batch.n_levels) == ([0], [0], 0)


def test_price_beyond_the_integers_of_float64_is_the_nearest() -> None:
    data = bytearray(record(FROG, T0, BIDS))
    data[48:56] = (140_123_456_789_012_345).to_bytes(8, "little")
    assert message(bytes(data)).batch.bid_px[0, 0] == 140123456.789012345


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"action": "Z"}, "value"),
        ({"side": "X"}, "value"),
        ({"action": "T", "px": None}, "missing_field"),
        ({"action": "T", "px": 31.0, "size": 2**32 - 1}, "sentinel"),
    ],
)
def test_impossible_field_is_refused(change: dict[str, object], reason: str) -> None:
    good, bad = record(FROG, T0, BIDS, ASKS), record(FROG, T0, BIDS, ASKS, **change)  # type: ignore[arg-type]  # a table
    assert reasons(message(good, bad)) == [reason]
    assert not len(message(good, bad).batch), "the message is refused whole"
    decoded = read(head() + good + bad + good)
    assert (reasons(decoded), len(decoded.batch)) == ([reason], 2)
    assert decoded.refused[0].raw == bad


def test_undefined_time_is_refused() -> None:
    assert reasons(message(record(FROG, 2**64 - 1, BIDS, ASKS, ts_recv=T0))) == ["value"]


def test_message_of_several_instruments_under_one_key_is_refused() -> None:
    decoded = message(record(FROG, T0, BIDS), record(ARL, T0, BIDS))
    assert reasons(decoded) == ["value"]
    assert str(ARL) in decoded.refused[0].detail


def test_file_without_symbols_takes_one_name_for_one_instrument() -> None:
    data = head(ids={}) + record(FROG, T0, BIDS) + record(ARL, T0, BIDS) + record(FROG, T0 + 1, BIDS)
    for batch_rows in (1, 10):
        decoded = read(data, "MINE", batch_rows)
        assert (decoded.batch.symbols, len(decoded.batch), reasons(decoded)) == (("MINE",), 2, ["value"])
    assert reasons(read(data)) == ["missing_field"] * 3


def test_name_of_one_instrument_is_never_given_to_another() -> None:
    decoded = read(head(ids={"FROG": FROG}) + record(ARL, T0, BIDS) + record(FROG, T0, BIDS), "FROG")
    assert (decoded.batch.symbols, reasons(decoded)) == (("FROG",), ["missing_field"])


def test_instruments_of_a_parent_keep_their_own_books() -> None:
    data = _head_of([("ES.FUT", FROG), ("ES.FUT", ARL)]) + record(FROG, T0, BIDS) + record(ARL, T0, BIDS)
    assert read(data).batch.symbols == (f"ES.FUT#{FROG}", f"ES.FUT#{ARL}")


@pytest.mark.parametrize("number", [-1, 2**32, 10**20])
def test_instrument_id_of_a_head_that_no_record_can_have_is_refused(number: int) -> None:
    value = head(ids={"FROG": number}) + record(FROG, T0, BIDS)
    assert reasons(message(value)) == ["value"]
    assert reasons(read(value)) == ["value"]


def test_dates_beyond_64_bits_are_for_ever() -> None:
    decoded = read(_head_of_intervals([("FROG", FROG, 10101, 99991231)]) + record(FROG, T0, BIDS))
    assert (decoded.batch.symbols, decoded.refused) == (("FROG",), [])


def test_symbol_follows_the_day() -> None:
    day = 86_400_000_000_000
    noon = 20_000 * day + day // 2  # 2024-10-04
    intervals = [("FROG", FROG, 20241004, 20241005), ("ARL", FROG, 20241005, 20241006)]
    data = _head_of_intervals(intervals) + b"".join(record(FROG, noon + i * day, BIDS) for i in range(3))
    decoded = read(data)
    assert [decoded.batch.symbols[code] for code in decoded.batch.symbol] == ["FROG", "ARL"]
    assert reasons(decoded) == ["missing_field"]


def test_second_venue_of_a_symbol_is_refused() -> None:
    data = head() + b"".join(record(FROG, T0 + i, BIDS, publisher=p) for i, p in enumerate((2, 3, 2)))
    for batch_rows in (1, 10):
        decoded = read(data, batch_rows=batch_rows)
        assert (reasons(decoded), len(decoded.batch)) == (["publisher"], 2)
        assert "publisher_id: 3" in decoded.refused[0].detail


@pytest.mark.parametrize("version", [1, 3])
def test_mapping_in_the_stream_holds_from_there_on(version: int) -> None:
    data = head(schema=0xFFFF, version=version, ids={})
    for i, symbol in enumerate(("ESM5", "ESU5")):
        data += mapping_record(9, symbol, version=version) + record(9, T0 + i, BIDS)
    for batch_rows in (1, 10):
        decoded = read(data, batch_rows=batch_rows)
        assert not decoded.refused
        assert not decoded.skipped_unknown
        assert [decoded.batch.symbols[code] for code in decoded.batch.symbol] == ["ESM5", "ESU5"]


def test_other_records_are_counted_and_skipped() -> None:
    status = record(FROG, T0, rtype=24, n_levels=0)
    decoded = read(head() + status + record(FROG, T0, BIDS) + status)
    assert (len(decoded.batch), decoded.skipped_unknown, decoded.batch.offset.tolist()) == (1, 2, [2])


def test_every_cut_of_a_file_is_answered() -> None:
    whole = head() + record(FROG, T0, BIDS, ASKS) + record(FROG, T0 + 1, BIDS, ASKS, rtype=1, n_levels=1)
    ends = {len(head()), len(head()) + 368, len(whole)}
    for cut in range(1, len(whole) + 1):
        decoded = read(whole[:cut])
        assert reasons(decoded) in ([], ["truncated"], ["value"])
        assert (not decoded.refused) == (cut in ends)
        assert len(decoded.batch) == sum(cut >= end for end in sorted(ends)[1:])


def test_damaged_length_ends_the_file_with_a_refusal() -> None:
    good = record(FROG, T0, BIDS)
    decoded = read(head() + good + b"\x00" + good[1:] + good)
    assert (len(decoded.batch), reasons(decoded)) == (1, ["value"])


def test_damaged_files_are_answered_the_same_in_any_pieces() -> None:
    rng = random.Random(5)
    for _ in range(300):
        data = bytearray(head(schema=0xFFFF) + b"".join(_some(rng) for _ in range(4)))
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(3, len(data))] = rng.randrange(256)
        parts = [read(bytes(data), "X", *sizes) for sizes in ((1_000, 1 << 20), (1, 100))]
        assert {letter.reason for letter in parts[0].refused} <= set(REASONS)
        assert parts[0].refused == parts[1].refused
        np.testing.assert_array_equal(parts[0].batch.bid_px, parts[1].batch.bid_px)


def test_every_damaged_message_is_answered() -> None:
    values = bad_records(SAMPLES["dbn"], 20_000)
    decoded = decode_in_batches(DbnCodec(), values, 1_000)
    answered = {letter.offset for letter in decoded.refused} | set(decoded.batch.offset.tolist())
    for i in set(range(len(values))) - answered:
        assert decode_in_batches(DbnCodec(), [values[i]], 1).skipped_unknown


def _some(rng: random.Random) -> bytes:
    rtype, levels = rng.choice(((0, 0), (1, 1), (10, 10), (177, 1), (192, 1), (194, 1), (195, 1), (18, 0)))
    return record(rng.choice(list(IDS.values())), T0, BIDS, ASKS, action="T", px=31.0, rtype=rtype, n_levels=levels)


def _head_of(ids: Sequence[tuple[str, int]]) -> bytes:
    return _head_of_intervals([(name, number, 19700101, 22600101) for name, number in ids])


def _head_of_intervals(intervals: Sequence[tuple[str, int, int, int]]) -> bytes:
    base = head(ids={})
    body = base[8:-4] + len(intervals).to_bytes(4, "little")
    for name, number, start, end in intervals:
        body += name.encode().ljust(71, b"\0") + (1).to_bytes(4, "little")
        body += start.to_bytes(4, "little") + end.to_bytes(4, "little") + str(number).encode().ljust(71, b"\0")
    return base[:4] + len(body).to_bytes(4, "little") + body

"""What every codec of ticks promises (`impactd.wire.tick_codec`), whatever its encoding.

A check takes a codec's name and its samples, and raises AssertionError. The test that runs them takes every codec from
the registry, so that a new one is checked without a line here.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable

import numpy as np

from impactd.core.inputs.ticks import BOOK, TRADE
from impactd.wire.codec import FROM_DATA, REASONS, Decoded, Limits
from impactd.wire.content import Content
from impactd.wire.decoder import join
from impactd.wire.fields import FieldError
from impactd.wire.registry import CODECS, detect
from impactd.wire.tick_codec import TickCodec
from tests.checks.codec_samples import CodecSamples
from tests.wire.helpers import T0, assert_same_batch, decode_in_batches

BIDS = [(31.2, 300.0), (31.19, 500.5)]
ASKS = [(31.25, 200.0)]


def good_records(samples: CodecSamples, n: int = 60) -> list[bytes]:
    """Return `n` good records of two symbols at least, all forms that there are."""
    rng = random.Random(n)
    made: list[bytes] = []
    for i in range(n):
        symbol = rng.choice(("FROG", "ARL", "BTC-USDT"))
        bids = [(round(31.0 - 0.01 * k, 2), float(rng.randrange(1, 900))) for k in range(rng.randrange(5))]
        asks = [(round(31.1 + 0.01 * k, 2), float(rng.randrange(1, 900))) for k in range(rng.randrange(5))]
        made.append(samples.book(symbol, T0 + i, bids, asks))
        if samples.trade is not None and i % 3 == 0:
            made.append(samples.trade(symbol, T0 + i, 31.05, float(rng.randrange(1, 90))))
        if i % 10 == 0:
            made += samples.more(symbol, T0 + i)
    return made


def bad_records(samples: CodecSamples, n: int = 400) -> list[bytes]:
    """Return records that were good before their bytes were changed, and some that never were."""
    rng = random.Random(n)
    seeds = good_records(samples, 12)
    made = [b"", b"\x00", b"\xff\xfe", b"{", b"[]", b",", b"," * 200, b"NaN", b"null", b"-" * 50, rng.randbytes(300)]
    while len(made) < n:
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data))
            match rng.randrange(4):
                case 0:
                    data[at] = rng.randrange(256)
                case 1:
                    del data[at:]
                    data += b"1"
                case 2:
                    del data[at : at + rng.randrange(1, 9)]
                    data += b"1"
                case _:
                    data[at:at] = rng.choice((b"-", b"1e999", b"NaN", b"9223372036854775807", b",", b'"', b"0" * 30))
        made.append(bytes(data))
    return made


def _decode(codec: TickCodec, values: list[bytes], size: int | None = None) -> Decoded:
    return decode_in_batches(codec, values, size or max(1, len(values)), T0)


def check_name(name: str, samples: CodecSamples) -> None:
    assert CODECS.get(name).name == name
    assert samples.codec(name).name == name
    CODECS.get(name)(Limits())


def check_book_gives_its_levels(name: str, samples: CodecSamples) -> None:
    bids = [(px, float(int(sz))) for px, sz in BIDS] if samples.whole_sizes else BIDS
    decoded = _decode(samples.codec(name), [samples.book("FROG", T0, bids, ASKS)])
    batch = decoded.batch
    assert not decoded.refused
    assert (batch.symbols, batch.kind.tolist(), batch.ts_event.tolist()) == (("FROG",), [BOOK], [T0])
    assert list(zip(batch.bid_px[0].tolist(), batch.bid_sz[0].tolist(), strict=True)) == bids
    assert (batch.ask_px[0, 0], batch.ask_sz[0, 0], batch.n_ask[0]) == (31.25, 200.0, 1)
    assert np.isnan([batch.ask_px[0, 1], batch.ask_sz[0, 1], batch.px[0], batch.qty[0]]).all()


def check_empty_side_is_empty(name: str, samples: CodecSamples) -> None:
    batch = _decode(samples.codec(name), [samples.book("FROG", T0, BIDS, [])]).batch
    assert (batch.n_bid.tolist(), batch.n_ask.tolist()) == ([2], [0])


def check_trade_gives_its_print(name: str, samples: CodecSamples) -> None:
    if samples.trade is None:
        return
    batch = _decode(samples.codec(name), [samples.trade("FROG", T0, 31.05, 40.0)]).batch
    rows = batch.take(batch.kind == TRADE)
    assert (rows.px.tolist(), rows.qty.tolist(), rows.ts_event.tolist()) == ([31.05], [40.0], [T0])


def check_rows_are_in_form(name: str, samples: CodecSamples) -> None:
    values = good_records(samples)
    decoded = _decode(samples.codec(name), values)
    batch = decoded.batch
    assert not decoded.refused
    assert np.array_equal(np.unique(batch.offset), np.arange(len(values)))
    assert (np.diff(batch.offset) >= 0).all()
    assert (batch.ts_record == T0).all()
    first = [batch.symbols[code] for code in dict.fromkeys(batch.symbol.tolist())]
    assert tuple(first) == batch.symbols, "symbols are in the order in which the rows name them, and all are named"
    for column, count in ((batch.bid_px, batch.n_bid), (batch.ask_sz, batch.n_ask)):
        assert column.flags.c_contiguous
        beyond = np.arange(batch.n_levels) >= count[:, None]
        assert np.isnan(column[beyond]).all()
        assert not np.signbit(column[~beyond]).any()


def check_batching_changes_nothing(name: str, samples: CodecSamples) -> None:
    values = [value for pair in zip(good_records(samples), bad_records(samples), strict=False) for value in pair]
    whole = _decode(samples.codec(name).reference(), values)
    for size in (1, 7, len(values)):
        found = _decode(samples.codec(name), values, size)
        assert_same_batch(found.batch, whole.batch)
        assert found.refused == whole.refused
        assert found.skipped_unknown == whole.skipped_unknown


def check_what_was_decoded_before_does_not_show(name: str, samples: CodecSamples) -> None:
    values = good_records(samples)
    used = samples.codec(name)
    _decode(used, [*reversed(values), *bad_records(samples)])
    assert_same_batch(_decode(used, values).batch, _decode(samples.codec(name), values).batch)


def check_bad_records_are_refused_whole(name: str, samples: CodecSamples) -> None:
    values = bad_records(samples)
    decoded = decode_in_batches(samples.codec(name), values, 50)
    assert len(decoded.refused) > len(values) // 4
    assert {letter.reason for letter in decoded.refused} <= set(REASONS)
    refused = [letter.offset for letter in decoded.refused]
    assert sorted(set(refused)) == refused, "a record is refused once, in its place"
    assert not np.isin(decoded.batch.offset, refused).any()
    for letter in decoded.refused:
        assert (letter.raw, letter.codec) == (values[letter.offset], name)
        assert 0 < len(letter.detail) <= 200


def check_record_over_the_limit_is_refused(name: str, samples: CodecSamples) -> None:
    value = samples.book("FROG", T0, BIDS, ASKS)
    for limit, reasons in ((len(value) - 1, ["too_large"]), (len(value), [])):
        codec = samples.codec(name, Limits(max_message_bytes=limit))
        for one in (codec, codec.reference()):
            assert [letter.reason for letter in _decode(one, [value]).refused] == reasons


def check_levels_over_the_limit_are_never_cut_off(name: str, samples: CodecSamples) -> None:
    """They are refused here, or left whole for the core to reject."""
    decoded = _decode(samples.codec(name, Limits(max_levels=1)), [samples.book("FROG", T0, BIDS, ASKS)])
    assert [letter.reason for letter in decoded.refused] == ["too_deep"] or decoded.batch.n_bid.tolist() == [2]


def check_file_is_recognised_and_gives_the_same_rows(name: str, samples: CodecSamples) -> None:
    values = good_records(samples)
    for pieces in (1, 100, 1 << 20):
        data = samples.file(values)
        content = Content(samples.file_name, iter([data[i : i + pieces] for i in range(0, len(data), pieces)]))
        found = detect(content.head)
        assert found is CODECS.get(name)
        batches = list(samples.codec(name).batches(content, 17))
        decoded = join([batch.decoded for batch in batches])
        offsets = np.concatenate([batch.offsets for batch in batches])
        assert (np.diff(offsets) > 0).all()
        assert not decoded.refused
        rows = decode_in_batches(samples.codec(name), values, len(values), FROM_DATA).batch
        np.testing.assert_array_equal(decoded.batch.bid_px, rows.bid_px)
        np.testing.assert_array_equal(decoded.batch.ts_record, rows.ts_record)
        assert decoded.batch.symbols == rows.symbols


def check_last_line_needs_no_end(name: str, samples: CodecSamples) -> None:
    values = good_records(samples)
    data = samples.file(values)
    found = [
        join([batch.decoded for batch in samples.codec(name).batches(Content(samples.file_name, iter([part])), 17)])
        for part in (data, data.removesuffix(b"\n"))
    ]
    assert [decoded.refused for decoded in found] == [[], []]
    assert_same_batch(found[1].batch, found[0].batch)


def check_what_is_refused_is_not_held(name: str, samples: CodecSamples) -> None:
    """Errors that were raised refer to frames: one that a frame keeps holds every record of the call."""
    decoder, values = samples.codec(name), bad_records(samples, 40)
    gc.collect()
    gc.disable()
    try:
        assert decoder.decode_columns(values, range(len(values)), [T0] * len(values)).refused
        held = [found for found in gc.get_objects() if isinstance(found, FieldError)]
    finally:
        gc.enable()
    assert held == []


def check_key_travels_with_what_is_refused(name: str, samples: CodecSamples) -> None:
    decoded = samples.codec(name).decode_columns([b"\x00"], [7], [T0], [b"FROG"])
    assert [(letter.key, letter.offset, letter.ts_record) for letter in decoded.refused] == [(b"FROG", 7, T0)]


CHECKS: tuple[Callable[[str, CodecSamples], None], ...] = (
    check_name,
    check_book_gives_its_levels,
    check_empty_side_is_empty,
    check_trade_gives_its_print,
    check_rows_are_in_form,
    check_batching_changes_nothing,
    check_what_was_decoded_before_does_not_show,
    check_bad_records_are_refused_whole,
    check_record_over_the_limit_is_refused,
    check_levels_over_the_limit_are_never_cut_off,
    check_file_is_recognised_and_gives_the_same_rows,
    check_last_line_needs_no_end,
    check_key_travels_with_what_is_refused,
    check_what_is_refused_is_not_held,
)

"""Codecs by name, a record at a time."""

from __future__ import annotations

import orjson
import pytest

from impactd.wire.registry import CODEC_NAMES, TickDecoder, UnknownCodecError, make_codec
from impactd.wire.ticks.databento.columns import MBP10_HEADER
from tests.wire.helpers import T0, assert_same_batch

TRADE = orjson.dumps({"type": "trade", "symbol": "FROG", "ts_event": T0, "px": 31.2, "qty": 5})
LONG = b"%d,bid,31.2,300,0" % T0


def test_every_codec_has_its_name() -> None:
    assert [make_codec(name).name for name in CODEC_NAMES] == list(CODEC_NAMES)


def test_unknown_codec_name_is_an_error_that_names_the_others() -> None:
    with pytest.raises(UnknownCodecError, match="'avro' does not exist; choose one of json"):
        make_codec("avro")
    with pytest.raises(UnknownCodecError):
        TickDecoder("avro")


def test_header_chooses_the_codec_and_an_unknown_one_refuses_the_record() -> None:
    row = dict.fromkeys(MBP10_HEADER.split(","), "0") | {
        "ts_recv": str(T0), "ts_event": str(T0), "action": "A", "side": "N", "flags": "128", "symbol": "ARL"
    }  # fmt: skip
    values = [TRADE, ",".join(row.values()).encode(), b"\x00avro", TRADE, b"{"]
    headers = [None, "databento-mbp10-csv", "avro", "json", None]
    decoded = TickDecoder().decode_columns(values, range(5), [T0] * 5, [b"k"] * 5, headers)
    assert decoded.batch.offset.tolist() == [0, 1, 3]
    assert decoded.batch.symbols == ("FROG", "ARL")
    assert [(r.offset, r.reason, r.codec) for r in decoded.refused] == [
        (2, "unknown_codec", "avro"),
        (4, "truncated", "json"),
    ]
    assert decoded.refused[0].key == b"k"
    assert decoded.refused[0].raw == b"\x00avro"


def test_headers_that_name_nothing_mean_the_default() -> None:
    with_headers = TickDecoder().decode_columns([TRADE] * 3, range(3), [T0] * 3, None, [None] * 3)
    assert_same_batch(with_headers.batch, TickDecoder().decode_columns([TRADE] * 3, range(3), [T0] * 3).batch)

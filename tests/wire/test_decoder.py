"""Records of several codecs in one batch."""

from __future__ import annotations

import pytest

from impactd.core.base.registry import UnknownNameError
from impactd.wire.decoder import TickDecoder
from impactd.wire.registry import CODECS
from tests.checks.codec_samples import samples_of
from tests.wire.helpers import T0, assert_same_batch
from tests.wire.ticks.json.samples import trade

TRADE = trade("FROG", T0, 31.2, 5)


def test_unknown_default_is_an_error_that_names_the_codecs() -> None:
    with pytest.raises(UnknownNameError, match="'avro' does not exist; choose one of ") as raised:
        TickDecoder("avro")
    assert all(name in str(raised.value) for name in CODECS.names())


def test_header_chooses_the_codec_and_an_unknown_one_refuses_the_record() -> None:
    row = samples_of("databento-mbp10-csv").book("ARL", T0, [(1.0, 2.0)], [])
    values = [TRADE, row, b"\x00avro", TRADE, b"{"]
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

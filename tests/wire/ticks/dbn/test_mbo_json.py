"""MBO as JSON gives what the same orders give as CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from impactd.shell.recorded import read_ticks
from tests.wire.helpers import T0
from tests.wire.ticks.dbn.samples import HEADER, json_order_trade, json_orders, order_trade, orders

BIDS = [(31.2, 300.0), (31.19, 500.0)]
ASKS = [(31.25, 200.0)]


def day(*, as_json: bool) -> bytes:
    book, print_ = (json_orders, json_order_trade) if as_json else (orders, order_trade)
    records = [
        book("FROG", T0, BIDS, ASKS),
        print_("FROG", T0 + 1_000, 31.25, 10),
        book("FROG", T0 + 2_000, BIDS[:1], ASKS),
    ]
    return b"\n".join(records) + b"\n"


@pytest.mark.parametrize("batch_rows", [1, 2, 1_000])
def test_file_gives_the_rows_of_the_same_orders_as_csv(batch_rows: int, tmp_path: Path) -> None:
    (tmp_path / "day.json").write_bytes(day(as_json=True))
    (tmp_path / "day.csv").write_bytes(HEADER.encode() + b"\n" + day(as_json=False))
    found, expected = (list(read_ticks(tmp_path / name, batch_rows=batch_rows)) for name in ("day.json", "day.csv"))
    for one, other in zip(found, expected, strict=True):
        assert not one.refused
        for name in ("ts_event", "bid_px", "bid_sz", "ask_px", "ask_sz", "px", "qty", "kind"):
            np.testing.assert_array_equal(getattr(one.batch, name), getattr(other.batch, name))


def test_refused_record_keeps_its_bytes(tmp_path: Path) -> None:
    bad = day(as_json=True).split(b"\n")[1].replace(b'"flags":0', b'"flags":-1')
    (tmp_path / "day.json").write_bytes(day(as_json=True) + bad + b"\n")
    refused = [letter for decoded in read_ticks(tmp_path / "day.json") for letter in decoded.refused]
    assert [letter.raw for letter in refused] == [bad]

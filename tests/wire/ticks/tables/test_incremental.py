"""Tardis's changes of books: messages out of lines, books out of messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from impactd.shell.recorded import read_ticks
from impactd.wire.codec import Decoded
from impactd.wire.decoder import join
from impactd.wire.ticks.tables.incremental import HEADER, IncrementalCodec
from tests.wire.helpers import T0, assert_same_batch, decode_in_batches, reasons

US = T0 // 1_000


def line(at: int, flag: str, side: str, px: float, amount: float, symbol: str = "XBTUSD") -> str:
    return f"bitmex,{symbol},{US + at},{US + at + 5},{flag},{side},{px},{amount}"


SNAPSHOT = [line(0, "true", "ask", 101.5, 4), line(0, "true", "bid", 100.0, 2), line(0, "true", "bid", 100.5, 3)]


def read(tmp_path: Path, *lines: str, header: str = HEADER) -> Decoded:
    path = tmp_path / "bitmex_incremental_book_L2_2020-09-01_XBTUSD.csv"
    path.write_text("\n".join([header, *lines, ""]))
    whole, single = (join(list(read_ticks(path, batch_rows=n))) for n in (4_096, 1))
    assert_same_batch(whole.batch, single.batch)
    assert (whole.refused, whole.skipped_unknown) == (single.refused, single.skipped_unknown)
    return whole


def test_each_message_gives_a_book(tmp_path: Path) -> None:
    decoded = read(
        tmp_path,
        *SNAPSHOT,
        line(9, "false", "bid", 100.5, 0),
        line(9, "false", "ask", 101.0, 7),
        line(20, "false", "bid", 100.0, 5),
    )
    batch = decoded.batch
    assert not decoded.refused
    assert batch.ts_event.tolist() == [T0 // 1_000 * 1_000 + at for at in (0, 9_000, 20_000)]
    assert batch.bid_px.tolist()[0] == [100.5, 100.0]
    assert (batch.n_bid.tolist(), batch.n_ask.tolist()) == ([2, 1, 1], [1, 2, 2])
    assert (batch.bid_sz[2, 0], batch.ask_px[2].tolist()) == (5.0, [101.0, 101.5])


def test_snapshot_in_the_middle_begins_the_book_again(tmp_path: Path) -> None:
    batch = read(tmp_path, *SNAPSHOT, line(9, "true", "bid", 90.0, 1), line(9, "true", "ask", 91.0, 1)).batch
    assert (batch.n_bid.tolist(), batch.bid_px[1, 0], batch.ask_px[1, 0]) == ([2, 1], 90.0, 91.0)


def test_changes_before_a_snapshot_are_refused_once_and_skipped(tmp_path: Path) -> None:
    decoded = read(tmp_path, *(line(at, "false", "bid", 100.0, 1) for at in (1, 2, 3)), *SNAPSHOT)
    assert (reasons(decoded), decoded.skipped_unknown, len(decoded.batch)) == (["gap"], 2, 1)


@pytest.mark.parametrize("bad", ["bitmex,XBTUSD", line(9, "false", "bid", 100.0, 1).replace("bid", "left")])
def test_message_that_cannot_be_read_ends_the_book(tmp_path: Path, bad: str) -> None:
    decoded = read(tmp_path, *SNAPSHOT, bad, line(20, "false", "bid", 100.0, 1), *SNAPSHOT)
    assert reasons(decoded)[1:] == ["gap"]
    assert decoded.batch.n_bid.tolist() == [2, 0, 2]


def test_symbols_have_books_of_their_own(tmp_path: Path) -> None:
    other = [row.replace("XBTUSD", "ETHUSD") for row in SNAPSHOT]
    batch = read(tmp_path, *SNAPSHOT, *other, line(9, "false", "bid", 100.5, 0, "ETHUSD")).batch
    assert (batch.symbols, batch.n_bid.tolist()) == (("XBTUSD", "ETHUSD"), [2, 2, 1])


def test_changes_are_refused_where_messages_stand_alone() -> None:
    decoded = decode_in_batches(IncrementalCodec(), [line(0, "false", "bid", 1.0, 1).encode()], 1)
    assert reasons(decoded) == ["value"]

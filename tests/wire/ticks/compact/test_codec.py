"""The compact batch: what its page says, byte by byte, and what it refuses."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from impactd.core.base.venue import at_venue
from impactd.core.inputs.ticks import AUCTION, BOOK, MID_EVENT, TRADE
from impactd.wire.codec import Decoded, Limits
from impactd.wire.ticks.compact.codec import CompactCodec
from tests.paths import ROOT
from tests.wire.helpers import T0, assert_same_batch, decode_in_batches, reasons
from tests.wire.ticks.compact.samples import book, message, more

PAGE = ROOT / "docs" / "reference" / "books.md"
BIDS, ASKS = [(31.2, 300.0), (31.19, 500.5)], [(31.25, 200.0)]
HEAD = 56


def both(*values: bytes, limits: Limits | None = None) -> Decoded:
    """Decode column by column and row by row, assert that they agree, and return it."""
    fast = decode_in_batches(CompactCodec(limits), list(values), len(values))
    slow = decode_in_batches(CompactCodec(limits).reference(), list(values), len(values))
    assert_same_batch(fast.batch, slow.batch)
    assert fast.refused == slow.refused
    return fast


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def rows() -> list[tuple[int, list[tuple[int, int]], list[tuple[int, int]]]]:
    return [(T0 + i, [(3120 - k, 5 + i) for k in range(i)], [(3121 + i, 7)]) for i in range(4)]


def by_page() -> bytes:
    scope: dict[str, Any] = {}
    exec(block("python"), scope)  # noqa: S102  # the page's own code
    made: bytes = scope["encode"]("FROG", rows(), T0, 3000, 100, 1, 5)
    return made


def test_encoder_of_the_page_gives_its_rows() -> None:
    batch = both(by_page()).batch
    assert (batch.symbols, batch.ts_event.tolist()) == (("FROG",), [T0 + i for i in range(4)])
    assert (batch.n_bid.tolist(), batch.n_ask.tolist()) == ([0, 1, 2, 3], [1, 1, 1, 1])
    assert (batch.bid_px[3].tolist(), batch.bid_sz[3].tolist()) == ([31.2, 31.19, 31.18], [8.0, 8.0, 8.0])
    assert batch.ask_px[:, 0].tolist() == [31.21, 31.22, 31.23, 31.24]


def test_java_encoder_of_the_page_gives_the_same_bytes(tmp_path: Path) -> None:
    javac, java_vm = shutil.which("javac"), shutil.which("java")
    if javac is None or java_vm is None:
        pytest.skip("no Java compiler")

    def java(values: list[list[int]]) -> str:
        return "new long[][]{" + ",".join("{" + ",".join(f"{v}L" for v in row) + "}" for row in values) + "}"

    sides = [java([[level[field] for level in row[side]] for row in rows()]) for side in (1, 2) for field in (0, 1)]
    times = "new long[]{" + ",".join(f"{row[0]}L" for row in rows()) + "}"
    call = f'Books.encode("FROG", {times}, {", ".join(sides)}, 3000, 100, 1, 5)'
    source = block("java") + "final class Main { public static void main(String[] a) { System.out.write("
    source += f"{call}, 0, {call}.length); System.out.flush(); }} }}"
    (tmp_path / "Main.java").write_text(source)
    subprocess.run([javac, "Main.java"], cwd=tmp_path, check=True, capture_output=True)
    made = subprocess.run([java_vm, "Main"], cwd=tmp_path, check=True, capture_output=True).stdout
    assert made == by_page()


def test_rows_of_all_kinds_are_read_in_both_widths_and_compressed() -> None:
    compressed, narrow = more("FROG", T0)
    for value, flags in ((compressed, [MID_EVENT, AUCTION, 0]), (narrow, [0, 0, 0])):
        batch = both(value).batch
        assert (batch.kind.tolist(), batch.flags.tolist()) == ([BOOK, TRADE, BOOK], flags)
        assert (batch.px[1], batch.qty[1], batch.aggressor.tolist()) == (31.05, 3.0, [0, -1, 0])
        assert (batch.bid_px[2].tolist(), batch.n_ask.tolist()) == ([31.0, 30.9], [1, 0, 0])
        assert np.isnan(batch.bid_px[1]).all()


def test_batch_is_much_smaller_than_json() -> None:
    books = [([(31.2 - k / 100, 300.0 + k) for k in range(10)], [(31.3 + k / 100, 300.0) for k in range(10)])] * 100
    times = [T0 + i for i in range(100)]
    value = message("FROG", times, books, width=4)
    assert len(value) == HEAD + 4 + 100 * (21 + 8 + 160)
    assert len(message("FROG", times, books, width=4, compressed=True)) < len(value) // 10
    assert len(both(value).batch) == 100


def changed(at: int, form: str, number: int) -> bytes:
    value = bytearray(book("FROG", T0, BIDS, ASKS))
    struct.pack_into(form, value, at, number)
    return bytes(value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "empty"),
        (b"IMPBOOK1", "truncated"),
        (changed(0, "B", 0), "value"),
        (changed(8, "<I", 5), "truncated"),
        (changed(12, "<I", 2), "truncated"),
        (changed(12, "<I", 2**31), "too_large"),
        (changed(12, "<I", 2**16 + 1), "too_large"),
        (changed(16, "B", 2), "value"),
        (changed(16, "B", 1), "corrupt"),
        (changed(18, "B", 2), "value"),
        (changed(19, "B", 255), "truncated"),
        (changed(20, "<I", 1), "value"),
        (changed(24, "<q", 5), "value"),
        (changed(24, "<q", 2**63 - 1), "value"),
        (changed(40, "<q", 0), "value"),
        (changed(48, "<q", -1), "value"),
        (changed(HEAD, "B", 255), "encoding"),
        (changed(HEAD + 4, "<q", 2**63 - 1), "value"),
        (changed(HEAD + 12, "<q", 1), "value"),
        (book("FROG", T0, BIDS, ASKS)[:-1] + b"\x09", "value"),
        (message("FROG", [T0], [(BIDS, ASKS)], flags=[2]), "value"),
        (message("FROG", [T0], [(BIDS, ASKS)], flags=[4]), "value"),
        (message("FROG", [T0], [((), ())], [(31.0, 5.0, 2)]), "value"),
        (message("FROG", [T0], [((), ())], n_levels=101), "too_deep"),
        (message("", [T0], [(BIDS, ASKS)]), "missing_field"),
        (message("FROG", [T0], [(BIDS, ASKS)], compressed=True)[:-3], "truncated"),
    ],
)
def test_what_is_no_message_is_refused(value: bytes, reason: str) -> None:
    good = book("FROG", T0, BIDS, ASKS)
    decoded = both(good, value, good)
    assert len(decoded.batch) == 2
    assert len(decoded.refused) == 1
    if reason != "missing_field":
        assert reasons(decoded) == [reason]


def test_frame_that_makes_more_than_its_head_states_is_refused() -> None:
    large = message("FROG", [T0] * 5_000, [(BIDS, ASKS)] * 5_000, compressed=True)
    value = bytearray(large)
    struct.pack_into("<I", value, 12, 1)
    assert reasons(both(bytes(value))) == ["truncated"]


def test_price_beyond_64_bits_is_undefined() -> None:
    value = bytearray(book("FROG", T0, BIDS, ASKS))
    struct.pack_into("<q", value, 32, 2**63 - 1)
    assert both(bytes(value)).batch.bid_px[0, 0] == float(2**63 - 1)


def test_message_of_a_venue_is_of_the_symbol_there() -> None:
    side = [(31.0, 100.0)]
    value = message("AMZN", [T0], [(side, side)], venue="XNAS")
    for codec in (CompactCodec(), CompactCodec().reference()):
        assert codec.decode_columns([value], [0], [T0]).batch.symbols == (at_venue("AMZN", "XNAS"),)
        bad = message("AMZN", [T0], [(side, side)], venue="X NAS")
        assert [letter.reason for letter in codec.decode_columns([bad], [0], [T0]).refused] == ["value"]

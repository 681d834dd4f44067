"""LOBSTER: what each type of message becomes, and files of one kind."""

from __future__ import annotations

import gzip
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from impactd.core.inputs.ticks import AUCTION, BOOK, TRADE
from impactd.shell.lines import InputFileError
from impactd.shell.recorded import read_ticks
from impactd.wire.codec import REASONS, Decoded
from impactd.wire.decoder import join
from impactd.wire.ticks.lobster.names import MESSAGE, ORDERBOOK
from tests.wire.helpers import T0, assert_same_batch, decode_in_batches, reasons
from tests.wire.ticks.lobster.samples import NAME, SAMPLES, levels, message

BIDS, ASKS = [(31.0, 300.0), (30.99, 5.0)], [(31.1, 200.0)]
SIDES = levels(BIDS, ASKS)


def decode(kind: int, px: float = 31.05, direction: int = -1) -> Decoded:
    line = f"{message(T0, kind, px, 40, direction)},{SIDES}".encode()
    return decode_in_batches(SAMPLES.codec("lobster"), [line], 1, T0)


def write_pair(folder: Path, ending: str = "") -> tuple[Path, Path]:
    packed = gzip.compress if ending else bytes
    paths = []
    for kind in (MESSAGE, ORDERBOOK):
        lines = [message(T0 + i, 4 if i else 1, 31.05, 40) if kind == MESSAGE else SIDES for i in range(3)]
        paths.append(folder / (NAME.text(kind) + ending))
        paths[-1].write_bytes(packed("".join(line + "\r\n" for line in lines).encode()))
    return paths[0], paths[1]


def read(path: Path) -> Decoded:
    return join(list(read_ticks(path)))


@pytest.mark.parametrize(("direction", "aggressor"), [(-1, 1), (1, -1)])
def test_visible_execution_is_a_trade_and_the_book_after_it(direction: int, aggressor: int) -> None:
    batch = decode(4, direction=direction).batch
    assert batch.kind.tolist() == [TRADE, BOOK]
    assert (batch.px[0], batch.qty[0], batch.aggressor[0]) == (31.05, 40.0, aggressor)
    assert (batch.bid_px[1].tolist(), batch.ts_event.tolist()) == ([31.0, 30.99], [T0, T0])


def test_participant_behind_the_direction_is_skipped() -> None:
    line = f"{message(T0, 4, 31.05, 40, 1)},MLCO,{SIDES}".encode()
    decoded = decode_in_batches(SAMPLES.codec("lobster"), [line], 1, T0)
    assert_same_batch(decoded.batch, decode(4, direction=1).batch)


def test_hidden_execution_changes_no_book() -> None:
    batch = decode(5).batch
    assert (batch.kind.tolist(), batch.qty.tolist(), batch.flags.tolist()) == ([TRADE], [40.0], [0])


def test_cross_is_an_auction_print() -> None:
    batch = decode(6).batch
    assert (batch.kind.tolist(), batch.flags.tolist(), batch.aggressor.tolist()) == ([TRADE], [AUCTION], [0])


@pytest.mark.parametrize(("px", "n_bid"), [(-0.0001, 0), (0.0, 2), (0.0001, 2)])
def test_halt_ends_the_book_and_a_resumption_brings_it_back(px: float, n_bid: int) -> None:
    assert decode(7, px).batch.n_bid.tolist() == [n_bid]


@pytest.mark.parametrize("change", [b"8", b"", b"x"])
def test_unknown_type_is_refused(change: bytes) -> None:
    line = f"{message(T0)},{SIDES}".encode().split(b",")
    line[1] = change
    assert reasons(decode_in_batches(SAMPLES.codec("lobster"), [b",".join(line)], 1, T0)) == ["value"]


def test_pair_is_read_from_a_zip_and_from_next_to_each_other(tmp_path: Path) -> None:
    halves = write_pair(tmp_path)
    archive = tmp_path / "sample.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for half in halves:
            made.write(half, f"data/{half.name}")
        made.writestr("LOBSTER_SampleFiles_ReadMe.txt", "text")
    (tmp_path / "packed").mkdir()
    packed = write_pair(tmp_path / "packed", ".gz")
    found = [read(path) for path in (archive, *halves, *packed)]
    for decoded in found:
        assert not decoded.refused
        assert decoded.batch.kind.tolist() == [BOOK, TRADE, BOOK, TRADE, BOOK]
        assert decoded.batch.symbols == ("FROG",)
        assert decoded.batch.offset.tolist() == [1, 2, 2, 3, 3]


def test_halves_of_different_length_are_refused_from_there(tmp_path: Path) -> None:
    _, books = write_pair(tmp_path)
    books.write_bytes(books.read_bytes()[: len(SIDES) + 2 + 10])
    decoded = read(books)
    assert (reasons(decoded), decoded.batch.offset.tolist()) == (["truncated", "truncated"], [1])


def test_last_lines_need_no_end(tmp_path: Path) -> None:
    for half in write_pair(tmp_path):
        half.write_bytes(half.read_bytes().removesuffix(b"\r\n"))
        decoded = read(half)
        assert (decoded.refused, decoded.batch.offset.tolist()) == ([], [1, 2, 2, 3, 3])


def test_orderbook_alone_goes_by_row_number(tmp_path: Path) -> None:
    messages, books = write_pair(tmp_path)
    messages.unlink()
    batch = read(books).batch
    start = NAME.midnight_ns + 34_200 * 10**9
    assert (batch.kind.tolist(), (batch.ts_event - start).tolist()) == ([BOOK] * 3, [10**8, 2 * 10**8, 3 * 10**8])


def test_messages_alone_are_refused_with_the_name_of_the_other_half(tmp_path: Path) -> None:
    messages, books = write_pair(tmp_path)
    books.unlink()
    with pytest.raises(InputFileError, match=books.name):
        read(messages)


def test_any_bytes_are_answered() -> None:
    rng = random.Random(7)
    seed = f"{message(T0, 4)},{SIDES}".encode()
    values = []
    for _ in range(20_000):
        data = bytearray(seed)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(2)] = rng.choice(
                (b"", b"9", b"-", b",", b"999999999999999999", rng.randbytes(1))
            )
        values.append(bytes(data))
    decoded = decode_in_batches(SAMPLES.codec("lobster"), values, 5_000, T0)
    assert {letter.reason for letter in decoded.refused} <= set(REASONS)
    answered = {letter.offset for letter in decoded.refused} | set(decoded.batch.offset.tolist())
    assert answered == set(range(len(values)))
    assert np.isfinite(decoded.batch.bid_px[decoded.batch.n_bid > 0, 0]).all()

"""Made-up order books: usable, alike for a seed, and shaped like a day."""

from __future__ import annotations

import gzip
import hashlib
import lzma
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from impactd.core.inputs.ticks import BOOK, TRADE, TickBatch
from impactd.research import generator
from impactd.research.generate import generate_file
from impactd.research.generator import GeneratorSpec, generate, regular_snapshots, session_open_ns, trading_days
from impactd.shell.files import merge_files
from tests.wire.helpers import assert_same_batch

SPEC = GeneratorSpec(snapshots=3_000)


def made(spec: GeneratorSpec) -> TickBatch:
    return TickBatch.concat(list(generate(spec)))


def books(batch: TickBatch) -> TickBatch:
    return batch.take(batch.kind == BOOK)


def test_books_are_usable_and_on_ticks_and_lots() -> None:
    batch = books(made(replace(SPEC, symbols=3, levels=7)))
    assert batch.symbols == ("DEMO1", "DEMO2", "DEMO3") or set(batch.symbols) == {"DEMO1", "DEMO2", "DEMO3"}
    assert len(batch) == 9_000
    assert set(batch.n_bid.tolist()) == {7}
    assert (batch.bid_px[:, 0] < batch.ask_px[:, 0]).all()
    assert (np.diff(batch.bid_px, axis=1) < 0).all()
    assert (np.diff(batch.ask_px, axis=1) > 0).all()
    assert (batch.bid_px > 0).all()
    assert (np.round(batch.bid_px, 2) == batch.bid_px).all()
    assert (batch.ask_sz % 10 == 0).all()
    assert (batch.ask_sz > 0).all()


def test_prints_take_from_the_touch_and_stand_before_their_book() -> None:
    batch = made(SPEC)
    at = np.flatnonzero(batch.kind == TRADE)
    assert 0.05 < len(at) / len(batch) < 0.15
    assert (batch.kind[at + 1] == BOOK).all()
    assert (batch.ts_event[at + 1] == batch.ts_event[at]).all()
    at = at[at > 0]
    before = batch.take(at - 1)
    touch = np.where(batch.aggressor[at] > 0, before.ask_px[:, 0], before.bid_px[:, 0])
    assert (before.kind == BOOK).all()
    assert (touch == batch.px[at]).all()


def test_times_are_session_hours_in_order_and_offsets_count_rows() -> None:
    batch = made(replace(SPEC, days=2, symbols=2))
    assert (np.diff(batch.ts_event) >= 0).all()
    assert batch.offset.tolist() == list(range(len(batch)))
    opens = [session_open_ns(day) for day in trading_days(SPEC.first_day, 2)]
    assert opens[0] == 1_748_871_000_000_000_000
    in_session = [((batch.ts_event >= o) & (batch.ts_event < o + 23_400 * 10**9)).sum() for o in opens]
    assert sum(in_session) == len(batch)
    assert (batch.ts_record == batch.ts_event // 1_000_000 * 1_000_000).all()


def test_weekends_are_left_out_and_daylight_saving_kept() -> None:
    assert trading_days(date(2025, 6, 6), 2) == [date(2025, 6, 6), date(2025, 6, 9)]
    assert session_open_ns(date(2025, 1, 6)) // 10**9 % 86_400 == 14.5 * 3600


def test_day_has_a_profile() -> None:
    batch = books(made(replace(SPEC, snapshots=20_000)))
    spread = [part.mean() for part in np.array_split(batch.ask_px[:, 0] - batch.bid_px[:, 0], 10)]
    depth = [part.mean() for part in np.array_split(batch.ask_sz.sum(axis=1), 10)]
    per_half_hour = np.histogram(batch.ts_event, 13)[0]
    assert spread[0] > 3 * spread[-1]
    assert depth[-1] > 2 * depth[0]
    assert per_half_hour[0] > 2 * per_half_hour[6] < per_half_hour[12]


def test_seed_gives_the_same_day_on_every_machine() -> None:
    batch = made(replace(SPEC, symbols=2, seed=7))
    assert_same_batch(made(replace(SPEC, symbols=2, seed=7)), batch)
    assert made(replace(SPEC, symbols=2, seed=8)).px.tobytes() != batch.px.tobytes()
    digest = hashlib.sha256(
        b"".join(getattr(batch, name).tobytes() for name in ("ts_event", "bid_px", "ask_sz", "qty"))
    )
    assert digest.hexdigest()[:16] == "b04ca4ba31ba75f0"


def test_symbols_day_does_not_depend_on_slices_or_other_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    both = made(replace(SPEC, symbols=2))
    alone = made(SPEC)
    first = both.take(both.symbol == both.symbols.index("DEMO1"))
    assert first.bid_px.tobytes() == alone.bid_px.tobytes()
    assert first.ts_event.tobytes() == alone.ts_event.tobytes()
    monkeypatch.setattr(generator, "_SLICES", 3)
    assert_same_batch(made(SPEC), alone)


def test_regular_snapshots_stand_at_equal_times() -> None:
    ts, batch = regular_snapshots(GeneratorSpec(snapshots=390, levels=20, profile=0.3))
    assert len(ts) == len(batch) == 390
    assert set(np.diff(ts).tolist()) == {60 * 10**9}
    assert batch.n_levels == 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"snapshots": 0}, "snapshots: 0 is not in"),
        ({"levels": 101}, "levels: 101 is not in 1..100"),
        ({"seed": -1}, "seed: -1 is negative"),
        ({"lot_size": 0.0}, "lot_size"),
        ({"base_price": 1.0}, "base_price: 1.0 is below 200 ticks"),
        ({"profile": 2.0}, "profile: 2.0"),
        ({"noise": -0.1}, "noise: -0.1"),
        ({"noise": np.inf}, "noise: inf"),
    ],
)
def test_specification_that_cannot_be_made_names_its_field(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SPEC, **changes)


@pytest.mark.parametrize("name", ["day.jsonl", "day.jsonl.gz", "day.jsonl.xz", "day.csv", "day.csv.gz"])
def test_generated_file_reads_back_as_what_was_made(tmp_path: Path, name: str) -> None:
    spec = replace(SPEC, snapshots=400, symbols=2, days=2)
    path = tmp_path / name
    done = generate_file(path, spec)
    batch = made(spec)
    if ".csv" in name:
        batch = books(batch)
        batch = replace(batch, offset=np.arange(len(batch)))
    assert_same_batch(TickBatch.concat([decoded.batch for decoded in merge_files([path])]), batch)
    assert (done.books, done.trades) == (1_600, int((batch.kind == TRADE).sum()))
    assert done.n_bytes == path.stat().st_size
    first = path.read_bytes()
    assert generate_file(path, spec) == done
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]


def test_generated_csv_of_one_symbol_has_the_five_columns(tmp_path: Path) -> None:
    path = tmp_path / "X.csv"
    generate_file(path, replace(SPEC, snapshots=2, levels=1))
    lines = path.read_text().splitlines()
    assert lines[0] == "time,side,price,size,level"
    assert [line.split(",")[1] for line in lines[1:]] == ["bid", "ask"] * 2


def test_compressed_files_hold_the_plain_bytes(tmp_path: Path) -> None:
    spec = replace(SPEC, snapshots=50)
    for name in ("d.jsonl", "d.jsonl.gz", "d.jsonl.xz"):
        generate_file(tmp_path / name, spec)
    plain = (tmp_path / "d.jsonl").read_bytes()
    assert gzip.decompress((tmp_path / "d.jsonl.gz").read_bytes()) == plain
    assert lzma.decompress((tmp_path / "d.jsonl.xz").read_bytes()) == plain


def test_unknown_ending_is_an_error_and_a_failure_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"let it end in \.jsonl or \.csv"):
        generate_file(tmp_path / "day.parquet", SPEC)
    path = tmp_path / "day.jsonl"
    path.write_bytes(b"old")

    def failing(_: GeneratorSpec) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr("impactd.research.generate.generate", failing)
    with pytest.raises(RuntimeError):
        generate_file(path, SPEC)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]

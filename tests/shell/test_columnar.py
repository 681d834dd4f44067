"""Parquet and Arrow: the same rows as the CSV of the same table."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from impactd.shell.recorded import InputFileError, read_ticks
from impactd.wire.decoder import join
from tests.wire.helpers import T0, assert_same_batch

pa: Any = pytest.importorskip("pyarrow", reason="needs the extra arrow")


def wide() -> pd.DataFrame:
    time = pd.to_datetime([T0, T0 + 10**9, T0 + 2 * 10**9], utc=True)
    symbol = pd.Categorical(["FROG", "ARL", "FROG"])
    return pd.DataFrame({
        "time": time, "symbol": symbol, "bid_price_1": [31.2, 0.1 + 0.2, np.nan], "bid_size_1": [300, 1e-8, np.nan],
        "ask_price_1": [31.25, 1e5 / 3, 32.0], "ask_size_1": [1, 2, 3],
    })  # fmt: skip


def rows(path: Path) -> Any:
    decoded = join(list(read_ticks(path)))
    assert not decoded.refused
    return decoded.batch


def test_rows_are_those_of_the_csv(tmp_path: Path) -> None:
    table = wide()
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_parquet(tmp_path / "a.parquet", index=False)
    table.to_parquet(tmp_path / "b.parquet", row_group_size=1)
    table.to_feather(tmp_path / "a.feather")
    stream = pa.Table.from_pandas(table, preserve_index=False)
    with pa.ipc.new_stream(tmp_path / "a.arrows", stream.schema) as writer:
        writer.write_table(stream, max_chunksize=2)
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    expected = rows(tmp_path / "a.csv")
    assert expected.ask_px[1, 0] == 1e5 / 3
    for name in ("a.parquet", "b.parquet", "a.feather", "a.arrows", "a.parquet.gz"):
        assert_same_batch(rows(tmp_path / name), expected)


def test_time_of_another_zone_is_the_same_instant(tmp_path: Path) -> None:
    table = wide()
    table.to_parquet(tmp_path / "utc.parquet")
    table["time"] = table["time"].dt.tz_convert("Asia/Shanghai")
    table.to_parquet(tmp_path / "zone.parquet")
    assert_same_batch(rows(tmp_path / "zone.parquet"), rows(tmp_path / "utc.parquet"))


def test_text_with_commas_is_quoted(tmp_path: Path) -> None:
    table = wide().assign(note='a "b", c')
    table.to_parquet(tmp_path / "a.parquet")
    assert len(rows(tmp_path / "a.parquet")) == 3


def test_nested_columns_are_objects(tmp_path: Path) -> None:
    table = pd.DataFrame({
        "type": ["book"], "symbol": ["FROG"], "ts_event": [T0], "bids": [[[31.2, 3.0], [31.1, 4.0]]],
        "asks": [[[31.3, 3.0]]],
    })  # fmt: skip
    table.to_parquet(tmp_path / "a.parquet")
    batch = rows(tmp_path / "a.parquet")
    assert (batch.bid_px.tolist(), batch.n_ask.tolist()) == ([[31.2, 31.1]], [1])


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
@pytest.mark.parametrize("unit", ["ns", "us"])
def test_times_beside_nested_columns_keep_their_digits(tmp_path: Path, zone: str | None, unit: str) -> None:
    ts = T0 if unit == "ns" else T0 // 1_000 * 1_000
    time = pa.array([ts if unit == "ns" else ts // 1_000], pa.int64()).cast(pa.timestamp(unit, zone))
    levels = [[{"price": 31.2, "size": 3.0}]]
    table = pa.table({"symbol": ["FROG"], "timestamp": time, "bids": levels, "asks": [[{"price": 31.3, "size": 3.0}]]})
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    assert rows(tmp_path / "a.arrow").ts_event.tolist() == [ts]


@pytest.mark.parametrize("data", [b"\xff" * 200, b"PAR1" + bytes(200), b"ARROW1" + bytes(200), b"PAR1"])
def test_damaged_table_is_an_error_that_names_the_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(data)
    with pytest.raises(InputFileError, match=r"a\.parquet: the table cannot be read"):
        join(list(read_ticks(path)))


def test_without_the_reader_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide().to_parquet(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputFileError, match=r"impactd\[arrow\]"):
        join(list(read_ticks(tmp_path / "a.parquet")))

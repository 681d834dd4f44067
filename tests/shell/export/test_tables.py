"""Rows of records, and what a directory of Parquet files says of itself."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from impactd.cli import cli, main
from impactd.core.base.topics import Topic
from impactd.core.outputs.messages import DayCost, FillCost, OrderCost, Plan
from impactd.shell.export.parquet import ParquetSink
from impactd.shell.export.tables import TABLES, Place, rows
from impactd.shell.kafka.consume import ConsumedRecord
from impactd.wire.codec import Limits
from impactd.wire.message_types import is_left_out
from tests.reference import inputs, recorded

pd = pytest.importorskip("pandas")


MESSAGES = {"plan": Plan, "fill_cost": FillCost, "order_cost": OrderCost, "day_cost": DayCost}


def record(value: Any, offset: int = 0, partition: int = 3) -> ConsumedRecord:
    text = value if isinstance(value, bytes) else orjson.dumps(value)
    return ConsumedRecord("t", partition, offset, 1_743_687_000_000, b"FROG", text)


@pytest.mark.parametrize("name", ["plan", "fill_cost", "order_cost", "day_cost"])
def test_row_has_every_field_of_its_message(name: str) -> None:
    example = recorded.examples()[name]
    (table,) = (table for table in TABLES if table.type == name)
    [(of, row)], _ = rows(table.topic, [record(example, 7)])
    assert of is table
    found = dict(zip(table.columns, row, strict=True))
    assert (found.pop("partition"), found.pop("offset")) == (3, 7)
    absent = {item.name for item in fields(MESSAGES[name]) if is_left_out(item)} - set(example)
    assert set(found) - absent == set(example) - {"type"}
    for field, value in found.items():
        wanted = example.get(field)
        assert value == (orjson.dumps(wanted).decode() if isinstance(value, str) and wanted != value else wanted), field


def test_times_as_strings_give_the_same_row() -> None:
    example = recorded.examples()["plan"]
    times = ("as_of", "end", "start", "window")
    told = {
        name: [str(item) for item in example[name]] if isinstance(example[name], list) else str(example[name])
        for name in times
    }
    assert rows(Topic.PLANS, [record(example)]) == rows(Topic.PLANS, [record(example | told)])


def test_executions_that_the_service_refuses_have_no_row() -> None:
    fill, bust = inputs.EXAMPLES["fill"], inputs.EXAMPLES["bust"]
    sent = [record(value, k) for k, value in enumerate((fill, b"{", fill | {"last_qty": -1}, bust))]
    found = [row for _, row in rows(Topic.EXECUTIONS, sent)[0]]
    assert [row[1] for row in found] == [0, 3]
    assert [row[2] for row in found] == ["fill", "bust"]


@pytest.mark.parametrize(
    ("unit", "at"),
    [
        ("ns", 1_743_687_000_000_000_000),
        ("ns", "1743687000000000000"),
        ("ns", "2025-04-03T13:30:00Z"),
        ("ns", "2025-04-03T09:30:00-04:00"),
        ("ms", 1_743_687_000_000),
        ("s", 1_743_687_000.0),
    ],
)
def test_executions_have_the_time_that_the_service_reads(unit: str, at: object) -> None:
    fill = inputs.EXAMPLES["fill"] | {"ts_event": at}
    [(table, row)], foreign = rows(Topic.EXECUTIONS, [record(fill)], Limits(time_unit=unit))
    assert dict(zip(table.columns, row, strict=True))["ts_event"] == 1_743_687_000_000_000_000
    assert foreign == 0


def test_execution_that_names_its_order_by_the_id_before_has_that_id() -> None:
    fill = {name: value for name, value in inputs.EXAMPLES["fill"].items() if name != "cl_ord_id"}
    [(table, row)], _ = rows(Topic.EXECUTIONS, [record(fill | {"orig_cl_ord_id": "P7"})])
    assert dict(zip(table.columns, row, strict=True))["cl_ord_id"] == "P7"


_FOREIGN = [
    b"", b"{", b"null", b"[]", b"7", b'"plan"', b"{}", b"\xff", b'{"type":"plans"}', b'{"type":["plan"]}', None,
    b'{"type":"plan","as_of":"soon"}', b'{"type":"plan","as_of":18446744073709551615}', b'{"type":"plan","qty":5}',
    b'{"type":"plan","cum_qty":{}}',
]  # fmt: skip


@pytest.mark.parametrize("value", _FOREIGN)
def test_record_that_is_no_message_of_the_service_is_left_out_and_counted(value: bytes | None) -> None:
    good = recorded.examples()["plan"]
    foreign = ConsumedRecord("t", 3, 1, 1_743_687_000_000, b"FROG", value)
    found, count = rows(Topic.PLANS, [record(good, 0), foreign, record(good, 2)])
    assert ([row[1] for _, row in found], count) == ([0, 2], 1)


@given(cuts=st.lists(st.tuples(st.integers(1, 7), st.sampled_from(["", "before", "after"])), max_size=12))
def test_parquet_directory_holds_every_row_once_wherever_runs_end(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[tuple[int, str]]
) -> None:
    """A run ends before or after a file took its name; the next one asks the directory where to go on."""
    directory = tmp_path_factory.mktemp("exported")
    (table,) = (table for table in TABLES if table.name == "order_costs")
    place = Place(table.name, "a-topic-1", 0)
    example = recorded.examples()["order_cost"]
    sink = ParquetSink(directory)
    end = 0
    for count, ends in [*cuts, (1, "")]:
        first = sink.positions().get(place, 0)
        assert first <= end
        end = max(end, first + count)
        made = [row for _, row in rows(Topic.TCA, [record(example, k) for k in range(first, end)])[0]]
        if ends != "before":
            sink.write(table, place, first, end, made)
        if ends:
            sink.close()
            (directory / table.name / ".cut.parquet.tmp").write_bytes(b"PAR1")
            sink = ParquetSink(directory)
    sink.close()
    found = pd.read_parquet(directory / table.name)
    assert sorted(found["offset"]) == list(range(end))
    assert not list(directory.glob("*/.*.tmp"))


@pytest.mark.parametrize("module", ["pyarrow", "psycopg"])
def test_missing_package_names_its_extra(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    to = {"pyarrow": str(tmp_path / "out"), "psycopg": "postgresql://nowhere/x"}[module]
    assert main(["export", "--to", to]) == 1
    assert {"pyarrow": "impactd[arrow]", "psycopg": "impactd[postgres]"}[module] in capsys.readouterr().err


@pytest.mark.parametrize("to", ["mysql://db/x", "s3://bucket/day"])
def test_target_of_an_unknown_kind_is_refused(to: str) -> None:
    done = CliRunner().invoke(cli, ["export", "--to", to])
    assert done.exit_code == 2
    assert "postgresql://" in done.output


def test_two_exports_to_one_directory_do_not_run_at_once(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path)
    with pytest.raises(BlockingIOError):
        ParquetSink(tmp_path)
    sink.close()
    ParquetSink(tmp_path).close()

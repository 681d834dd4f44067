"""A recorded day from files: what comes out, whatever the batches, the partitions and the state of the files."""

from __future__ import annotations

import dataclasses
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from impactd.core.base.settings import CoreSettings, PlanSettings
from impactd.shell.outputs import FILES
from impactd.shell.replay import ReplaySummary, Sources, replay
from impactd.wire.murmur2 import partition_for

OPEN_NS = 1_743_687_000_000_000_000
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS

SCHEDULED = CoreSettings(apply="in_event_time", plans=PlanSettings(fills="scheduled"))
REPORTED = CoreSettings(apply="in_event_time")


def book(symbol: str, ts_event: int, step: int = 0, **changes: Any) -> dict[str, Any]:
    mid = 31.0 + step % 7 * 0.01
    levels = range(10)
    return {
        "type": "book",
        "symbol": symbol,
        "ts_event": ts_event,
        "ts_recv": None,
        "seq": None,
        "bids": [[round(mid - 0.02 - 0.01 * k, 4), 100 + (step * 37 + 50 * k) % 400] for k in levels],
        "asks": [[round(mid + 0.02 + 0.01 * k, 4), 100 + (step * 53 + 30 * k) % 400] for k in levels],
    } | changes


def day(symbols: Sequence[str] = ("FROG",), minutes: int = 6, every_s: int = 5) -> list[dict[str, Any]]:
    """Return books of `minutes` minutes, one a symbol each `every_s` seconds."""
    return [
        book(symbol, OPEN_NS + k * every_s * SECOND_NS + i * 1_000, k + 11 * i)
        for k in range(minutes * 60 // every_s)
        for i, symbol in enumerate(symbols)
    ]


def new(cl_ord_id: str = "A1", symbol: str = "FROG", **changes: Any) -> dict[str, Any]:
    return {
        "type": "new",
        "cl_ord_id": cl_ord_id,
        "symbol": symbol,
        "side": "buy",
        "order_qty": 900,
        "ts_event": OPEN_NS + 70 * SECOND_NS,
        "start": OPEN_NS + 2 * MINUTE_NS,
        "end": OPEN_NS + 5 * MINUTE_NS,
    } | changes


def write(path: Path, items: Sequence[dict[str, Any] | bytes]) -> Path:
    lines = [item if isinstance(item, bytes) else orjson.dumps(item) for item in items]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def run(
    out: Path, data: Path | Sequence[Path], orders: Path | None = None, core: CoreSettings = SCHEDULED, **options: Any
) -> ReplaySummary:
    files = [data] if isinstance(data, Path) else data
    events = {name: options.pop(name) for name in ("executions", "control") if name in options}
    return replay(Sources(files, orders, **events), core, out, **options)


def read(out: Path, name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (out / f"{name}.jsonl").read_bytes().splitlines()]


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in FILES.values()}


def test_replay_day_gives_every_minute_and_the_plans(tmp_path: Path) -> None:
    data = write(tmp_path / "day.jsonl", day())
    orders = write(tmp_path / "orders.jsonl", [new()])
    summary = run(tmp_path / "out", data, orders)
    assert (summary.ticks, summary.books, summary.trades) == (72, 72, 0)
    assert (summary.minutes, summary.models, summary.warnings) == (6, 12, ())
    estimates = read(tmp_path / "out", "estimates")
    assert [e["minute"] for e in estimates[::2]] == [OPEN_NS + k * MINUTE_NS for k in range(6)]
    plans = read(tmp_path / "out", "plans")
    assert len(plans) == summary.plans
    for plan in plans:
        assert sum(plan["qty"]) == plan["leaves_qty"] - plan["shortfall_qty"]
        assert plan["order_qty"] == plan["cum_qty"] + plan["leaves_qty"]
    assert (plans[0]["reason"], plans[0]["status"]) == ("new", "active")
    assert (plans[-1]["status"], plans[-1]["cum_qty"]) == ("done", 900)
    (order,) = summary.orders
    assert (order.status, order.cum_qty, order.plans) == ("done", 900, len(plans))
    assert order.expected_cost is not None
    assert order.expected_twap_cost is not None
    assert order.expected_cost <= order.expected_twap_cost
    assert order.cost is not None
    assert order.twap_cost is not None
    assert (order.fills, order.saved) == ("scheduled", None)


def test_replay_order_applies_at_its_time_not_before(tmp_path: Path) -> None:
    data = write(tmp_path / "day.jsonl", day())
    orders = write(tmp_path / "orders.jsonl", [new()])
    run(tmp_path / "out", data, orders)
    first = read(tmp_path / "out", "plans")[0]
    assert first["as_of"] == OPEN_NS + 70 * SECOND_NS
    assert first["model"]["as_of"] == OPEN_NS + MINUTE_NS


def test_replay_batches_and_partitions_change_no_byte(tmp_path: Path) -> None:
    symbols = ("FROG", "AAPL", "ARL")
    assert {partition_for(symbol, 2) for symbol in symbols} == {0, 1}
    data = write(tmp_path / "day.jsonl", day(symbols, minutes=4))
    orders = write(tmp_path / "orders.jsonl", [new(), new("A2", "AAPL", side="sell"), new("A3", "NONE")])
    for name, options in {"a": {"batch_rows": 1}, "b": {"batch_rows": 7}, "c": {"batch_rows": 1_000}}.items():
        run(tmp_path / name, data, orders, **options)
        run(tmp_path / f"{name}2", data, orders, partitions=2, **options)
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "c")
    assert contents(tmp_path / "a2") == contents(tmp_path / "b2") == contents(tmp_path / "c2")
    for symbol in symbols:
        for name in ("estimates", "models", "plans"):
            one, two = ([x for x in read(tmp_path / out, name) if x["symbol"] == symbol] for out in ("a", "a2"))
            # Without other symbols' ticks a quiet symbol's last minute may stay open, never differ.
            assert two == one[: len(two)]
            assert len(one) - len(two) <= 2


def test_replay_one_partition_s_output_order_is_that_of_time(tmp_path: Path) -> None:
    data = write(tmp_path / "day.jsonl", day(("FROG", "AAPL")))
    run(tmp_path / "out", data, partitions=4)
    minutes = [estimate["minute"] for estimate in read(tmp_path / "out", "estimates")]
    assert minutes == sorted(minutes)


def test_replay_executions_are_the_fills(tmp_path: Path) -> None:
    data = write(tmp_path / "day.jsonl", day())
    orders = write(tmp_path / "orders.jsonl", [new()])
    fill = {
        "type": "fill",
        "exec_id": "E1",
        "cl_ord_id": "A1",
        "symbol": "FROG",
        "last_qty": 100,
        "last_px": 31.05,
        "last_liquidity_ind": "taker",
        "ts_event": OPEN_NS + 130 * SECOND_NS,
    }
    executions = write(tmp_path / "executions.jsonl", [fill, fill])
    summary = run(tmp_path / "out", data, orders, REPORTED, executions=executions)
    (order,) = summary.orders
    assert (order.cum_qty, order.leaves_qty, order.status) == (100, 800, "expired")
    (cost,) = (line for line in read(tmp_path / "out", "tca") if line["type"] == "fill_cost")
    assert order.cost == cost["spread_cost"] + cost["impact_cost"]
    assert order.twap_cost is not None
    assert (order.fills, order.saved) == ("reported", order.twap_cost - order.cost)
    assert summary.alerts["shortfall"] == 1


def test_replay_halt_is_in_the_plans(tmp_path: Path) -> None:
    data = write(tmp_path / "day.jsonl", day())
    orders = write(tmp_path / "orders.jsonl", [new()])
    halt = {"type": "halt", "scope": "FROG", "reason": "news", "ts_event": OPEN_NS + 150 * SECOND_NS}
    control = write(tmp_path / "control.jsonl", [halt])
    run(tmp_path / "out", data, orders, control=control, partitions=2)
    halted = next(plan for plan in read(tmp_path / "out", "plans") if plan["status"] == "halted")
    assert (halted["as_of"], halted["text"], halted["qty"]) == (OPEN_NS + 150 * SECOND_NS, "news", [])


def test_replay_events_after_the_data_are_counted_as_waiting(tmp_path: Path) -> None:
    data = write(tmp_path / "day.jsonl", day(minutes=2))
    orders = write(
        tmp_path / "orders.jsonl", [new(ts_event=OPEN_NS + 3600 * SECOND_NS, end=OPEN_NS + 7200 * SECOND_NS)]
    )
    summary = run(tmp_path / "out", data, orders)
    assert (summary.waiting, summary.plans) == ({"orders": 1}, 0)
    assert summary.warnings == ("1 orders records lie after the end of the data and were not applied",)


def test_replay_bad_lines_go_to_the_dead_letters_and_the_rest_counts(tmp_path: Path) -> None:
    ticks = day(minutes=2)
    crossed = book("FROG", OPEN_NS + 31 * SECOND_NS, bids=[[40.0, 100]], asks=[[39.0, 100]])
    data = write(tmp_path / "day.jsonl", [*ticks[:7], b'{"type":"book","symbol":', crossed, *ticks[7:]])
    orders = write(tmp_path / "orders.jsonl", [new(), b'{"type":"new"}'])
    summary = run(tmp_path / "out", data, orders)
    assert summary.ticks == len(ticks) + 1
    assert summary.rejected == {"crossed": 1}
    assert sum(summary.refused.values()) == 2
    letters = read(tmp_path / "out", "dlq")
    assert {letter["source_topic"] for letter in letters} == {"orders", "ticks"}
    clean = run(tmp_path / "clean", write(tmp_path / "clean.jsonl", ticks), orders)
    assert clean.minutes == summary.minutes
    assert read(tmp_path / "out", "models") == read(tmp_path / "clean", "models")


def test_replay_empty_file_is_a_result_that_names_it(tmp_path: Path) -> None:
    data = write(tmp_path / "day.jsonl", [])
    orders = write(tmp_path / "orders.jsonl", [])
    summary = run(tmp_path / "out", data, orders)
    assert (summary.ticks, summary.plans, summary.minutes, summary.first_ns) == (0, 0, 0, None)
    assert summary.warnings == ()
    assert summary.unusable == (f"{orders}: holds no record", f"{data}: holds no record")
    assert set(contents(tmp_path / "out").values()) == {b""}


def test_replay_file_cut_in_the_middle_keeps_what_precedes_the_cut(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(orjson.dumps(item) + b"\n" for item in day(minutes=30)), mtime=0)
    data = tmp_path / "day.jsonl.gz"
    data.write_bytes(whole[: len(whole) // 2])
    summary = run(tmp_path / "out", data)
    assert summary.minutes > 3
    assert summary.refused == {"truncated": 1}
    assert summary.warnings == ("1 records are truncated: is a file cut short? See dlq.jsonl",)


def test_replay_failure_leaves_the_earlier_result(tmp_path: Path) -> None:
    data = write(tmp_path / "day.jsonl", day(minutes=2))
    run(tmp_path / "out", data)
    before = contents(tmp_path / "out")

    def fail(rows: int, clock: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        run(tmp_path / "out", write(tmp_path / "other.jsonl", day(minutes=5)), progress=fail)
    assert contents(tmp_path / "out") == before
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(FILES.values())


def test_replay_timestamps_as_strings_are_only_that(tmp_path: Path) -> None:
    data = write(tmp_path / "day.jsonl", day(minutes=2))
    run(tmp_path / "int", data)
    run(tmp_path / "string", data, timestamps="string")
    as_int, as_text = read(tmp_path / "int", "estimates")[0], read(tmp_path / "string", "estimates")[0]
    assert as_text == as_int | {"minute": str(as_int["minute"])}


def test_replay_last_minute_may_be_left_open(tmp_path: Path) -> None:
    data = write(tmp_path / "day.jsonl", day(minutes=3))
    assert run(tmp_path / "open", data, close_last=False).minutes == 2
    assert run(tmp_path / "closed", data).minutes == 3


def test_replay_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    data = write(tmp_path / "day.jsonl", day(minutes=2))
    run(tmp_path / "out", data, batch_rows=10, progress=lambda rows, clock: told.append((rows, clock)))
    assert [rows for rows, _ in told] == [10, 20, 24]
    assert told[-1][1] == OPEN_NS + 115 * SECOND_NS


def test_replay_on_arrival_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in_event_time"):
        run(tmp_path / "out", tmp_path / "day.jsonl", core=dataclasses.replace(SCHEDULED, apply="on_arrival"))


@pytest.mark.parametrize(
    ("name", "rows", "minutes"), [("FROG_2025-04-03", 37_103, 390), ("ARL_2025-07-17", 3_974, None)]
)
def test_replay_recorded_day_runs_through(
    data_dir: Path, tmp_path: Path, name: str, rows: int, minutes: int | None
) -> None:
    summary = run(tmp_path / "out", data_dir / f"{name}_mbp10.csv.gz", batch_rows=1_000)
    assert (summary.ticks, summary.refused) == (rows, {})
    assert minutes in {None, summary.minutes}
    assert summary.models == 2 * summary.minutes

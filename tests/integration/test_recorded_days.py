"""Recorded days, from the file and through a real broker: the same bytes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from impactd.config.hours import session_rule
from impactd.core.base.settings import CoreSettings, PlanSettings
from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import Broker
from impactd.shell.kafka.publish import publish
from impactd.shell.outputs import FILES
from impactd.shell.replay import ReplaySummary, Sources, replay
from tests.integration.kafka_lab import (
    MINUTE_NS,
    OPEN_NS,
    assert_same,
    from_files,
    from_topics,
    lab,
    published_all,
    running,
)

FROG = "FROG_2025-04-03_mbp10.csv.gz"
ARL = "ARL_2025-07-17_mbp10.csv.gz"
CLOSE_NS = OPEN_NS + 390 * MINUTE_NS

#: United States hours; fills are those of the executions file.
DAY = CoreSettings(
    session=session_rule("America/New_York", "09:30", "16:00"),
    apply="in_event_time",
    plans=PlanSettings(fills="reported"),
)


def frog(data_dir: Path, directory: Path) -> Sources:
    """Return FROG's day with a buy that is replaced and a sell that is partly filled."""
    terms = {
        "type": "new",
        "symbol": "FROG",
        "order_qty": 20_000,
        "ts_event": OPEN_NS,
        "start": OPEN_NS,
        "end": CLOSE_NS,
    }
    orders = [
        terms | {"cl_ord_id": "B1", "side": "buy"},
        terms | {"cl_ord_id": "S1", "side": "sell"},
        {
            "type": "replace",
            "cl_ord_id": "B1",
            "symbol": "FROG",
            "ts_event": OPEN_NS + 100 * MINUTE_NS + 1,
            "order_qty": 15_000,
            "end": CLOSE_NS - 60 * MINUTE_NS,
        },
    ]
    fills = [
        {
            "type": "fill",
            "exec_id": f"E{k}",
            "cl_ord_id": "S1",
            "symbol": "FROG",
            "last_qty": 100,
            "last_px": 31.2,
            "last_liquidity_ind": "taker",
            "ts_event": OPEN_NS + (5 + 3 * k) * MINUTE_NS + 777,
        }
        for k in range(40)
    ]
    for name, rows in (("orders", orders), ("executions", fills)):
        (directory / f"{name}.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return Sources((data_dir / FROG,), directory / "orders.jsonl", directory / "executions.jsonl")


def lines(out: Path, topic: Topic) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (out / FILES[topic]).read_bytes().splitlines()]


@pytest.fixture(scope="module")
def replayed(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReplaySummary]:
    directory = tmp_path_factory.mktemp("frog")
    return directory, replay(frog(data_dir, directory), DAY, directory / "out")


def test_frog_closes_all_minutes_of_both_sides(replayed: tuple[Path, ReplaySummary]) -> None:
    estimates = lines(replayed[0] / "out", Topic.ESTIMATES)
    minutes = Counter(row["side"] for row in estimates)
    assert minutes == {"buy": 390, "sell": 390}
    assert {row["minute"] for row in estimates} == set(range(OPEN_NS, CLOSE_NS, MINUTE_NS))
    assert sum(row["n_rejected"] for row in estimates if row["side"] == "buy") == 1_569


def test_frog_rejects_are_counted_by_reason(replayed: tuple[Path, ReplaySummary]) -> None:
    assert replayed[1].rejected == {"mid_event": 1_569}


def test_frog_every_plan_sums_exactly_and_keeps_its_caps(replayed: tuple[Path, ReplaySummary]) -> None:
    plans = lines(replayed[0] / "out", Topic.PLANS)
    assert {plan["cl_ord_id"] for plan in plans} == {"B1", "S1"}
    for plan in plans:
        assert sum(plan["qty"]) == plan["leaves_qty"] - plan["shortfall_qty"]
        assert plan["order_qty"] == plan["cum_qty"] + plan["leaves_qty"]
        assert all(cap is None or qty <= cap for qty, cap in zip(plan["qty"], plan["cap"], strict=True))
        assert plan["certificate"] is None or plan["certificate"]["kkt_residual"] <= 1e-6


def test_frog_replaced_and_partly_filled_orders_end_as_they_should(replayed: tuple[Path, ReplaySummary]) -> None:
    plans = lines(replayed[0] / "out", Topic.PLANS)
    buy = [plan for plan in plans if plan["cl_ord_id"] == "B1"]
    sell = [plan for plan in plans if plan["cl_ord_id"] == "S1"]
    assert [plan["plan_version"] for plan in buy] == list(range(1, len(buy) + 1))
    assert [plan["reason"] for plan in buy].count("replace") == 1
    assert (buy[-1]["status"], buy[-1]["order_qty"], buy[-1]["as_of"]) == ("expired", 15_000, CLOSE_NS - 60 * MINUTE_NS)
    assert (sell[-1]["status"], sell[-1]["cum_qty"], sell[-1]["shortfall_qty"]) == ("expired", 4_000, 16_000)


@pytest.mark.parametrize("batch_rows", [7, 1_000])
def test_frog_batches_change_no_byte(
    replayed: tuple[Path, ReplaySummary], data_dir: Path, tmp_path: Path, batch_rows: int
) -> None:
    replay(frog(data_dir, tmp_path), DAY, tmp_path / "out", batch_rows=batch_rows)
    for name in FILES.values():
        assert (tmp_path / "out" / name).read_bytes() == (replayed[0] / "out" / name).read_bytes()


async def test_frog_through_a_broker_gives_the_bytes_of_the_file(
    broker: Broker, data_dir: Path, tmp_path: Path
) -> None:
    sources = frog(data_dir, tmp_path)
    expected = from_files(sources, tmp_path / "out", DAY)
    settings = await lab(broker.bootstrap)
    await publish(settings, sources)
    async with running(settings, DAY):
        await published_all(settings, expected)
    assert_same(await from_topics(settings), expected)
    assert sum(len(values) for values in expected[Topic.ESTIMATES]) == 780


def test_arl_with_gaps_and_empty_levels_runs_through(data_dir: Path, tmp_path: Path) -> None:
    core = replace(DAY, plans=PlanSettings(fills="scheduled"))
    day = OPEN_NS + 105 * 24 * 60 * MINUTE_NS
    order = {
        "type": "new",
        "cl_ord_id": "B1",
        "symbol": "ARL",
        "side": "buy",
        "order_qty": 4_000,
        "ts_event": day,
        "start": day,
        "end": day + 390 * MINUTE_NS,
    }
    (tmp_path / "orders.jsonl").write_bytes(orjson.dumps(order) + b"\n")
    summary = replay(Sources((data_dir / ARL,), tmp_path / "orders.jsonl"), core, tmp_path / "out")
    plans = lines(tmp_path / "out", Topic.PLANS)
    assert plans[-1]["status"] == "done"
    assert all(sum(plan["qty"]) == plan["leaves_qty"] - plan["shortfall_qty"] for plan in plans)
    assert summary.minutes > 390
    assert set(summary.rejected) <= {"mid_event"}

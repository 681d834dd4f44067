"""What a partition's numbers say of the plans in force."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from impactd.core.base.quantity import QUANTA
from impactd.core.base.topics import Topic
from impactd.core.outputs.messages import ModelRef, Output, Plan
from impactd.core.state.commit import Commit
from impactd.shell.kafka.meter import Meter, Stopwatch
from impactd.shell.kafka.status import OpenPlan, PartitionStatus, Status
from tests.shell.test_tally import PLAN


@pytest.fixture
def status() -> PartitionStatus:
    return PartitionStatus(0, token=1)


@pytest.fixture
def meter(status: PartitionStatus) -> Meter:
    engine: Any = SimpleNamespace(
        clocks={Topic.TICKS: 0},
        positions={},
        commit_seq=1,
        orders=SimpleNamespace(active=lambda: (1, 0)),
        halts=SimpleNamespace(scopes={}, kill_switch=None),
        invalid=SimpleNamespace(over=False),
    )
    return Meter(Status(partitions={0: status}), status, engine, Stopwatch())


def publish(meter: Meter, plan: Plan, topic: Topic = Topic.PLANS) -> None:
    commit = Commit((Output(topic, None, plan, 0, None),), {}, {})
    meter.committed(commit, records=1, rows=0, seconds=0.01, idle=False)


def test_meter_plan_in_force_is_the_last_one_of_its_order(meter: Meter, status: PartitionStatus) -> None:
    publish(meter, PLAN)
    publish(meter, replace(PLAN, cl_ord_id="B", shortfall_qty=QUANTA, leaves_qty=2 * QUANTA))
    publish(meter, replace(PLAN, expected_cost=3.0, twap_cost=4.0))
    assert status.plans == {"A1": OpenPlan(3.0, 4.0, short=False), "B": OpenPlan(8.0, 9.0, short=True)}


@pytest.mark.parametrize("ended", ["done", "halted", "canceled", "expired"])
def test_meter_order_without_schedule_has_no_plan_in_force(meter: Meter, status: PartitionStatus, ended: str) -> None:
    publish(meter, PLAN)
    publish(meter, replace(PLAN, status=ended))
    assert status.plans == {}


def test_meter_generic_prior_has_no_price(meter: Meter, status: PartitionStatus) -> None:
    publish(meter, replace(PLAN, model=ModelRef("linear", "price_per_share", None, prior=True)))
    assert status.plans == {"A1": OpenPlan(0.0, 0.0, short=False)}


def test_meter_copies_of_a_plan_on_other_topics_count_once(meter: Meter, status: PartitionStatus) -> None:
    publish(meter, PLAN, Topic.PLANS_LATEST)
    assert status.plans == {}

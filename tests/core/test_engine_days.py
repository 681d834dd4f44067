"""The engine on recorded days: the same bytes however they are decoded, and plans that keep their promises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import MINUTE_NS, SECOND_NS, CoreSettings, SessionRule
from impactd.core.base.topics import Side, Topic
from impactd.core.engine import Engine
from impactd.core.inputs.events import Event, Received
from impactd.core.inputs.inbox import Inbox
from impactd.core.outputs.messages import Output, Plan
from impactd.shell.files import merge_files
from tests.core.builders import change, check_plan, check_window, encoded, fill, new, plans, raw_of, topic_for

#: New York's hours on both days, when its clocks were four hours behind UTC.
NEW_YORK: Final = CoreSettings(
    session=SessionRule(34_200, 57_600, ((0, -4 * 3600),)),
    apply="in_event_time",
)
FROG: Final = "FROG_2025-04-03_mbp10.csv.gz"
FROG_OPEN: Final = 1_743_687_000 * SECOND_NS
ARL: Final = "ARL_2025-07-17_mbp10.csv.gz"
ARL_OPEN: Final = 1_752_759_000 * SECOND_NS
DAY: Final = 390 * MINUTE_NS
HOUR: Final = 60 * MINUTE_NS


def two_orders(symbol: str, open_ns: int, qty: int) -> tuple[Event, ...]:
    """Return a buy that is amended and a sell that is partly filled, both over the session."""
    buy = new("BUY", qty, open_ns, DAY, symbol=symbol)
    sell = new("SELL", qty, open_ns, DAY, symbol=symbol, side=Side.SELL)
    amended = change(open_ns + 2 * HOUR, "BUY", symbol, order_qty=0.75 * qty, end=open_ns + 5 * HOUR)
    fills = (fill(open_ns + k * 7 * MINUTE_NS, f"E{k}", qty // 100, "SELL", symbol) for k in range(1, 40))
    return buy, sell, amended, *fills


@cache
def run(path: Path, open_ns: int, batch: int, until: int | None = None, qty: int = 20_000) -> tuple[Output, ...]:
    """Return all that a day gives when so many records are decoded together, up to a time or its end."""
    return tuple(_run(path, open_ns, batch, until, two_orders(path.name.split("_")[0], open_ns, qty)))


def _run(path: Path, open_ns: int, batch: int, until: int | None, events: Sequence[Event]) -> Iterator[Output]:
    engine, inbox = Engine(NEW_YORK), Inbox(NEW_YORK, {}, {})
    by_topic: dict[Topic, list[Event]] = {}
    for event in events:
        by_topic.setdefault(topic_for(event), []).append(event)
    for topic, mine in by_topic.items():
        received = [Received(event, k, event.ts_event, raw_of(event), b"key") for k, event in enumerate(mine)]
        inbox.put_events(topic, received, [], len(received))
    for decoded in merge_files([path], batch_rows=batch):
        inbox.put_ticks(decoded.batch, decoded.refused, int(decoded.batch.offset[-1]) + 1)
        while (inputs := inbox.take()) is not None:
            yield from engine.apply(inputs).outputs
        if until is not None and decoded.batch.ts_event[-1] >= until:
            return
    target = engine.idle_target(2**62, 2**62)
    if target is not None and (inputs := inbox.take(idle_to=target)) is not None:
        yield from engine.apply(inputs).outputs


@pytest.fixture(scope="module")
def frog(data_dir: Path) -> Path:
    return data_dir / FROG


def test_frog_day_closes_390_minutes_a_side(frog: Path) -> None:
    said = [o.message for o in run(frog, FROG_OPEN, 1_000) if o.topic is Topic.ESTIMATES]
    for side in Side:
        minutes = [e.minute for e in said if e.side is side]  # type: ignore[union-attr]  # estimates all
        assert minutes == list(range(FROG_OPEN, FROG_OPEN + DAY, MINUTE_NS))
    assert sum(e.n_rejected for e in said) == 2 * 1_569  # type: ignore[union-attr]  # estimates all


def test_frog_plans_sum_exactly_to_their_ends(frog: Path) -> None:
    versions: dict[str, int] = {}
    made = plans(run(frog, FROG_OPEN, 1_000))
    for plan in made:
        check_plan(plan, versions)
        check_window(plan, new(ts=FROG_OPEN, length=DAY))
    last: dict[str, Plan] = {plan.cl_ord_id: plan for plan in made}
    assert (last["BUY"].status, last["BUY"].as_of) == ("expired", FROG_OPEN + 5 * HOUR)
    assert (last["BUY"].order_qty, last["BUY"].shortfall_qty) == (15_000 * QUANTA, 15_000 * QUANTA)
    assert (last["SELL"].status, last["SELL"].cum_qty) == ("expired", 39 * 200 * QUANTA)
    assert last["SELL"].shortfall_qty == (20_000 - 39 * 200) * QUANTA
    assert min(versions.values()) > 250
    # At the open no book has been seen yet; from then on every plan has its costs.
    assert all(plan.expected_cost is not None for plan in made if plan.qty and plan.as_of > FROG_OPEN)


def test_frog_decoded_by_sevens_gives_the_same_bytes(frog: Path) -> None:
    assert encoded(run(frog, FROG_OPEN, 7)) == encoded(run(frog, FROG_OPEN, 1_000))


def test_frog_decoded_one_by_one_gives_the_same_bytes_in_its_first_half_hour(frog: Path) -> None:
    one_by_one = encoded(run(frog, FROG_OPEN, 1, FROG_OPEN + HOUR // 2))
    assert len(one_by_one) > 200
    assert one_by_one == encoded(run(frog, FROG_OPEN, 1_000))[: len(one_by_one)]


def test_arl_day_with_its_gaps_runs_through(data_dir: Path) -> None:
    said = run(data_dir / ARL, ARL_OPEN, 1_000, None, 2_000)
    assert encoded(run(data_dir / ARL, ARL_OPEN, 7, None, 2_000)) == encoded(said)
    versions: dict[str, int] = {}
    for plan in plans(said):
        check_plan(plan, versions)
    assert {plan.cl_ord_id: plan.status for plan in plans(said)} == {"BUY": "expired", "SELL": "expired"}

"""Random orders on random paths keep their instructions, and the judge notices where one does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from impactd.core.base.quantity import QUANTA
from impactd.core.base.topics import Side
from impactd.core.orders.order import Order
from impactd.core.planning.propose import Proposals, propose
from tests.core.builders import M, at, new
from tests.core.planning.rules import SETTINGS, Path, faults, judge


def test_random_orders_keep_their_instructions() -> None:
    found = [judge(seed) for seed in range(10_000_000, 10_000_200)]
    assert [(seed, wrong) for seed, (_, wrong) in enumerate(found) if wrong is not None] == []
    assert sum(plans for plans, _ in found) > 200


@pytest.mark.parametrize(
    ("terms", "name"),
    [
        ({"start": at(9)}, "window"),
        ({"blackouts": ((at(7), at(8)),)}, "blackouts or last_trade"),
        ({"last_trade": at(12)}, "blackouts or last_trade"),
        ({"max_interval_qty": QUANTA}, "max_interval_qty"),
        ({"limit_px": 50.0}, "limit price"),
        ({"participation_rate": 1e-4}, "participation"),
        ({"min_participation_rate": 0.9}, "least share"),
        ({"target_participation_rate": 1e-4}, "participation"),
        ({"min_clip_qty": 1_000 * QUANTA}, "min_clip_qty"),
        ({"order_qty": 999 * QUANTA}, "quantities do not sum"),
    ],
)
def test_judge_names_the_instruction_that_a_plan_breaks(terms: dict[str, Any], name: str) -> None:
    path, order, plan = planned()
    assert list(faults(order, path, at(5), plan)) == []
    order.terms = replace(order.terms, **terms)
    assert name in list(faults(order, path, at(5), plan))


def test_judge_knows_the_calendar_and_the_cutoff() -> None:
    path, order, plan = planned(auctions="close", auction_rate=0.01)
    assert list(faults(order, path, at(5), plan)) == []
    path.is_open = lambda starts: np.zeros(starts.size, np.bool_)  # type: ignore[method-assign]  # a market that is shut
    assert "calendar" in list(faults(order, path, at(5), plan))
    assert "an entry after its cutoff" in list(faults(order, path, at(36), plan))
    order.terms = replace(order.terms, auction_rate=0.001)
    assert "auction_rate" in list(faults(order, path, at(5), plan))


def planned(**terms: Any) -> tuple[Path, Order, Proposals]:
    path = Path(np.random.default_rng(4))
    path.auction["close"] = 5_000.0
    order = Order.open(new("A", 1_000, at(5), 35 * M, side=Side.BUY, **terms), at(5))
    plan = propose([order], at(5), path.view(Side.BUY), SETTINGS, M, lambda _starts: None)
    assert isinstance(plan, Proposals)
    return path, order, plan

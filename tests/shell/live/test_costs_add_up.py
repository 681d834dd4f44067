"""An order's costs on the page are those of `impactd.tca`, and add up to the last digit that is shown."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from decimal import Decimal

import orjson
import pytest

from impactd.core.base.topics import Topic
from impactd.core.outputs.messages import FillCost, OrderCost
from impactd.shell.live.board import PARTS, Board
from impactd.wire.records import encode_message
from tests.core.builders import EngineHarness, M, S, at, bust, correct, fill, minutes, new
from tests.paths import PACKAGE


def worked(seed: int) -> EngineHarness:
    """Return an engine that has worked an order to its end, with fills, a correction and a bust."""
    rng = random.Random(seed)
    harness = EngineHarness()
    harness.run(minutes(2))
    harness.send(new("A", 1_200, at(2), 12 * M))
    left, number = 1_200, 0
    for minute in range(2, 13):
        harness.run(minutes(1, start=at(minute))[1:])
        qty = min(left, rng.randrange(50, 200))
        px = 100.0 + rng.random() / 3
        harness.send(fill(at(minute) + 30 * S, f"E{number}", qty, px=px))
        left, number = left - qty, number + 1
    harness.send(correct(at(12.7), "C1", "E1", 33), bust(at(12.8), "B1", "E2"))
    harness.run(minutes(3, start=at(13))[1:])
    return harness


@pytest.mark.parametrize("seed", range(5))
def test_page_has_the_costs_of_tca(seed: int) -> None:
    harness = worked(seed)
    tca = [output.message for output in harness.outputs if isinstance(output.message, FillCost | OrderCost)]
    plans = [output for output in harness.outputs if output.topic is Topic.PLANS]
    board = Board()
    for output in plans:
        board.take(Topic.PLANS, encode_message(output.message))
    latest: dict[str, FillCost] = {}
    for message in tca:
        board.take(Topic.TCA, encode_message(message))
        shown = board.order("A")
        assert shown is not None
        if isinstance(message, OrderCost):
            # Once it has ended the page has the record itself.
            assert encode_message(message) in orjson.dumps(shown)
            assert message.shortfall == sum((getattr(message, f"{n}_cost") for n in NAMES), 0.0)
            continue
        latest[message.exec_id] = message
        costs = shown["costs"]
        for part in (*PARTS, "cost"):
            exact = sum(Decimal(getattr(one, part)) for one in latest.values() if one.qty)
            assert round(Decimal(costs[part]), 9) == round(exact, 9)
        assert costs["cost"] == costs["spread_cost"] + costs["impact_cost"] + costs["timing_cost"]
    assert any(isinstance(message, OrderCost) for message in tca)
    assert len(latest) == 11


NAMES = ("spread", "impact", "timing", "opportunity")


def test_shown_digits_add_up() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here to run the page's code")
    rng = random.Random(7)
    cases = [[rng.uniform(-1, 1) * 10 ** rng.randrange(6) for _ in range(4)] for _ in range(500)]
    cases += [[0.005, 0.005, 0.005, 0.0], [-0.005, 0.005, -0.004, 0.0], [1e9 + 0.125, -1e9, 0.375, 0.004]]
    source = (PACKAGE / "shell" / "page" / "format.js").read_text("utf-8")
    code = f"console.log(JSON.stringify({json.dumps(cases)}.map((v) => addends(v, 0))));"
    found = subprocess.run(
        [node, "--input-type=module", "-e", source + code], check=True, capture_output=True, text=True
    )
    for values, texts in zip(cases, json.loads(found.stdout), strict=True):
        *parts, total = (Decimal(text.replace(",", "")) for text in texts)
        assert sum(parts) == total
        assert abs(float(total) - sum(values)) <= 0.005001 + 1e-6
        assert all(abs(float(part) - value) <= 0.0101 for part, value in zip(parts, values, strict=True))
    unknown = subprocess.run(
        [node, "--input-type=module", "-e", source + "console.log(addends([null, 1, 2], 4.5).join('|'));"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert unknown.stdout.strip() == "\u2013|1.00|2.00|4.50"

"""The live view: what it says of published messages."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from impactd.core.base.topics import Topic
from impactd.shell.view import Scene, bars, clock_text, in_bps, number, plain_lines, profile, render

MINUTE_NS = 1_743_687_000_000_000_000


def estimate(**changes: Any) -> dict[str, Any]:
    return {
        "symbol": "FROG",
        "side": "buy",
        "minute": MINUTE_NS,
        "interval_s": 60,
        "mid": 30.0,
        "half_spread": 0.03,
        "sizes": [100, 200, 400],
        "slippage": [0.03, 0.06, None],
    } | changes


def model(**changes: Any) -> dict[str, Any]:
    return {
        "symbol": "FROG",
        "side": "buy",
        "half_spread": 0.02,
        "beta": 1e-4,
        "alpha": None,
        "eta": None,
        "delta": None,
        "r2": 0.97,
        "prior": True,
    } | changes


def plan(**changes: Any) -> dict[str, Any]:
    return {
        "cl_ord_id": "A1",
        "symbol": "FROG",
        "side": "buy",
        "plan_version": 1,
        "status": "active",
        "order_qty": 1000,
        "cum_qty": 250,
        "leaves_qty": 750,
        "qty": [300, 250, 200],
        "expected_cost": 81.5,
        "twap_cost": 94.0,
        "saving_bps": 0.8,
    } | changes


def drawn(scene: Scene, width: int = 160) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(render(scene, "demo", "America/New_York"))
    return stream.getvalue()


def test_scene_of_everything_is_drawn() -> None:
    scene = Scene()
    scene.take(Topic.ESTIMATES, estimate())
    scene.take(Topic.MODELS, model())
    scene.take(Topic.PLANS, plan())
    scene.take(Topic.ALERTS, {"kind": "shortfall", "text": "limits leave 3 unplanned"})
    scene.take(Topic.TCA, {"type": "fill_cost"})
    scene.waits_for = "the last ticks"
    text = drawn(scene)
    for words in ("2025-04-03 09:31", "10.0 bp", "200: 20.0 bp", "prior", "A1 FROG", "25%", "750", "fills 1"):
        assert words in text
    for words in ("82", "94", "! shortfall: limits leave 3 unplanned", "waiting for the last ticks"):
        assert words in text


def test_large_figures_fit_80_columns() -> None:
    scene = Scene()
    for symbol in ("LONGNAME", "DEMO1"):
        for side in ("buy", "sell"):
            scene.take(
                Topic.ESTIMATES,
                estimate(symbol=symbol, side=side, mid=12_345.678, sizes=[100_000] * 24, slippage=[4_000.0] * 24),
            )
            scene.take(Topic.MODELS, model(symbol=symbol, side=side, prior=False))
    scene.take(Topic.PLANS, plan(qty=[12_345] * 50, leaves_qty=1_234_567, expected_cost=123_456.0, twap_cost=123_456.0))
    scene.take(Topic.ALERTS, {"kind": "shortfall", "text": "a long text, " * 20})
    text = drawn(scene, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for words in ("12,345.678", "100,000: 3240.0 bp", "1,234,567", "123,456", "LONGNAME", "0.97"):
        assert words in text


def test_scene_empty_is_drawn() -> None:
    assert "--:--" in drawn(Scene())


def test_scene_without_prices_shows_dashes() -> None:
    scene = Scene()
    scene.take(Topic.ESTIMATES, estimate(mid=None, half_spread=None, slippage=[None, None, None]))
    scene.take(Topic.PLANS, plan(status="rejected", qty=[], expected_cost=None, twap_cost=None, saving_bps=None))
    assert "rejected" in drawn(scene)
    (line,) = plain_lines(scene)
    assert "rejected" in line
    assert "next minute" not in line
    assert "expected" not in line


def test_scene_order_keeps_its_first_priced_plan() -> None:
    scene = Scene()
    scene.take(Topic.PLANS, plan(expected_cost=None))
    scene.take(Topic.PLANS, plan(plan_version=2))
    scene.take(Topic.PLANS, plan(plan_version=3, status="done"))
    order = scene.orders["A1"]
    assert (order.first["plan_version"], order.latest["plan_version"], order.versions) == (2, 3, 3)
    assert order.ended


def test_plain_lines_without_orders_tell_of_the_market() -> None:
    scene = Scene()
    scene.take(Topic.ESTIMATES, estimate())
    assert plain_lines(scene) == ["2025-04-03 13:31  estimates: 1, models: 0"]


def test_plain_lines_order_is_one_line() -> None:
    scene = Scene()
    scene.take(Topic.PLANS, plan())
    (line,) = plain_lines(scene)
    assert line.startswith("--:--  A1 buy FROG active: 25% filled, 750 left, next minute 300, expected cost 82 ")
    assert line.endswith("against TWAP's 94 (expected saving 12.5 (0.80 bp)), plan 1")


@pytest.mark.parametrize(
    ("values", "text"),
    [([], ""), ([0.0, 0.0], "▁▁"), ([1.0, None, 8.0], "▁·█"), ([4.0, 8.0], "▄█"), ([None], "·")],
)
def test_bars_are_scaled_to_the_largest(values: list[float | None], text: str) -> None:
    assert bars(values) == text


def test_profile_long_schedule_is_averaged_in_parts() -> None:
    assert profile({"qty": [1] * 50 + [3] * 50}, width=2) == "▃█"
    assert profile({"qty": []}) == ""


def test_figures_for_people() -> None:
    assert (number(None), number(1234.56), number(2, 0, " bp")) == ("-", "1,234.6", "2 bp")
    assert (in_bps(0.01, 100.0), in_bps(None, 100.0), in_bps(0.01, None)) == (1.0, None, None)
    assert clock_text(0) == "--:--"

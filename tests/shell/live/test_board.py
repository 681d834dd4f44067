"""The board: values as published, bounds, and the saving so far against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from impactd.core.base.topics import Topic
from impactd.shell.live import board as module
from impactd.shell.live.board import Board, slope
from tests.shell.live.messages import ALERT, MINUTE, T0, estimate, fill_cost, model, order_cost, plan


def full() -> Board:
    board = Board()
    for version, k, cum in ((1, 0, 0), (2, 1, 200), (3, 2, 250)):
        board.take(Topic.PLANS, plan(version, k, cum))
    for k in range(2):
        board.take(Topic.ESTIMATES, estimate(k))
        board.take(Topic.MODELS, model(k))
    board.take(Topic.ALERTS, ALERT)
    return board


def shown(board: Board) -> bytes:
    alerts = [alert.decode() for alert in board.alerts]
    return orjson.dumps([board.symbols(), board.symbol("FROG"), board.order("A1"), alerts])


def test_board_shows_messages_as_they_were_published() -> None:
    board = full()
    assert orjson.dumps(board.plans()) == b"[" + plan(3, 2, 250) + b"]"
    symbols = orjson.dumps(board.symbols())
    assert estimate(1) in symbols
    assert model(1) in symbols


def test_board_message_that_comes_again_changes_nothing() -> None:
    board = full()
    before = orjson.dumps(
        [board.symbols(), board.symbol("FROG"), board.order("A1"), list(map(bytes.decode, board.alerts))]
    )
    for topic, value in ((Topic.ESTIMATES, estimate(0)), (Topic.MODELS, model(0)), (Topic.PLANS, plan(2, 1, 200))):
        board.take(topic, value)
    board.take(Topic.ALERTS, ALERT)
    after = orjson.dumps(
        [board.symbols(), board.symbol("FROG"), board.order("A1"), list(map(bytes.decode, board.alerts))]
    )
    assert after == before


def test_board_saving_prices_executed_and_twap_on_the_measured_curve() -> None:
    story = full().order("A1")
    assert story is not None
    # Minute 0: 200 at 0.02, minute 1: 50 at the least size's 0.01; TWAP of the same 250: 125 in each, at 0.0125.
    assert story["saving"]["qty"] == 250.0
    assert story["saving"]["cost"] == pytest.approx(200 * 0.02 + 50 * 0.01)
    assert story["saving"]["twap_cost"] == pytest.approx(250 * 0.0125)
    # No fill was reported.
    assert (story["saving"]["saved"], story["saving"]["saved_bps"]) == (None, None)
    assert (story["saving"]["minutes"], story["saving"]["unpriced"]) == (2, 0)


def test_board_order_known_by_its_latest_plan_first_learns_its_beginning_later() -> None:
    board = Board()
    board.take(Topic.PLANS_LATEST, plan(3, 2, 250))
    for version, k, cum in ((1, 0, 0), (2, 1, 200), (3, 2, 250)):
        board.take(Topic.PLANS, plan(version, k, cum))
    story = board.order("A1")
    assert story is not None
    assert story["first"]["plan_version"] == 1
    assert [point[2] for point in story["path"]] == [0, 200, 250]
    assert board.orders["A1"].latest == plan(3, 2, 250)


def test_board_finds_an_order_by_every_id_of_its_chain() -> None:
    board = Board()
    first = orjson.loads(plan(1, 0, 0))
    board.take(Topic.PLANS, orjson.dumps(first))
    board.take(Topic.PLANS, orjson.dumps(first | {"plan_version": 2, "cl_ord_ids": ["A1", "A2"]}))
    assert board.find("A2") is board.find("A1") is not None
    assert board.order("A3") is None


def test_board_holds_no_more_than_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ORDERS", 3)
    monkeypatch.setattr(module, "MAX_SYMBOLS", 2)
    monkeypatch.setattr(module, "FILLS", 5)
    board = Board()
    for i in range(9):
        board.take(Topic.PLANS, plan(1, 0, cl_ord_id=f"A{i}"))
        board.take(Topic.ESTIMATES, estimate(0, symbol=f"S{i}"))
        board.take(Topic.TCA, fill_cost(f"E{i}", T0, 1, over_mid=0.0))
        board.take(Topic.TCA, order_cost(cl_ord_id=f"A{i}"))
    assert list(board.orders) == ["A6", "A7", "A8"]
    assert len(board.sides) == 4
    assert len(board.costs) == 3


def test_board_saving_takes_what_fills_have_paid_where_they_are_all_known() -> None:
    board = full()
    # All of minute 0's 200 shares, at 3 over mid; of minute 1's 50 only 30.
    for exec_id, at, qty in (("E1", T0 + 1, 150), ("E2", T0 + 2, 50), ("E3", T0 + 61 * 10**9, 30)):
        board.take(Topic.TCA, fill_cost(exec_id, at, qty, over_mid=qty * 0.03))
    story = board.order("A1")
    assert story is not None
    assert story["saving"]["cost"] == pytest.approx(200 * 0.03 + 50 * 0.01)
    assert (story["saving"]["minutes"], story["saving"]["by_fills"]) == (2, 1)
    assert story["saving"]["saved"] == pytest.approx(250 * 0.0125 - 200 * 0.03 - 50 * 0.01)
    assert story["saving"]["saved_bps"] is not None


def test_board_costs_are_the_sums_of_the_latest_of_each_fill() -> None:
    board = Board()
    board.take(Topic.TCA, fill_cost("E1", T0, 100, over_mid=3.0, timing=1.0))
    board.take(Topic.TCA, fill_cost("E2", T0, 50, over_mid=2.0, timing=0.5))
    board.take(Topic.TCA, fill_cost("E1", T0, 80, over_mid=2.5, timing=1.0))
    board.take(Topic.TCA, fill_cost("E2", T0, 0, over_mid=0.0))
    board.take(Topic.PLANS, plan(1, 0))
    story = board.order("A1")
    assert story is not None
    assert story["costs"]["ended"] is None
    assert (story["costs"]["fills"], story["costs"]["qty"]) == (1, 80)
    assert story["costs"]["cost"] == story["costs"]["spread_cost"] + story["costs"]["impact_cost"] + 1.0
    board.take(Topic.TCA, fill_cost("E3", T0, 7, over_mid=1.0, spread_cost=None))
    story = board.order("A1")
    assert story is not None
    assert (story["costs"]["spread_cost"], story["costs"]["cost"]) == (None, 4.5)
    board.take(Topic.TCA, order_cost())
    assert order_cost() in orjson.dumps(board.order("A1"))


def test_board_day_cost_is_of_no_order() -> None:
    board = Board()
    board.take(Topic.TCA, b'{"type":"day_cost","symbol":"FROG","side":"buy"}')
    assert board.costs == {}


def test_slope_is_weighted_least_squares() -> None:
    assert slope([(100.0, 0.01, 1.0), (200.0, 0.02, 1.0), (300.0, 0.03, 0.95)]) == pytest.approx(1e-4)
    # Twice the weight is the point twice.
    one, two, three = (100.0, 0.01, 1.0), (200.0, 0.03, 1.0), (400.0, 0.04, 1.0)
    assert slope([one, (200.0, 0.03, 2.0), three]) == pytest.approx(slope([one, two, two, three]))
    assert slope([(100.0, 0.01, 1.0)]) is None


def test_board_record_that_is_no_json_is_left_alone() -> None:
    board = Board()
    board.take(Topic.PLANS, b"\xff")
    assert board.version == 0


def test_the_response_to_an_orders_fills_is_that_of_the_core_and_follows_new_fills() -> None:
    board, chance = Board(), np.random.default_rng(0)
    every = range(5, 420, 12)
    board.take(Topic.PLANS, plan(1, 0, n=420))
    for k in range(420):
        after = k % 12 == 5
        half = 0.02 + 0.001 * chance.random()
        prices = [half + (0.004 + 0.002 * after) * (j + 1) * (1.0 + 0.05 * chance.random()) for j in range(3)]
        fields = {"mid": 30.0 + 0.001 * chance.random(), "half_spread": half, "coverage": [1.0] * 3}
        for side in ("buy", "sell"):
            board.take(Topic.ESTIMATES, estimate(k, side, slippage=prices, **fields))
    none = board.order("A1")
    assert none is not None
    assert none["response"]["text"] is not None
    assert np.isnan(none["response"]["impact_bps"]).all()
    for k in every:
        board.take(Topic.TCA, fill_cost(f"E{k}", T0 + k * MINUTE + 5, 100, over_mid=2.0))
    story = board.order("A1")
    assert story is not None
    found = story["response"]
    assert found["text"] is None
    now = found["lag_s"].index(0.0)
    assert found["events"][now] == len(every)
    # Three sizes deep, 0.002 a share each: 2 bps of 30.
    assert abs(found["impact_bps"][now] - 2.0) < 3 * found["impact_se"][now] < 0.6
    assert abs(found["mid_bps"][now]) < 3 * found["mid_se"][now]
    assert b"NaN" not in orjson.dumps(story)

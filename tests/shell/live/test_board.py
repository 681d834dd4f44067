"""The board: values as published, bounds, and the saving so far against figures worked out by hand."""

from __future__ import annotations

import orjson
import pytest

from impactd.core.messages import Topic
from impactd.shell.live import board as module
from impactd.shell.live.board import Board, price, twap_path
from tests.shell.live.messages import ALERT, MINUTE, T0, estimate, model, plan


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
    # Minute 0: 200 at 0.02 against TWAP's 100 at 0.01; minute 1: 50 and 100, both at the least size's 0.01.
    assert story["saving"]["cost"] == pytest.approx(200 * 0.02 + 50 * 0.01)
    assert story["saving"]["twap_cost"] == pytest.approx(100 * 0.01 + 100 * 0.01)
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


def test_board_holds_no_more_than_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ORDERS", 3)
    monkeypatch.setattr(module, "MAX_SYMBOLS", 2)
    board = Board()
    for i in range(9):
        board.take(Topic.PLANS, plan(1, 0, cl_ord_id=f"A{i}"))
        board.take(Topic.ESTIMATES, estimate(0, symbol=f"S{i}"))
    assert list(board.orders) == ["A6", "A7", "A8"]
    assert len(board.sides) == 4


def test_twap_path_amended_quantity_bends_it_from_then_on() -> None:
    path = [(T0 + 2 * MINUTE, 800.0, 0.0, 0.0, T0 + 4 * MINUTE)]
    knots = twap_path(orjson.loads(plan(1, 0)), path)
    assert knots == [(T0, 0.0), (T0 + 2 * MINUTE, 200.0), (T0 + 4 * MINUTE, 800.0)]


@pytest.mark.parametrize(("quantity", "expected"), [(50, 0.01), (150, 0.015), (200, 0.02), (900, 0.02)])
def test_price_interpolates_what_was_measured(quantity: float, expected: float) -> None:
    assert price([100, 200, 400], [0.01, 0.02, None], quantity) == pytest.approx(expected)


def test_board_record_that_is_no_json_is_left_alone() -> None:
    board = Board()
    board.take(Topic.PLANS, b"\xff")
    assert board.version == 0

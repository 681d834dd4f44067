"""Paper trading: what trades when, at which price; what crosses a plan is not traded twice; costs are those of TWAP."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np

from impactd.client import Plan
from impactd.core.base.settings import BookSettings
from impactd.core.books.interval_cost import Intervals, Prevailing
from impactd.core.inputs.ticks import TickBatch
from impactd.shell.files import merge_files
from impactd.shell.paper import PaperDesk, PaperFill, usable_rows
from tests.core.builders import at, ladder
from tests.core.rows import batch_of

MINUTE = 60_000_000_000
QUANTA = 1_000_000_000


def plan(version: int = 1, *, qty: tuple[float, ...] = (100.0,), cum: float = 0.0, **changes: Any) -> Plan:
    start = changes.pop("start", at(0))
    starts = [start, *((start // MINUTE + k) * MINUTE for k in range(1, len(qty)))]
    changes = _end(starts) | changes
    starts = starts[: len(qty)]
    made = {"cl_ord_id": "A", "symbol": "FROG", "side": "buy", "plan_version": version, "status": "active"}
    return cast("Plan", {**made, "interval_s": 60, "cum_qty": cum, "start": starts, "qty": list(qty)} | changes)


def _end(starts: list[int]) -> dict[str, int]:
    return {"end": (starts[-1] // MINUTE + 1) * MINUTE}


def played(desk: PaperDesk, *minutes: float, **book: Any) -> list[PaperFill]:
    return desk.ticks(batch_of([ladder(at(minute), **book) for minute in minutes]))


def test_each_interval_trades_once_at_its_own_moment() -> None:
    desk = PaperDesk()
    desk.plan(plan(qty=(100.0, 0.0, 250.0)))
    fills = played(desk, 0, 1, 2, 3, 4)
    assert [fill.qty for fill in fills] == [100 * QUANTA, 250 * QUANTA]
    assert at(0) <= fills[0].ts_event < at(1)
    assert at(2) <= fills[1].ts_event < at(3)
    # 100 shares a level, from 100.02 up, a cent apart.
    assert [fill.px for fill in fills] == [100.02, (100 * 100.02 + 100 * 100.03 + 50 * 100.04) / 250]
    assert all(fill.exec_id.startswith("paper-A-") for fill in fills)


def test_last_interval_trades_before_the_order_ends() -> None:
    for seed in range(20):
        desk = PaperDesk(seed)
        desk.plan(plan(end=at(0.1)))
        (fill,) = played(desk, 0, 1)
        assert fill.ts_event < at(0.1)


def test_moments_are_the_seeds_and_lie_anywhere_in_the_interval() -> None:
    def moments(seed: int) -> list[int]:
        desk = PaperDesk(seed)
        desk.plan(plan(qty=(1.0,) * 200))
        return [fill.ts_event - at(k) for k, fill in enumerate(played(desk, *range(202)))]

    assert moments(1) == moments(1)
    assert moments(1) != moments(2)
    shares = np.array(moments(1)) / MINUTE
    assert 0.0 <= shares.min() < 0.05
    assert 0.95 < shares.max() < 1.0
    assert abs(float(shares.mean()) - 0.5) < 0.1


def test_what_the_book_does_not_hold_stays_untraded() -> None:
    desk = PaperDesk()
    desk.plan(plan(qty=(1_000.0,)))
    (fill,) = played(desk, 0, 1, levels=3)
    assert fill.qty == 300 * QUANTA


def test_nothing_trades_beyond_the_limit_price_of_the_latest_plan() -> None:
    for side, limit, worse in (("buy", 100.03, 100.0), ("sell", 99.97, 100.0)):
        desk = PaperDesk()
        desk.plan(plan(qty=(1_000.0, 1_000.0, 10.0), side=side, limit_px=limit))
        (first,) = played(desk, 0, 1)
        # Two levels of a hundred shares lie within the limit.
        assert first.qty == 200 * QUANTA
        desk.plan(plan(2, start=at(1), qty=(50.0,), cum=200.0, side=side, limit_px=worse))
        assert played(desk, 2, 3) == []


def test_orders_take_from_one_book_what_is_left_of_it() -> None:
    desk = PaperDesk()
    desk.plan(plan(qty=(150.0,)))
    desk.plan(plan(qty=(150.0,), cl_ord_id="B"))
    desk.plan(plan(qty=(100.0,), cl_ord_id="S", side="sell"))
    prices = {fill.cl_ord_id: fill.px for fill in played(desk, 0, 1)}
    first, second = 100.02 + 0.01 / 3, 100.03 + 0.02 / 3
    np.testing.assert_allclose(sorted([prices["A"], prices["B"]]), [first, second], rtol=1e-12)
    assert prices["S"] == 99.98


def test_fill_that_crosses_a_plan_is_not_traded_twice() -> None:
    """The next plan does not count the fill yet; the one after it does."""
    desk = PaperDesk()
    desk.plan(plan(1, qty=(100.0, 100.0)))
    assert sum(fill.qty for fill in played(desk, 0, 1.0)) == 100 * QUANTA
    desk.plan(plan(2, start=at(1), qty=(150.0, 50.0)))
    assert sum(fill.qty for fill in played(desk, 2)) == 50 * QUANTA
    desk.plan(plan(3, start=at(2), qty=(50.0,), cum=150.0))
    assert sum(fill.qty for fill in played(desk, 3)) == 50 * QUANTA


def test_restarted_run_does_not_trade_again_what_no_plan_counts_yet() -> None:
    desk = PaperDesk()
    fill = {"cl_ord_id": "A", "exec_id": "paper-A-1-0", "last_qty": 60}
    for record in (fill, fill | {"last_qty": 61}, fill | {"exec_id": "E1"}, fill | {"cl_ord_id": "B"}):
        desk.reported(record)
    desk.plan(plan(2, qty=(100.0,), cum=10.0))
    assert [fill.qty for fill in played(desk, 0, 1)] == [50 * QUANTA]


def test_older_plans_and_plans_without_a_schedule_stop_or_change_nothing() -> None:
    desk = PaperDesk()
    desk.plan(plan(2, qty=(10.0, 10.0, 10.0)))
    desk.plan(plan(1, qty=(99.0,)))
    assert [fill.qty for fill in played(desk, 0, 1)] == [10 * QUANTA]
    desk.plan(plan(3, qty=(), status="halted", cum=10.0))
    assert played(desk, 2) == []
    desk.plan(plan(4, start=at(2), qty=(20.0,), cum=10.0))
    assert [fill.qty for fill in played(desk, 3)] == [20 * QUANTA]
    desk.plan(plan(5, qty=(), status="canceled", cum=30.0))
    assert played(desk, 4, 5) == []


def test_nothing_trades_at_a_book_that_no_longer_prevails() -> None:
    desk = PaperDesk(books=BookSettings(max_silence_ns=MINUTE // 1_000))
    desk.plan(plan(qty=(100.0,) * 5))
    assert played(desk, 0, 10) == []


def test_order_sent_before_the_first_book_trades_when_it_comes() -> None:
    desk = PaperDesk()
    desk.plan(plan(qty=(100.0,)))
    (fill,) = played(desk, 3, 4)
    assert fill.ts_event == at(3)


def test_even_pace_costs_on_paper_what_the_books_cost_by_the_clock(data_dir: Path) -> None:
    """FROG, an hour of 100 shares a minute, 200 seeds: their mean is the books' cost within one standard error."""
    start, minutes, qty = 1_743_692_400_000_000_000, 60, 100.0
    (path,) = data_dir.glob("FROG*mbp10.csv*")
    batch = TickBatch.concat([decoded.batch for decoded in merge_files([path])])
    costs = []
    desks = [PaperDesk(seed) for seed in range(200)]
    for desk in desks:
        desk.plan(plan(start=start, qty=(qty,) * minutes))
    found = [0.0] * len(desks)
    for _, symbol, book in usable_rows(batch, allow_locked=True):
        if book.ts_event > start + (minutes + 1) * MINUTE:
            break
        for k, desk in enumerate(desks):
            found[k] += sum(fill.qty / QUANTA * (fill.px - fill.mid) for fill in desk.book(symbol, book))
    prevailing = Prevailing.of(batch, BookSettings())
    hour = Intervals.of(prevailing, start, minutes, MINUTE)
    costs, beyond = hour.costs(0, np.arange(minutes), np.full(minutes, qty))
    assert beyond.sum() < 0.01 * qty * minutes
    error = float(np.std(found, ddof=1)) / np.sqrt(len(found))
    assert abs(float(np.mean(found)) - float(costs.sum())) < error

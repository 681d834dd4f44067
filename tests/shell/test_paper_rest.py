"""Orders that rest on paper, and entries in auctions: places in the queue by hand, and what holds of every tape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from impactd.core.inputs.ticks import AUCTION, TickBatch
from impactd.shell.files import merge_files
from impactd.shell.paper import PaperDesk, PaperFill, Style
from tests.core.builders import at
from tests.core.rows import Row, batch_of, trade
from tests.shell.test_paper import MINUTE, QUANTA, plan

SECOND = MINUTE // 60


def shown(second: float, bid: float = 99.98, size: float = 50.0, ask: float = 100.02) -> Row:
    """Return a book `second` seconds after 10:00: `size` shares at the bid, 1,000 at each of the other levels."""
    bids = ((bid, size), *((round(bid - 0.01 * k, 4), 1_000.0) for k in range(1, 4)))
    asks = tuple((round(ask + 0.01 * k, 4), 1_000.0) for k in range(4))
    return Row(at(0) + round(second * SECOND), bids, asks)


def print_at(second: float, qty: float, px: float = 99.98, flags: int = 0) -> Row:
    return trade(at(0) + round(second * SECOND), qty, px=px, flags=flags)


def resting(qty: float = 100.0, **changes: Any) -> PaperDesk:
    """Return a desk whose order rests at the first book of the minute."""
    desk = PaperDesk(style=Style.REST)
    # Drawn moments are anywhere in the minute: an order of which little of the minute is left rests at once.
    desk.plan(plan(qty=(qty,), start=at(1) - 1, end=at(1), **changes))
    (child,) = desk._orders["A"].children
    desk._orders["A"].children = [child._replace(moment=at(0), cross=at(1) - SECOND)]
    return desk


def seen(fills: Sequence[PaperFill]) -> list[tuple[float, float, str]]:
    return [(fill.qty / QUANTA, fill.px, fill.liquidity) for fill in fills]


def test_trades_at_the_price_take_the_queue_ahead_first() -> None:
    desk = resting()
    rows = [shown(0), shown(1), print_at(2, 30), print_at(3, 40), print_at(4, 25)]
    # 50 ahead: 30 leave 20; 40 take these and 20 of ours; then all 25 are ours.
    assert seen(desk.ticks(batch_of(rows))) == [(20, 99.98, "maker"), (25, 99.98, "maker")]


def test_a_trade_through_the_price_counts_and_one_above_it_does_not() -> None:
    desk = resting()
    rows = [shown(0), shown(1), print_at(2, 500, px=99.99), print_at(3, 60, px=99.97)]
    assert seen(desk.ticks(batch_of(rows))) == [(10, 99.98, "maker")]


def test_a_shorter_queue_shown_shortens_the_queue_ahead_and_a_longer_one_does_not_lengthen_it() -> None:
    desk = resting()
    rows = [shown(0), shown(1), shown(2, size=15), shown(3, size=400), print_at(4, 20)]
    assert seen(desk.ticks(batch_of(rows))) == [(5, 99.98, "maker")]


def test_when_the_touch_moves_the_order_joins_the_end_of_its_queue() -> None:
    for bid in (99.99, 99.97):
        desk = resting()
        rows = [shown(0, size=0.5), shown(1, size=0.5), shown(2, bid, size=70), print_at(3, 80, px=bid)]
        assert seen(desk.ticks(batch_of(rows))) == [(10, bid, "maker")]


def test_what_is_left_walks_the_book_a_second_before_the_interval_ends() -> None:
    desk = resting()
    rows = [shown(0), shown(1), print_at(2, 80), shown(70)]
    maker, taker = desk.ticks(batch_of(rows))
    assert seen([maker, taker]) == [(30, 99.98, "maker"), (70, 100.02, "taker")]
    assert taker.ts_event == at(1) - SECOND
    assert [fill.record()["last_liquidity_ind"] for fill in (maker, taker)] == ["maker", "taker"]
    assert [fill.exec_id for fill in (maker, taker)] == ["paper-A-1", "paper-A-2"]


def test_it_rests_at_no_worse_a_price_than_the_limit_of_the_latest_plan() -> None:
    # A level further down holds 1,000 shares.
    desk = resting(limit_px=99.975)
    rows = [shown(0), shown(1), print_at(2, 900, px=99.98), print_at(3, 1_010, px=99.97), shown(70)]
    assert seen(desk.ticks(batch_of(rows))) == [(10, 99.97, "maker")]
    desk = resting()
    assert desk.ticks(batch_of([shown(0), shown(1)])) == []
    desk.plan(plan(2, qty=(100.0,), start=at(0.5), limit_px=99.9))
    assert desk.ticks(batch_of([print_at(40, 5_000, px=99.5), shown(70)])) == []


def test_a_plan_that_lowers_the_quantity_keeps_the_place_and_one_that_raises_it_loses_it() -> None:
    for qty, filled in ((100.0, 30.0), (40.0, 30.0), (101.0, None)):
        desk = resting()
        assert desk.ticks(batch_of([shown(0), shown(1), print_at(2, 40)])) == []
        desk.plan(plan(2, qty=(qty,), start=at(0.5)))
        fills = desk.ticks(batch_of([print_at(40, 40)]))
        # 10 of 50 are ahead of an order that keeps its place, 50 of one that does not.
        assert [fill.qty / QUANTA for fill in fills] == ([] if filled is None else [filled])


def test_a_canceled_or_halted_order_no_longer_rests() -> None:
    for status in ("canceled", "halted"):
        desk = resting()
        desk.ticks(batch_of([shown(0), shown(1)]))
        desk.plan(plan(2, qty=(), start=at(0.5), status=status, end=None))
        assert desk.ticks(batch_of([print_at(40, 5_000), shown(70)])) == []


def test_own_orders_share_one_trade() -> None:
    desk = resting()
    desk.plan(plan(qty=(100.0,), start=at(1) - 1, end=at(1), cl_ord_id="B"))
    (child,) = desk._orders["B"].children
    desk._orders["B"].children = [child._replace(moment=at(0) + SECOND // 2, cross=at(1) - SECOND)]
    fills = desk.ticks(batch_of([shown(0), shown(1), print_at(2, 170)]))
    # 50 that are ahead of both, 100 of the first, and what is left is the second's.
    assert [(fill.cl_ord_id, fill.qty / QUANTA) for fill in fills] == [("A", 100.0), ("B", 20.0)]
    fills = desk.ticks(batch_of([print_at(3, 60)]))
    assert [(fill.cl_ord_id, fill.qty / QUANTA) for fill in fills] == [("B", 60.0)]


def test_nothing_rests_at_a_book_that_no_longer_prevails_and_late_trades_fill_nothing() -> None:
    desk = resting()
    desk.ticks(batch_of([shown(0, size=1), shown(5, size=1)]))
    assert desk.ticks(batch_of([print_at(4, 500)])) == []
    assert seen(desk.ticks(batch_of([print_at(5, 11)]))) == [(10, 99.98, "maker")]


_SECONDS = st.integers(0, 200)
_BOOKS = st.builds(
    lambda second, tick, size: shown(second / 2, round(99.9 + tick / 100, 2), size, round(100.02 + tick / 100, 2)),
    _SECONDS,
    st.integers(0, 4),
    st.integers(1, 300),
)
_PRINTS = st.builds(
    lambda second, tick, qty: print_at(second / 2, qty, round(99.88 + tick / 100, 2)),
    _SECONDS,
    st.integers(0, 10),
    st.integers(1, 200),
)
_TAPES = st.lists(_BOOKS | _PRINTS, max_size=60).map(lambda rows: sorted(rows, key=lambda row: row.ts))


@given(_TAPES, st.integers(0, 50), st.sampled_from(["buy", "sell"]))
def test_fills_are_whole_and_never_more_than_what_traded(rows: list[Row], seed: int, side: str) -> None:
    desk = PaperDesk(seed, style=Style.REST)
    orders = {"A": 150.0, "B": 90.0}
    for name, qty in orders.items():
        desk.plan(plan(qty=(qty, qty), cl_ord_id=name, side=side))
    filled = dict.fromkeys(orders, 0)
    for row in rows:
        fills = desk.ticks(batch_of([row]))
        makers = [fill for fill in fills if fill.liquidity == "maker"]
        # A trade gives no more than its quantity, and nothing at a price that it did not reach.
        assert sum(fill.qty for fill in makers) <= round((row.qty or 0.0) * QUANTA)
        assert all(row.px <= fill.px if side == "buy" else row.px >= fill.px for fill in makers)
        for fill in fills:
            filled[fill.cl_ord_id] += fill.qty
        for name, qty in orders.items():
            left = sum(child.qty for child in desk._orders[name].children)
            assert filled[name] + left == round(2 * qty * QUANTA)
    ends = [shown(201 / 2), *(shown(second) for second in (118, 119, 119.5, 120, 130))]
    for fill in desk.ticks(batch_of(ends)):
        filled[fill.cl_ord_id] += fill.qty
    # These books hold all that is left.
    assert filled == {name: round(2 * qty * QUANTA) for name, qty in orders.items()}


@given(_TAPES, st.integers(0, 50), st.data())
def test_fills_are_the_same_in_any_batching_of_ticks(rows: list[Row], seed: int, data: st.DataObject) -> None:
    def fills(cuts: Sequence[int]) -> list[PaperFill]:
        desk = PaperDesk(seed, style=Style.REST)
        desk.plan(plan(qty=(150.0, 90.0)))
        return [
            fill
            for begin, end in zip((0, *cuts), (*cuts, len(rows)), strict=True)
            for fill in desk.ticks(batch_of(rows[begin:end]))
        ]

    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=8)))
    assert fills(cuts) == fills(())


@given(_TAPES, st.integers(0, 60), st.booleans())
def test_a_restart_trades_what_is_left_once(rows: list[Row], at_row: int, counted: bool) -> None:  # noqa: FBT001  # drawn
    """The new run has the fills of the old one, and a plan that counts them or the one before it."""
    # A book each second, so that each interval's end finds one that prevails.
    rows = sorted([*rows, *(shown(second, size=40) for second in range(131))], key=lambda row: row.ts)
    first = PaperDesk(style=Style.REST)
    first.plan(plan(qty=(100.0, 100.0)))
    done = first.ticks(batch_of(rows[:at_row]))
    second = PaperDesk(style=Style.REST)
    for fill in done:
        second.reported(fill.record())
    cum = sum(fill.qty for fill in done)
    in_first = min(cum, 100 * QUANTA)
    qty = (100.0 - in_first / QUANTA, 100.0 - (cum - in_first) / QUANTA) if counted else (100.0, 100.0)
    second.plan(plan(2, qty=qty, cum=cum / QUANTA if counted else 0.0))
    fills = done + second.ticks(batch_of(rows[at_row:]))
    assert sum(fill.qty for fill in fills) == 200 * QUANTA
    assert [fill.exec_id for fill in fills] == [f"paper-A-{k}" for k in range(1, len(fills) + 1)]


def entered(qty: float = 100.0, *, limit: float | None = None, rate: float = 0.1) -> list[dict[str, Any]]:
    return [
        {
            "kind": "auction_close",
            "at": at(1),
            "cutoff": at(0.5),
            "qty": qty,
            "limit_px": limit,
            "expected_volume": 1_000.0,
            "rate": rate,
        }
    ]


def cross(second: float, qty: float, px: float = 100.5) -> Row:
    return print_at(second, qty, px, AUCTION)


def auctioned(style: Style = Style.TAKE, **entry: Any) -> PaperDesk:
    desk = PaperDesk(style=style)
    desk.plan(plan(qty=(), start=at(0), end=at(1), auctions=entered(**entry)))
    return desk


def test_an_entry_trades_at_the_print_up_to_its_share() -> None:
    for style in Style:
        desk = auctioned(style)
        # A tenth of what is printed; before the cutoff, and outside auctions, nothing.
        rows = [cross(10, 900), shown(30), print_at(40, 900, 100.5), cross(60, 305), cross(61, 95), cross(62, 5_000)]
        assert seen(desk.ticks(batch_of(rows))) == [
            (30, 100.5, "auction"),
            (10, 100.5, "auction"),
            (60, 100.5, "auction"),
        ]


def test_an_entry_respects_its_limit_and_its_share_counts_what_printed_within_it() -> None:
    desk = auctioned(limit=100.4)
    assert seen(desk.ticks(batch_of([cross(60, 900), cross(61, 200, 100.4)]))) == [(20, 100.4, "auction")]


def test_two_entries_do_not_trade_more_than_the_print() -> None:
    desk = auctioned(qty=900.0, rate=0.9)
    desk.plan(plan(qty=(), start=at(0), end=at(1), auctions=entered(qty=900.0, rate=0.9), cl_ord_id="B"))
    assert [fill.qty / QUANTA for fill in desk.ticks(batch_of([cross(60, 100)]))] == [90.0, 10.0]


def test_what_an_auction_left_is_told_once_when_the_plan_drops_the_entry() -> None:
    gone = {"qty": (), "start": at(0), "end": at(1), "auctions": []}
    for trades, left, printed in (([], 100.0, 0), ([cross(60, 400)], 60.0, 400), ([cross(60, 1_000)], None, 0)):
        desk = auctioned()
        done = sum(fill.qty for fill in desk.ticks(batch_of([shown(30), *trades, shown(62)]))) / QUANTA
        assert desk.plan(plan(2, **gone | {"auctions": entered(100.0 - done), "cum": done, "as_of": at(1)})) == []
        over = desk.plan(plan(3, **gone | {"cum": done, "as_of": at(2), "status": "expired"}))
        told = [(one.cl_ord_id, one.kind, one.qty / QUANTA, one.printed / QUANTA) for one in over]
        assert told == ([] if left is None else [("A", "auction_close", left, printed)])
    # An entry that is withdrawn before its auction has missed nothing.
    assert auctioned().plan(plan(2, **gone | {"as_of": at(0.2)})) == []


def test_a_fill_of_an_auction_that_crosses_a_plan_is_taken_off_the_entry() -> None:
    desk = auctioned()
    assert seen(desk.ticks(batch_of([cross(60, 400)]))) == [(40, 100.5, "auction")]
    desk.plan(plan(2, start=at(1), qty=(10.0,), auctions=entered(), as_of=at(1)))
    fills = desk.ticks(batch_of([cross(61, 5_000), shown(62), shown(130)]))
    assert seen(fills) == [(60, 100.5, "auction"), (10, 100.02, "taker")]


def test_a_restart_does_not_trade_an_entry_again_that_no_plan_counts_yet() -> None:
    first, second = auctioned(), PaperDesk()
    for fill in first.ticks(batch_of([cross(60, 400)])):
        second.reported(fill.record())
    second.plan(plan(2, qty=(), start=at(0), end=at(1), auctions=entered(), as_of=at(1)))
    (fill,) = second.ticks(batch_of([cross(61, 5_000)]))
    assert (fill.qty, fill.exec_id) == (60 * QUANTA, "paper-A-2")


def test_an_entry_that_is_less_than_its_rate_allows_is_filled_whole() -> None:
    """A tenth of 500 printed is 50: a market takes an entry of 40 whole, though 40 was 4% of what was expected."""
    desk = auctioned(qty=40.0, rate=0.1)
    assert seen(desk.ticks(batch_of([cross(60, 500)]))) == [(40, 100.5, "auction")]
    assert seen(auctioned(rate=0.1).ticks(batch_of([cross(60, 500)]))) == [(50, 100.5, "auction")]


def test_resting_first_pays_less_above_the_mid_than_taking(data_dir: Path) -> None:
    """FROG, an hour of 100 shares a minute, 20 seeds, both sides."""
    start, minutes = 1_743_692_400_000_000_000, 60
    (path,) = data_dir.glob("FROG*mbp10.csv*")
    batch = TickBatch.concat([decoded.batch for decoded in merge_files([path])])
    hour = batch.take(np.flatnonzero((batch.ts_event >= start - MINUTE) & (batch.ts_event <= start + 61 * MINUTE)))
    for side, sign in (("buy", 1.0), ("sell", -1.0)):
        cost, makers = dict.fromkeys(Style, 0.0), dict.fromkeys(Style, 0)
        for seed in range(20):
            for style in Style:
                desk = PaperDesk(seed, style=style)
                desk.plan(plan(start=start, qty=(100.0,) * minutes, side=side))
                fills = desk.ticks(hour)
                assert sum(fill.qty for fill in fills) == 100 * minutes * QUANTA
                makers[style] += sum(fill.liquidity == "maker" for fill in fills)
                cost[style] += sum(sign * fill.qty / QUANTA * (fill.px - fill.mid) for fill in fills)
        assert makers[Style.REST] > makers[Style.TAKE] == 0
        assert cost[Style.REST] < cost[Style.TAKE]

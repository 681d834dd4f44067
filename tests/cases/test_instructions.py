"""Instructions of orders on recorded days: FROG and three days of A-shares, 20,000 shares each."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
import pytest

from impactd.config.calendars import calendar
from impactd.core.base.settings import CoreSettings
from impactd.research.backtest.run import for_backtest
from impactd.shell.replay import Sources, replay
from impactd.shell.tally import OrderSummary

QTY: Final = 20_000


class Day(NamedTuple):
    """A recorded day, and the window of the order in it; the A-share days are without the minutes about lunch."""

    path: str
    symbol: str
    calendar: str
    start: str
    end: str

    @property
    def window(self) -> tuple[int, int]:
        start, end = (int(datetime.fromisoformat(time).timestamp()) * 10**9 for time in (self.start, self.end))
        return start, end


def ashare(symbol: str, day: str) -> Day:
    times = (f"{day}T13:12+08:00", f"{day}T14:48+08:00")
    return Day(f"ashare/{symbol}_{day}_mbp5.csv.xz", symbol, "XSHG", *times)


FROG: Final = Day("FROG_2025-04-03_mbp10.csv.gz", "FROG", "XNYS", "2025-04-03T10:00-04:00", "2025-04-03T16:00-04:00")
DAYS: Final = (FROG, ashare("SYM0", "2019-02-12"), ashare("SYM2", "2019-02-18"), ashare("SYM5", "2019-02-15"))
EVERY_DAY: Final = pytest.mark.parametrize("day", DAYS, ids=[day.symbol for day in DAYS])


class Worked(NamedTuple):
    """What a replay of one order gave; `volume` is the market's continuous volume of the window."""

    order: OrderSummary
    plans: list[dict[str, Any]]
    alerts: list[dict[str, Any]]
    volume: float

    @property
    def cost_bps(self) -> float:
        assert self.order.cost_bps is not None
        return self.order.cost_bps


def worked(data_dir: Path, tmp_path: Path, day: Day, plans_with: dict[str, Any] | None = None, **terms: Any) -> Worked:
    """Return what a buy of 20,000 shares over the day's window gave; `plans_with` are settings of plans."""
    settings = for_backtest(CoreSettings(session=calendar(day.calendar).rule))
    settings = replace(settings, plans=replace(settings.plans, **plans_with or {}))
    start, end = day.window
    order = {"type": "new", "cl_ord_id": "A1", "symbol": day.symbol, "side": "buy", "order_qty": QTY}
    path = tmp_path / "orders.jsonl"
    path.write_bytes(orjson.dumps(order | {"ts_event": start, "start": start, "end": end} | terms) + b"\n")
    (summary,) = replay(Sources([data_dir / day.path], path), settings, tmp_path / "out").orders
    plans, alerts = (
        [orjson.loads(line) for line in (tmp_path / "out" / f"{name}.jsonl").read_bytes().splitlines()]
        for name in ("plans", "alerts")
    )
    minutes = map(orjson.loads, (tmp_path / "out" / "estimates.jsonl").read_bytes().splitlines())
    inside = (one for one in minutes if one["side"] == "buy" and start <= one["minute"] < end)
    return Worked(summary, plans, alerts, sum(one["volume_continuous"] or 0.0 for one in inside))


@EVERY_DAY
def test_urgency_costs_a_little_more_and_is_done_earlier(data_dir: Path, tmp_path: Path, day: Day) -> None:
    """`normal` pays less than a tenth more than no urgency; each step is dearer and has less left on average."""
    words = (None, "low", "normal", "high")
    found = [worked(data_dir, tmp_path, day, urgency=word) for word in words]
    assert all(one.order.cum_qty == QTY for one in found)
    first = [one.plans[0] for one in found]
    later = [sum(k * qty for k, qty in enumerate(plan["qty"])) for plan in first]
    assert all(slow > fast for slow, fast in itertools.pairwise(later))
    expected = [plan["expected_cost"] for plan in first]
    assert all(cheap <= dear for cheap, dear in itertools.pairwise(expected))
    assert found[2].cost_bps < 1.1 * found[0].cost_bps
    assert found[1].cost_bps < 1.05 * found[0].cost_bps


@EVERY_DAY
def test_view_that_the_price_rises_trades_earlier_and_one_that_it_falls_later(
    data_dir: Path, tmp_path: Path, day: Day
) -> None:
    found = [
        worked(data_dir, tmp_path, day, **({"alpha_bps": alpha, "alpha_half_life_s": 1_800} if alpha else {}))
        for alpha in (20, 0, -20)
    ]
    assert all(one.order.cum_qty == QTY for one in found)
    when = [sum(k * qty for k, qty in enumerate(one.plans[0]["qty"])) for one in found]
    assert when[0] < when[1] < when[2]


@EVERY_DAY
def test_would_price_trades_more_and_never_less_while_the_market_is_there(
    data_dir: Path, tmp_path: Path, day: Day
) -> None:
    """A price in the middle of the day's range is touched and left, each at once; what it adds is traded earlier."""
    plain = worked(data_dir, tmp_path, day)
    mids = sorted(plan["mid"] for plan in plain.plans if plan["mid"] is not None)
    price = round(mids[len(mids) // 3], 2)
    found = worked(data_dir, tmp_path, day, would_px=price, would_rate=0.02)
    assert found.order.cum_qty == QTY
    touched = [plan for plan in found.plans if plan["would_qty"]]
    assert touched
    assert all(plan["qty"][0] >= plan["would_qty"] for plan in touched)
    assert {"would_touched"} <= {alert["kind"] for alert in found.alerts}
    assert {"price"} <= {plan["reason"] for plan in found.plans}
    forced = [plan["as_of"] for plan in found.plans if plan["reason"] == "price"]
    assert all(later - earlier >= 2 * 10**9 for earlier, later in itertools.pairwise(forced))


@EVERY_DAY
def test_closing_auction_gets_its_share_and_continuous_trading_the_rest(
    data_dir: Path, tmp_path: Path, day: Day
) -> None:
    """The settings say what the close trades, since no earlier day is known; the entry is there by its cutoff."""
    close = int(datetime.fromisoformat(day.end).replace(hour=16 if day is FROG else 15, minute=0).timestamp()) * 10**9
    found = worked(
        data_dir,
        tmp_path,
        day,
        {"auction_close_share": 0.1},
        auctions="close",
        auction_rate=0.05 if day is FROG else 0.002,
        end=close,
        lot_size=100,
    )
    first = found.plans[0]
    (entry,) = first["auctions"]
    assert entry["kind"] == "auction_close"
    assert entry["at"] == close
    assert entry["cutoff"] == close - 600 * 10**9
    assert 0 < entry["qty"] < QTY
    assert entry["qty"] % 100 == 0
    for plan in found.plans:
        entered = sum(one["qty"] for one in plan["auctions"])
        assert sum(plan["qty"]) + entered + plan["shortfall_qty"] == plan["leaves_qty"]
    # The A-share days end before the close: there the entry is still out.
    assert found.order.cum_qty == QTY if day is FROG else QTY - entry["qty"]


@EVERY_DAY
def test_bands_keep_the_running_sum_to_their_share(data_dir: Path, tmp_path: Path, day: Day) -> None:
    """Half of the order's quantity is what the target and the largest share allow, and twice it what the least asks."""
    half = 0.5 * QTY / worked(data_dir, tmp_path, day).volume
    most = worked(data_dir, tmp_path, day, participation_rate=half)
    # A last minute that trades less than was expected of it may leave a sum above its share (ADR 23).
    assert 0.97 * half * most.volume <= most.order.cum_qty <= 1.005 * half * most.volume
    target = worked(data_dir, tmp_path, day, target_participation_rate=half)
    assert 0.97 * half * target.volume <= target.order.cum_qty <= 1.005 * half * target.volume
    least = worked(data_dir, tmp_path, day, min_participation_rate=4 * half)
    assert least.order.cum_qty == QTY
    # Half of the window at the latest, were its volume even.
    assert sum(least.plans[0]["qty"][: 2 * len(least.plans[0]["qty"]) // 3]) >= 0.9 * QTY
    complete = worked(data_dir, tmp_path, day, participation_rate=half, must_complete=True)
    assert complete.order.cum_qty == QTY


@EVERY_DAY
def test_limit_price_blocks_while_the_market_is_beyond_it(data_dir: Path, tmp_path: Path, day: Day) -> None:
    """At the arrival price a buy has nothing to take until the market comes to it; far away it changes nothing."""
    plain, far = (worked(data_dir, tmp_path, day, **terms) for terms in ({}, {"limit_offset_bps": 4_000}))
    assert [plan["qty"] for plan in far.plans[:20]] == [plan["qty"] for plan in plain.plans[:20]]
    at_arrival = worked(data_dir, tmp_path, day, limit_offset_bps=0)
    (limit,) = {
        plan["limit_px"] for plan in at_arrival.plans if plan["limit_px"] is not None and plan["as_of"] > day.window[0]
    }
    if at_arrival.order.arrival_px is not None:  # it has none if nothing was traded
        assert limit == pytest.approx(at_arrival.order.arrival_px)
    blocked = [alert for alert in at_arrival.alerts if alert["kind"] == "limit_blocks"]
    assert blocked
    times = {alert["as_of"] for alert in blocked}
    assert all(plan["qty"][0] == 0 for plan in at_arrival.plans if plan["as_of"] in times and plan["qty"])
    assert all(
        (plan["expected_shortfall_qty"] or 0) >= plan["shortfall_qty"] for plan in at_arrival.plans if plan["qty"]
    )

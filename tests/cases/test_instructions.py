"""Instructions of orders on recorded days: FROG and three days of A-shares, 20,000 shares each."""

from __future__ import annotations

import itertools
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
    """What a replay of one order gave."""

    order: OrderSummary
    plans: list[dict[str, Any]]
    alerts: list[dict[str, Any]]

    @property
    def cost_bps(self) -> float:
        assert self.order.cost_bps is not None
        return self.order.cost_bps


def worked(data_dir: Path, tmp_path: Path, day: Day, **terms: Any) -> Worked:
    """Return what a buy of 20,000 shares over the day's window gave."""
    settings = for_backtest(CoreSettings(session=calendar(day.calendar).rule))
    start, end = day.window
    order = {"type": "new", "cl_ord_id": "A1", "symbol": day.symbol, "side": "buy", "order_qty": QTY}
    path = tmp_path / "orders.jsonl"
    path.write_bytes(orjson.dumps(order | {"ts_event": start, "start": start, "end": end} | terms) + b"\n")
    (summary,) = replay(Sources([data_dir / day.path], path), settings, tmp_path / "out").orders
    plans, alerts = (
        [orjson.loads(line) for line in (tmp_path / "out" / f"{name}.jsonl").read_bytes().splitlines()]
        for name in ("plans", "alerts")
    )
    return Worked(summary, plans, alerts)


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

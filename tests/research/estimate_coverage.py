"""Coverage of the bands of estimates: ``python -m tests.research.estimate_coverage [N] [SEED]``.

Orders are drawn by seed on recorded days: FROG, and the days of three A-shares up to the 40th.  Those of one symbol
follow one another, so that none is charged for another, and each knows the days before its own.  The band of the first
plan is the estimate's; the cost is what the schedule then paid over the mid.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from impactd.config.calendars import calendar
from impactd.core.base.settings import CoreSettings
from impactd.research.backtest.run import for_backtest
from impactd.shell.replay import Sources, replay
from tests import paths

#: Days of A-shares that may be looked at, and those that are taken of each symbol, the last ones.
LAST_DAY, TAKEN = 40, 13
_MINUTE: Final = timedelta(minutes=1)
#: Most that the coverage of a band may differ from nominal.
_MOST: Final = 0.05


class Days(NamedTuple):
    """Consecutive days of a symbol, and when orders of each may begin."""

    symbol: str
    calendar: str
    files: tuple[Path, ...]
    slots: tuple[datetime, ...]


class Drawn(NamedTuple):
    """What an order was to cost and has cost, currency."""

    band_80: tuple[float, float]
    band_95: tuple[float, float]
    cost: float


def recorded(data: Path) -> list[Days]:
    """Return the days by symbol."""
    frog = [datetime.fromisoformat(f"2025-04-03T{hour}:00-04:00") for hour in (10, 11, 12, 13, 14)]
    found = [Days("FROG", "XNYS", (data / "FROG_2025-04-03_mbp10.csv.gz",), tuple(frog))]
    for symbol in ("SYM0", "SYM2", "SYM5"):
        files = sorted((data / "ashare").glob(f"{symbol}_*"))[:LAST_DAY][-TAKEN:]
        days = [file.name.split("_")[1] for file in files]
        hours = ("09:50", "10:20", "10:48", "13:15", "14:15")
        slots = tuple(datetime.fromisoformat(f"{day}T{hour}+08:00") for day in days for hour in hours)
        found.append(Days(symbol, "XSHG", tuple(files), slots))
    return found


def worked(days: Days, slots: Sequence[datetime], rng: np.random.Generator) -> list[Drawn]:
    """Return what an order in each of the slots was to cost and has cost."""
    settings = for_backtest(CoreSettings(session=calendar(days.calendar).rule))
    orders: list[dict[str, Any]] = []
    for k, slot in enumerate(slots):
        start = slot + int(rng.integers(0, 5)) * _MINUTE
        end = start + int(rng.integers(8, 24)) * _MINUTE
        qty = int(10.0 ** rng.uniform(2.0, 3.5)) if days.symbol == "FROG" else int(10.0 ** rng.uniform(1, 2.7)) * 100
        times = {
            name: int(at.timestamp()) * 10**9 for name, at in (("ts_event", start), ("start", start), ("end", end))
        }
        head = {"type": "new", "cl_ord_id": f"O{k}", "symbol": days.symbol, "order_qty": qty}
        orders.append(head | times | {"side": str(rng.choice(["buy", "sell"]))})
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "orders.jsonl"
        path.write_bytes(b"".join(orjson.dumps(order) + b"\n" for order in orders))
        ended = {one.cl_ord_id: one for one in replay(Sources(days.files, path), settings, Path(name) / "out").orders}
        plans = [orjson.loads(line) for line in (Path(name) / "out" / "plans.jsonl").read_bytes().splitlines()]
    first = {plan["cl_ord_id"]: plan for plan in reversed(plans) if plan["cost_band"] is not None}
    drawn = []
    for cl_ord_id, plan in first.items():
        cost = ended[cl_ord_id].cost
        if cost is not None:
            drawn.append(Drawn(tuple(plan["cost_band"]), tuple(plan["cost_band_95"]), cost))
    return drawn


def held(drawn: Sequence[Drawn]) -> tuple[float, float]:
    """Return the shares of orders whose cost both bands held."""
    inside = [(d.band_80[0] <= d.cost <= d.band_80[1], d.band_95[0] <= d.cost <= d.band_95[1]) for d in drawn]
    return float(np.mean([one for one, _ in inside])), float(np.mean([one for _, one in inside]))


def main(n: int, seed: int) -> bool:
    """Draw about `n` orders from `seed`, print how often the bands held their cost, and return whether often enough."""
    data = paths.data_dir()
    if data is None:
        sys.exit("no recorded days: set IMPACTD_DATA_DIR")
    rng, every = np.random.default_rng(seed), recorded(data)
    share = n / sum(len(days.slots) for days in every)
    drawn: list[Drawn] = []
    for days in every:
        slots = [slot for slot in days.slots if rng.random() < share]
        found = worked(days, slots, rng)
        low, wide = held(found)
        sys.stdout.write(f"{days.symbol}: {len(found)} orders, 80% band {low:.3f}, 95% band {wide:.3f}\n")
        sys.stdout.flush()
        drawn += found
    low, wide = held(drawn)
    sys.stdout.write(f"{len(drawn)} orders: 80% band {low:.3f}, 95% band {wide:.3f}\n")
    holds = abs(low - 0.80) <= _MOST and abs(wide - 0.95) <= _MOST
    sys.stdout.write(f"{'holds' if holds else 'MISSED'}: each within {100 * _MOST:.0f} points of nominal, pooled\n")
    return holds


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    sys.exit(not main(*(numbers + [200, 1][len(numbers) :])))

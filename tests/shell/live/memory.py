"""Memory of the live page's board after a day: ``python -m tests.shell.live.memory [SYMBOLS] [ORDERS]``.

Every minute of 390 has an estimate and a model of both sides of each symbol, and a plan and a fill of each order.
"""

from __future__ import annotations

import resource
import sys
from typing import Any, Final

import orjson

from impactd.core.base.topics import Topic
from impactd.shell.live.board import Board
from tests.shell.live.messages import MINUTE, T0, estimate, fill_cost, model, plan

MINUTES: Final = 390
SIZES: Final = tuple(float(100 * (i + 1)) for i in range(16))


def sent(message: dict[str, Any]) -> bytes:
    """Return a record's value, without the spare room of the encoder's buffer."""
    return bytes(memoryview(orjson.dumps(message)))


def board(symbols: int, orders: int) -> Board:
    """Return the board of a day."""
    found = Board()
    whole = {"sizes": SIZES, "slippage": [0.01] * 16, "coverage": [1.0] * 16, "lower_bound": [0.01] * 16}
    minutes = [
        (side, orjson.loads(estimate(0, side, **whole)), orjson.loads(model(0, side))) for side in ("buy", "sell")
    ]
    schedule = orjson.loads(plan(1, 0, n=MINUTES))
    fill = orjson.loads(fill_cost("E", T0, 10, over_mid=1.0))
    for k in range(MINUTES):
        ts = T0 + k * MINUTE
        for i in range(symbols):
            name = {"symbol": f"S{i}"}
            for _, measured, fitted in minutes:
                found.take(Topic.ESTIMATES, sent(measured | name | {"minute": ts, "mid": 30.0 + k}))
                found.take(Topic.MODELS, sent(fitted | name | {"as_of": ts + MINUTE}))
        for i in range(orders):
            name = {"cl_ord_id": f"A{i}", "symbol": f"S{i % symbols}", "as_of": ts}
            found.take(Topic.PLANS, sent(schedule | name | {"plan_version": k + 1, "cum_qty": k}), (0, i))
            found.take(Topic.TCA, sent(fill | name | {"exec_id": f"A{i}-{k}", "ts_event": ts}))
    return found


def main(symbols: int, orders: int) -> None:
    """Print the memory that the board takes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = board(symbols, orders)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    state = len(orjson.dumps(found.heads()))
    sys.stdout.write(
        f"{symbols} symbols, {orders} orders, {MINUTES} minutes: {(after - before) / 1024:.0f} MB above "
        f"{before / 1024:.0f} MB; a snapshot has {state / 1e6:.2f} MB\n"
    )


if __name__ == "__main__":
    main(*(int(given) for given in (sys.argv[1:] or ("500", "1000"))))

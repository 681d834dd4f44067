"""How long ``POST /api/estimates`` takes: ``python -m tests.shell.live.estimates_time [SYMBOLS] [QUESTIONS]``.

One engine has seen half an hour of many symbols; the questions are asked over HTTP, one after the other and slower than
the service's limit.  The processor time is that of question and answer, client and server; a busy machine adds waits to
the other.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final

import numpy as np
import orjson

from impactd.core.base.settings import MINUTE_NS as M
from impactd.core.planning.estimate import CostEstimate
from impactd.shell.estimate import question
from impactd.shell.live.pages import ESTIMATES_PER_S
from impactd.wire.codec import Limits
from tests.core.builders import T0, EngineHarness, ladder
from tests.core.planning.many import Bare
from tests.core.rows import Row, trade
from tests.shell.live.site import served

MINUTES: Final = 30
#: Minutes of the orders that are asked about.
WINDOW: Final = 360


def market(symbols: int) -> EngineHarness:
    """Return an engine that has seen `MINUTES` of each symbol."""
    harness = Bare()
    for k in range(MINUTES):
        rows: list[Row] = []
        for i in range(symbols):
            mid = 100.0 + 0.02 * ((7 * k + i) % 5 - 2)
            rows += [ladder(T0 + k * M + j * M // 3, symbol=f"S{i:03}", mid=mid) for j in range(3)]
            rows.append(trade(T0 + k * M + M // 2, 1_000.0, symbol=f"S{i:03}"))
        harness.run(sorted(rows, key=lambda row: row.ts))
        harness.outputs.clear()
    harness.run([ladder(T0 + MINUTES * M + 2 * 10**9, symbol=f"S{i:03}") for i in range(symbols)])
    return harness


async def measure(symbols: int, questions: int) -> tuple[np.ndarray, np.ndarray]:
    """Return seconds and processor seconds of each answer."""
    engine = market(symbols).engine
    rng = np.random.default_rng(0)

    async def answered(value: bytes) -> CostEstimate:
        return engine.estimate(*question(value, T0 + 31 * M, Limits()))

    taken = np.empty((2, questions))
    async with served(asked=answered) as site:
        for k in range(questions):
            asked = {"symbol": f"S{int(rng.integers(symbols)):03}", "side": str(rng.choice(["buy", "sell"]))}
            asked |= {"start": T0 + 31 * M, "end": T0 + (31 + WINDOW) * M, "order_qty": int(rng.integers(100, 50_000))}
            begun = time.perf_counter(), time.process_time()
            async with site.session.post("/api/estimates", data=orjson.dumps(asked)) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()
            taken[:, k] = time.perf_counter() - begun[0], time.process_time() - begun[1]
            await asyncio.sleep(1.1 / ESTIMATES_PER_S)
    return taken[0], taken[1]


def main(symbols: int, questions: int) -> None:
    """Print the median and the 99th percentile."""
    for name, taken in zip(("passed", "processor"), asyncio.run(measure(symbols, questions)), strict=True):
        low, high = (1e3 * float(value) for value in np.percentile(taken[5:], [50, 99]))
        sys.stdout.write(f"{symbols} symbols, {questions} questions, {name}: median {low:.1f} ms, p99 {high:.1f} ms\n")


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    main(*(numbers + [500, 300][len(numbers) :]))

"""What many orders on one symbol and side take: ``python -m tests.core.planning.many [ORDERS...]``.

Prints the processor time of their arrivals, one commit each, and of planning all of
them at a minute's close, in which few plans change; a busy machine shows more.
"""

from __future__ import annotations

import sys
import time
from statistics import median
from typing import Any, Final

import numpy as np

from impactd.core.base.quantity import QUANTA
from impactd.core.inputs.events import NewOrder
from impactd.core.state.commit import Commit
from tests.core.builders import EngineHarness, M, at, minutes, new, settings

#: Minutes of the day that the orders' windows lie in.
DAY: Final = 360


class Bare(EngineHarness):
    """A harness that does not look at what is committed."""

    def _keep(self, commit: Commit) -> None:
        self.outputs += commit.outputs


def orders(n: int) -> list[NewOrder]:
    """Return orders of all sizes and windows: a third with participation, a fifth with a limit by interval."""
    rng, found = np.random.default_rng(0), []
    for i in range(n):
        terms: dict[str, Any] = {}
        kind, begin, end = rng.random(), int(rng.integers(0, 60)), int(rng.integers(200, DAY))
        if kind < 0.33:
            terms["participation_rate"] = 0.1
        elif kind < 0.53:
            terms["max_interval_qty"] = int(rng.integers(20, 200)) * QUANTA
        qty = int(rng.integers(100, 5_000))
        found.append(new(f"O{i:05}", qty=qty, ts=at(3) + i, start=at(3 + begin), length=(end - begin) * M, **terms))
    return found


def measure(n: int) -> tuple[float, float]:
    """Return the seconds of n arrivals, and of a minute's close."""
    harness = Bare(settings(fills="scheduled"))
    harness.run(minutes(3))
    begun = time.process_time()
    for order in orders(n):
        harness.send(order)
    arrivals, desk, closes = time.process_time() - begun, harness.engine._desk, []
    close = desk.on_minute_close

    def timed(*args: Any) -> None:
        begun = time.process_time()
        close(*args)
        closes.append(time.process_time() - begun)

    desk.on_minute_close = timed  # type: ignore[method-assign]  # a stopwatch around it
    for k in range(3, 14):
        harness.run(minutes(1, start=at(k)))
    return arrivals, median(closes)


def main() -> None:
    """Measure each number of orders on the command line, twice: the first compiles."""
    measure(20)
    for n in [int(arg) for arg in sys.argv[1:]] or [250, 500, 1_000, 2_000]:
        arrivals, close = measure(n)
        each = f"{arrivals / n * 1e3:5.2f} ms each"
        print(f"{n:6,} orders: arrivals {arrivals:6.2f} s, {each}; a close {close * 1e3:4.0f} ms")  # noqa: T201  # a command


if __name__ == "__main__":
    main()

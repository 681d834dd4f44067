"""Timing calls within this process, in turns.

What is counted is the processor time of the process: on a quiet machine that is the time that passes, and on a busy
one it leaves out the time in which others had the core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from tests.benchmarks.legs import median_and_spread

#: One round of one call is repeated until it has taken about so long, seconds.
ROUND_S: Final = 0.05


def seconds_of(call: Callable[[], object], repeats: int) -> float:
    """Return the mean processor time of one call, seconds."""
    start = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - start) / repeats


def in_turns(calls: Mapping[str, Callable[[], object]], rounds: int = 7) -> dict[str, tuple[float, float]]:
    """Time several calls in turns.

    Each is called once before, so that nothing is compiled or read in for the first time, and then in each round as
    often as fills `ROUND_S`.

    Returns
    -------
    dict of str to (float, float)
        Median over the rounds of the mean time of a call, seconds; and the range of the rounds over it.
    """
    repeats = {}
    for name, call in calls.items():
        call()
        repeats[name] = max(1, int(ROUND_S / max(seconds_of(call, 1), 1e-9)))
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            taken[name].append(seconds_of(call, repeats[name]))
    return {name: median_and_spread(values) for name, values in taken.items()}

"""How long ``impactd --help`` takes, whole processes, beside one that does nothing."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from typing import Final

from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.legs import median_and_spread

_COMMANDS: Final = {
    "impactd --help": [sys.executable, "-m", "impactd", "--help"],
    "python -c pass": [sys.executable, "-c", "pass"],
}


def measure(processes: int = 10) -> list[Figure]:
    """Return the wall time of both, started in turns."""
    taken: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    busy: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for _ in range(processes):
        for name, command in _COMMANDS.items():
            before, start = _children_s(), time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            taken[name].append(time.perf_counter() - start)
            busy[name].append(_children_s() - before)
    (ours, ours_spread), (bare, bare_spread) = (median_and_spread(values) for values in taken.values())
    notes = [f"median of {processes} processes; {statistics.median(b):.3f} s of processor time" for b in busy.values()]
    return [
        Figure("impactd --help", ours, "s", ours_spread, Target("at most", 0.5), notes[0]),
        Figure("python -c pass", bare, "s", bare_spread, None, notes[1]),
        Figure("share of it that is Python's own", bare / ours),
    ]


def _children_s() -> float:
    """Return the processor time of all processes that this one has started and that have ended, seconds."""
    times = os.times()
    return times.children_user + times.children_system

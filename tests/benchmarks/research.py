"""What a study takes by the batch API, from generated books to a schedule, as a script would call it.

Wall time, because the default solver runs in a process of its own.  The first study of a process also loads compiled
code, libraries and that process; it has its own figures.  Beside ours stand those of the original write-up, measured on
another machine: a comparison of orders of magnitude.
"""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import time
import tracemalloc
from typing import Final

import impactd
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.legs import median_and_spread

STEPS: Final = ("generate", "estimate", "fit", "optimise")

#: Seconds of the write-up on 390 snapshots of 20 levels, by step and in all, and its megabytes.
WRITE_UP: Final = {"generate": 0.162, "estimate": 1.1, "fit": 0.047, "optimise": 0.295, "all": 6.92, "memory": 10.0}

#: Snapshots, levels, intervals, and what is to be reached, seconds.
DAY: Final = (390, 20, 390)
DAY_TARGETS: Final = {"all": WRITE_UP["all"] / 50, "estimate": 0.020}
LARGE: Final = (1_000, 50, 1_000)
LARGE_TARGETS: Final = {"all": 1.0}
WRITE_UPS_LIMITS: Final = (1_000, 20, 50)
LIMITS: Final = {"generate": 5.0, "fit": 2.0, "optimise": 1.0}

_SHARES: Final = 100_000
_MB: Final = 1e6

FACTS: Final = {
    "write-up": "the figures beside are those of the original write-up on its own machine; its parts do not add up to "
    "its whole. The default solver runs in a process of its own, whose time counts and whose memory does not"
}


def study(n_snapshots: int, n_levels: int, n_intervals: int, *, traced: bool = False) -> dict[str, float]:
    """Run one study and return the seconds of its steps, of all, and the peak of the optimisation's memory, MB."""
    model = impactd.ImpactModel("linear")
    marks = [time.perf_counter()]
    books = model.generate_synthetic_orderbook(n_snapshots, n_levels)
    marks.append(time.perf_counter())
    slippage = model.estimate_slippage(books)
    marks.append(time.perf_counter())
    model.fit_model(slippage)
    marks.append(time.perf_counter())
    if traced:
        tracemalloc.start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = impactd.TradeAllocator(model, _SHARES, n_intervals).optimize()
    marks.append(time.perf_counter())
    resident = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / _MB
    allocated = tracemalloc.get_traced_memory()[1] / _MB if traced else 0.0
    tracemalloc.stop()
    if abs(result["optimal_allocation"].sum() - _SHARES) > 1e-6 or result["fell_back"]:
        raise RuntimeError(f"no such schedule was to be timed: {result['attempts']}")
    taken = dict(zip(STEPS, (after - at for at, after in itertools.pairwise(marks)), strict=True))
    return taken | {"all": marks[-1] - marks[0], "allocated": allocated, "resident": resident}


def measure(rounds: int = 7) -> list[Figure]:
    """Return the times of studies, and the memory of the optimisation."""
    first = _in_a_new_process()
    figures = _times(DAY, rounds, DAY_TARGETS, WRITE_UP)
    whole = next(figure for figure in figures if figure.name.endswith("all"))
    figures.append(
        Figure("write-up's whole over ours", WRITE_UP["all"] / whole.value, "", None, Target("at least", 50))
    )
    figures.append(
        Figure(
            "first study of a process, after import: all",
            first["all"],
            "s",
            None,
            None,
            "compiled code, scikit-learn and the solver's process are loaded in it",
        )
    )
    memory = study(*DAY, traced=True)
    limit = Target("at most", WRITE_UP["memory"])
    figures.append(Figure("optimisation's peak, allocated by Python", memory["allocated"], "MB", None, limit))
    figures.append(
        Figure(
            "optimisation's peak, resident above the start", first["resident"], "MB", None, limit, "in the first study"
        )
    )
    figures += _times(LARGE, rounds, LARGE_TARGETS, {})
    return figures + _times(WRITE_UPS_LIMITS, rounds, LIMITS, {})


def _times(
    shape: tuple[int, int, int], rounds: int, targets: dict[str, float], write_up: dict[str, float]
) -> list[Figure]:
    study(*shape)
    found = [study(*shape) for _ in range(rounds)]
    snapshots, levels, intervals = shape
    figures = []
    for step in (*STEPS, "all"):
        seconds, spread = median_and_spread([taken[step] for taken in found])
        target = Target("at most", targets[step]) if step in targets else None
        note = f"write-up {1e3 * write_up[step]:,.0f} ms" if step in write_up else ""
        name = f"{snapshots:,} x {levels}, {intervals:,} intervals: {step}"
        figures.append(Figure(name, seconds, "s", spread, target, note))
    return figures


def _in_a_new_process() -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.research"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    import impactd.research.compare  # "after import": the API's names import what they need when first used

    sys.stdout.write(json.dumps(study(*DAY)))

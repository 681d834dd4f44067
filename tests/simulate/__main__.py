"""``make simulate``: run days and say whether each held what it must.

Exit code 0: all did; with ``--variant``, the broken service was found.  1: not.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

from tests.console import say
from tests.simulate.days import Day, Outcome, drawn, run, shrunk
from tests.simulate.variants import VARIANTS

#: Seeds that a worker takes at once.
_CHUNK: Final = 10

#: Failing seeds that are shrunk and told of.
_TOLD: Final = 5


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "make simulate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example:\n  make simulate SEEDS=1000\n  make simulate VARIANT=all\n  make simulate FIRST=417 SEEDS=1",
    )
    parser.add_argument("--seeds", type=int, default=1000, help="how many days")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--variant", default="", choices=["all", *VARIANTS], help="run a broken service until found")
    parser.add_argument("--day", type=Day.of, help="run this day, as a failing one was printed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="worker processes")
    return parser.parse_args()


def _ready() -> None:
    """Make a worker ready: what it holds before its first day is never garbage."""
    gc.disable()
    gc.freeze()


def _one(asked: tuple[int, str]) -> tuple[int, Outcome]:
    seed, variant = asked
    outcome = run(drawn(str(seed)), variant)
    if seed % _CHUNK == 0:
        # All that the days have left is garbage: it is young.
        gc.collect(0)
    return seed, outcome


def _outcomes(seeds: range, variant: str, processes: int) -> Iterator[tuple[int, Outcome]]:
    """Yield what the days of `seeds` come to, in their order."""
    asked = [(seed, variant) for seed in seeds]
    # Compiled kernels are read once by each worker, so they live as long as the run.
    with multiprocessing.get_context("fork").Pool(processes, _ready) as pool:
        yield from pool.imap(_one, asked, _CHUNK if len(asked) > _CHUNK * processes else 1)


def _tell(day: Day, outcome: Outcome, variant: str = "") -> Day:
    """Run a failing day again, shrink it, and say how it is run."""
    again = run(day, variant)
    if (again.digest, again.faults) != (outcome.digest, outcome.faults):
        say(f"seed {day.seed} does not repeat: {again.faults[:1]} after {outcome.faults[:1]}")
    small = shrunk(day, variant)
    say(f"seed {day.seed} FAILS: {outcome.faults[0][:300]}")
    say(f"  of {day.size} steps and faults {small.size} are left; python -m tests.simulate --day '{small.text()}'")
    return small


def _check(seeds: range, processes: int) -> bool:
    started = time.monotonic()
    commits = failing = 0
    left: Counter[str] = Counter()
    for seed, outcome in _outcomes(seeds, "", processes):
        commits += outcome.commits
        if outcome.commits:
            # Without those that refuse what was damaged, as they should.
            left.update(why.split(": ", 1)[1][:160] for why in outcome.failures)
        if outcome.faults:
            failing += 1
            if failing <= _TOLD:
                _tell(drawn(str(seed)), outcome)
    seconds = time.monotonic() - started
    for why, count in left.most_common(_TOLD):
        say(f"left by itself, {count} times: {why}")
    say(
        f"{len(seeds)} days from seed {seeds.start}, {commits} commits: {failing} failed; {seconds:.0f} s, "
        f"{len(seeds) / seconds:.1f} a second"
    )
    return not failing


def _find(name: str, seeds: range, processes: int) -> bool:
    """Look for a broken variant, and say by which day it is found."""
    for seed, outcome in _outcomes(seeds, name, processes):
        if outcome.faults:
            day = drawn(str(seed))
            small = _tell(day, outcome, name)
            say(f"| {name} | {seed} | {small.size} ({len(small.events)} faults) | {run(small, name).faults[0][:90]} |")
            return True
    say(f"| {name} | NOT FOUND within {len(seeds)} | | |")
    return False


def main() -> int:
    """Run what was asked for."""
    asked = _arguments()
    seeds = range(asked.first, asked.first + asked.seeds)
    if asked.day is not None:
        outcome = run(asked.day, asked.variant)
        for fault in outcome.faults or ["no fault"]:
            say(fault)
        return 1 if outcome.faults else 0
    if not asked.variant:
        return 0 if _check(seeds, asked.processes) else 1
    names = [name for name in VARIANTS if name] if asked.variant == "all" else [asked.variant]
    found = [_find(name, seeds, asked.processes) for name in names]
    return 0 if all(found) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Legs: parts of a measurement that take turns, each in a process of its own.

A machine that does other work slows whatever runs at the moment.  Legs therefore take turns (A B C A B C ...), and
what is compared is the median of each; the spread says how much to believe.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

#: No leg takes so long, however busy the machine.
LEG_TIMEOUT_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What one leg has done.

    Attributes
    ----------
    messages : int
    seconds : float
        Wall clock.
    cpu_seconds : float
        Of the leg's process, all its threads.
    """

    messages: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds


def reply(measured: Measured) -> None:
    """Hand a leg's result to the process that asked for it."""
    sys.stdout.write(json.dumps(asdict(measured)) + "\n")


def run_leg(module: str, **asked: Any) -> Measured:
    """Run ``python -m tests.benchmarks.MODULE`` and return its result.

    Raises
    ------
    RuntimeError
        If it fails; the text ends with what it wrote.
    """
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", json.dumps(asked)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=LEG_TIMEOUT_S, check=False)
    if ended.returncode != 0:
        raise RuntimeError(f"{module} failed with code {ended.returncode}:\n{ended.stderr[-4000:]}")
    return Measured(**json.loads(ended.stdout.splitlines()[-1]))


def take_turns(legs: Mapping[str, Callable[[int], Measured]], rounds: int) -> dict[str, list[Measured]]:
    """Run each leg once a round; a leg is told the number of its round."""
    found: dict[str, list[Measured]] = {name: [] for name in legs}
    for number in range(rounds):
        for name, leg in legs.items():
            found[name].append(leg(number))
    return found


def median_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the median, and the range over it."""
    middle = statistics.median(values)
    return middle, (max(values) - min(values)) / middle

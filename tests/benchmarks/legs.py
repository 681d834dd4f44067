"""Legs: parts of a measurement that take turns, each in a process of its own.

A machine that does other work slows whatever runs at the moment.  Legs therefore take turns (A B C A B C ...), and
what is compared is the median of each; the spread says how much to believe.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from aiokafka import TopicPartition

from tests.benchmarks.figures import Figure, Target

#: No leg takes so long, however busy the machine.
LEG_TIMEOUT_S: Final = 600.0

#: A leg that is shorter says little.
_LEAST_S: Final = 5.0


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

    @property
    def cpu_rate(self) -> float:
        """Messages a second of processor time."""
        return self.messages / self.cpu_seconds


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
    return run_command(module, [sys.executable, "-m", f"tests.benchmarks.{module}", json.dumps(asked)])


def run_command(name: str, command: Sequence[str], timeout_s: float = LEG_TIMEOUT_S) -> Measured:
    """Run a program that replies as a leg does, and return its result.

    Raises
    ------
    RuntimeError
        If it fails; the text begins with `name` and ends with what it wrote.
    """
    ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    if ended.returncode != 0:
        raise RuntimeError(f"{name} failed with code {ended.returncode}:\n{ended.stderr[-4000:]}")
    return Measured(**json.loads(ended.stdout.splitlines()[-1]))


async def drain(
    consumer: Any, topic: str, messages: int, fetch: Callable[[TopicPartition], Awaitable[int]]
) -> Measured:
    """Return how long the messages of partition 0 took that followed the first fetch.

    Parameters
    ----------
    consumer
        Not started; it is stopped in the end.
    fetch : callable
        Waits for a fetch, and returns how many messages it has brought.
    """
    where = TopicPartition(topic, 0)
    await consumer.start()
    try:
        consumer.assign([where])
        consumer.seek(where, 0)
        started, cpu, skipped, read = 0.0, 0.0, 0, 0
        while read < messages:
            read += await fetch(where)
            if not started and read:
                started, cpu, skipped = time.perf_counter(), time.process_time(), read
        return Measured(read - skipped, time.perf_counter() - started, time.process_time() - cpu)
    finally:
        await consumer.stop()


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


def by_round(
    over: Sequence[Measured], under: Sequence[Measured], of: Callable[[Measured], float]
) -> tuple[float, float]:
    """Return the median of what one leg has over another's in the same round, and the range over it."""
    return median_and_spread([of(one) / of(other) for one, other in zip(over, under, strict=True)])


def rate_figure(
    name: str, legs: Sequence[Measured], unit: str = "messages/s", each: int = 1, target: Target | None = None
) -> Figure:
    """Return a leg's rate over its rounds, in units of which a message holds `each`."""
    rate, spread = median_and_spread([each * leg.rate for leg in legs])
    seconds = statistics.median(leg.seconds for leg in legs)
    cpu = statistics.median(each * leg.cpu_rate for leg in legs)
    short = " (too short to say much)" if seconds < _LEAST_S else ""
    note = f"{seconds:.1f} s a leg{short}; {cpu:,.0f} a second of processor time"
    return Figure(name, rate, unit, spread, target, note)

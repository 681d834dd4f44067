"""One process and two on the same four partitions of a real broker.

The processes are told to begin together; what counts begins when they have had time to share the partitions.  On a
machine with two cores the broker and two processes want three, so that the gain in wall time says how busy the machine
is; the rate by processor time says what sharing costs.
"""

from __future__ import annotations

import asyncio
from operator import attrgetter
from typing import Final

from impactd.shell.broker.broker import find_broker
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.leg_service import run_service
from tests.benchmarks.legs import Measured, by_round, rate_figure, take_turns
from tests.benchmarks.service import preload, source_at

PARTITIONS: Final = 4
SYMBOLS: Final = 40
PROCESSES: Final = (1, 2)

#: Messages for each one of the section on one partition: two processes take several seconds for them once they share.
TIMES: Final = 5

_BY_WALL: Final = Target("at least", 1.7)
_BY_CPU: Final = Target("at least", 0.95)

#: Time in which the processes join the group and restore what little there is.
_SETTLE_S: Final = 2.0


def measure(messages: int, rounds: int) -> tuple[list[Figure], dict[str, str]]:
    """Return the rates, and what the broker is.

    Raises
    ------
    BrokerUnavailable
        If there is no real broker here.
    RuntimeError
        If a process fails.
    """
    with find_broker() as broker:
        source = source_at(broker.bootstrap, "scale", PARTITIONS)
        asyncio.run(preload(source, messages, SYMBOLS, TIMES))
        messages *= TIMES

        def leg(processes: int, number: int) -> Measured:
            where = f"{source.topics.prefix}{processes}-{number}"
            return run_service(source, messages, where, processes=processes, settle_s=_SETTLE_S)

        found = take_turns({str(n): lambda number, n=n: leg(n, number) for n in PROCESSES}, rounds)
    return _figures(found), {"broker": f"broker: {broker.kind}", "messages": f"{messages:,} messages"}


def _figures(found: dict[str, list[Measured]]) -> list[Figure]:
    one, two = (found[str(n)] for n in PROCESSES)
    gain, spread = by_round(two, one, attrgetter("rate"))
    cost, cost_spread = by_round(two, one, attrgetter("cpu_rate"))
    return [
        *(rate_figure(f"{name} process{'es' if name != '1' else ''}", legs) for name, legs in found.items()),
        Figure("two over one, wall time", gain, "", spread, _BY_WALL, "the broker wants a core as well"),
        Figure("two over one, processor time", cost, "", cost_spread, _BY_CPU, "messages a second of it"),
    ]

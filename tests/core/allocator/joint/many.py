"""Random groups of orders, each certified and judged by Clarabel: ``python -m tests.core.allocator.joint.many N SEED``.

A group has 2 to 50 orders with windows, caps and participation limits of their own,
every fifth some with risk.  Exit status 1 if one is not certified, breaks a bound, or
costs another amount than Clarabel finds by more than a millionth.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

import numpy as np

from impactd.core.allocator.joint.allocate import allocate_jointly
from impactd.core.allocator.joint.problem import JointAllocation, in_shares, joint_objective
from tests.core.allocator.joint.groups import least_cost, random_group

MOST: Final = 50
#: Groups with risk are smaller: their time grows with the cube of the number of intervals.
MOST_RISKY: Final = 6
ACCURACY: Final = 1e-6


def faults(seed: int, number: int) -> Iterator[str]:
    """Yield what is wrong with the plans of some groups."""
    for k in range(number):
        risky = k % 5 == 4
        problem, group = random_group(seed + k, most=MOST_RISKY if risky else MOST, risky=risky)
        name = f"seed {seed + k}, {len(group)} orders, {len(problem)} intervals"
        found = allocate_jointly(problem, group)
        if not isinstance(found, JointAllocation):
            yield f"{name}: {found.text}"
            continue
        path = np.cumsum(found.quanta, axis=1)
        if np.any((found.quanta < 0) | (found.quanta > group.cap) | (path > group.high)):
            yield f"{name}: breaks a bound"
        shares = in_shares(found.quanta)
        placed = np.sum(shares, axis=1)
        theirs = least_cost(problem, group, placed)
        mine = joint_objective(problem, group.risk, placed, shares)
        if theirs is not None and not abs(mine - theirs) <= ACCURACY * theirs:
            yield f"{name}: costs {mine}, Clarabel's {theirs}"


def main() -> None:
    """Judge as many groups as the command line says."""
    number, seed = int(sys.argv[1]), int(sys.argv[2])
    count = 0
    for fault in faults(seed, number):
        count += 1
        print(fault, flush=True)  # noqa: T201  # a command
    print(f"{number} groups from seed {seed}: {count} at fault")  # noqa: T201  # a command
    sys.exit(count > 0)


if __name__ == "__main__":
    main()

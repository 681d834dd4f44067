"""Some days of the simulation for every day, and proof that it finds what it should and repeats itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from impactd.core.base.topics import Topic
from tests.paths import ROOT
from tests.simulate.days import Day, Event, drawn, run, shrunk
from tests.simulate.world import PARTITIONS

#: Variants that the first days find. The others are found by ``make simulate VARIANT=all``.
_SOON = ("positions-outside", "id-of-process", "sends-not-awaited", "memory-kept", "partial-state", "recreated-topic")

_DAYS = 30


def test_every_day_holds_what_it_must() -> None:
    failing = {seed: found for seed in range(_DAYS) if (found := run(drawn(str(seed))).faults)}
    assert not failing, "make simulate FIRST=SEED SEEDS=1 says more"


@pytest.mark.parametrize("variant", _SOON)
def test_broken_service_is_found(variant: str) -> None:
    assert any(run(drawn(str(seed)), variant).faults for seed in range(_DAYS))


def test_shrunk_day_fails_and_runs_again_from_its_text() -> None:
    day = next(day for seed in range(_DAYS) if run(day := drawn(str(seed)), "partial-state").faults)
    small = shrunk(day, "partial-state")
    assert small.size < day.size
    assert len(small.events) == 1
    assert Day.of(small.text()) == small
    assert run(small, "partial-state").faults
    assert not run(small).faults


def test_state_is_read_whole_from_a_leader_that_has_just_taken_over() -> None:
    """Such a leader shows an empty topic for a moment: a restore waits, and the process does not end of it."""
    takes_over = Event(2.2, "lead", (state_log(0), 0.0, 1.5, 1_000))
    found = run(Day("x", 1, 12, (Event(1.0, "kill", (0, 0.3)), takes_over)))
    assert not found.faults
    assert not found.failures


def state_log(partition: int) -> int:
    """Return the number of a partition of the state topic, by which a change of leader names it."""
    return list(Topic).index(Topic.STATE) * PARTITIONS + partition


def test_day_repeats_exactly_in_another_process() -> None:
    program = "from tests.simulate.days import drawn, run; print(*(run(drawn(str(n))).digest for n in range(3)))"
    found = set()
    for seed in ("1", "2"):
        environ = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        made = subprocess.run(
            [sys.executable, "-c", program], env=environ, cwd=ROOT, check=True, capture_output=True, text=True
        )
        found.add(made.stdout)
    found.add(" ".join(run(drawn(str(n))).digest for n in range(3)) + "\n")
    assert len(found) == 1

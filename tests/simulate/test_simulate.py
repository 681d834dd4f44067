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

#: A small day by which each broken service shows, as the simulation has shrunk it. The race of the inbox depends on how
#: long each thread takes, and is left to ``make simulate VARIANT=inbox-race``.
_SMALL = {
    "positions-outside": Day("26", 1, 1, (Event(2.781, "hit", (1, "end", "freeze", 0)),)),
    "id-of-process": Day("29", 3, 1, ()),
    "sends-not-awaited": Day("63", 1, 2, (Event(3.41, "refuse", (1.507,)),)),
    "memory-kept": Day("63", 1, 2, (Event(3.41, "refuse", (1.507,)),)),
    "partial-state": Day("7", 1, 2, (Event(4.25, "lose state", (1, 521)),)),
    "recreated-topic": Day("5", 1, 1, (Event(4.0, "recreate", (0, 249)),)),
    "backlog": Day("1463", 1, 1, (Event(3.026, "sluggish", (1e6, 0.03)), Event(4.357, "rush", ("poison", 300)))),
    "held-events": Day("35", 1, 1, (Event(0.673, "rush", ("early", 300)),)),
}

_DAYS = 15


def test_every_day_holds_what_it_must() -> None:
    failing = {seed: found for seed in range(_DAYS) if (found := run(drawn(str(seed))).faults)}
    assert not failing, "make simulate FIRST=SEED SEEDS=1 says more"


def test_a_transaction_that_is_left_open_hides_nothing_from_the_judge() -> None:
    """Seed 2890: the last process to be killed has a transaction open on a topic that both partitions write to."""
    events = (
        Event(0.905, "lead", (-1, 0.422, 0.103, 5)),
        Event(1.975, "rush", ("early", 60)),
        Event(2.529, "add"),
        Event(3.079, "hit", (0, "produce", "kill", 1)),
    )
    assert not run(Day("2890", 1, 13, events)).faults


def test_a_process_that_waits_to_be_started_again_does_not_run_around_a_damage() -> None:
    """Seed 1711: it ended by itself before the state lost a key, and held what it had restored."""
    events = (Event(2.027, "down", (1.702,)), Event(3.047, "add"), Event(3.5, "lose state", (0, 569)))
    assert not run(Day("1711", 1, 1, events)).faults


@pytest.mark.parametrize("variant", _SMALL)
def test_broken_service_is_found(variant: str) -> None:
    assert run(_SMALL[variant], variant).faults
    assert not run(_SMALL[variant]).faults


def test_shrunk_day_fails_and_runs_again_from_its_text() -> None:
    small = _SMALL["partial-state"]
    others = (Event(0.4, "slow", (1.0, 5.0)), Event(0.9, "clean"))
    found = shrunk(Day("7", 2, 6, (*others, *small.events)), "partial-state")
    assert found.events == small.events
    assert found.members == 1
    assert Day.of(found.text()) == found


def test_state_is_read_whole_from_a_leader_that_has_just_taken_over() -> None:
    """Such a leader shows an empty topic for a moment: a restore waits, and the process does not end of it."""
    takes_over = Event(2.2, "lead", (state_log(0), 0.0, 1.5, 1_000))
    found = run(Day("x", 1, 12, (Event(1.0, "kill", (0, 0.3)), takes_over)))
    assert not found.faults
    assert not found.failures


#: A process reads an empty state, sleeps, and wakes when its successor has committed.
_OVERTAKEN = Day("358", 3, 15, (Event(0.678, "hit", (2, "produce", "kill", 1)), Event(2.035, "freeze", (1, 2.773))))


def test_process_that_lost_a_partition_while_it_restored_does_not_end_of_what_its_successor_wrote() -> None:
    found = run(_OVERTAKEN)
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

"""Some days of the simulation for every day, and proof that it finds what it should and repeats itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.paths import ROOT
from tests.simulate.days import Day, drawn, run, shrunk

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

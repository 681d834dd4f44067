"""Published bands of plan cost hold what they say: recorded days within six points, generated ones within three."""

from __future__ import annotations

from pathlib import Path

import pytest

from impactd.research.generator import GeneratorSpec
from tests.core.band_days import coverage, of_files, of_generated

#: Of an hour: what these symbols' books hold in most minutes.
FILES = {"FROG_2025-04-03_mbp10.csv.gz": 6_000.0, "ARL_2025-07-17_mbp10.csv.gz": 1_200.0}


def test_recorded_hours_are_covered_within_six_points(data_dir: Path) -> None:
    found = [held for name, qty in FILES.items() for held in of_files([data_dir / name], qty)]
    assert len(found) > 200
    band, band_95 = coverage(found)
    # Two days, whose plans overlap: one of them is 0.4 points.
    assert band == pytest.approx(0.80, abs=0.06)
    assert band_95 == pytest.approx(0.95, abs=0.05)


@pytest.mark.slow
def test_generated_hours_are_covered_within_three_points() -> None:
    specs = [GeneratorSpec(snapshots=3_000, days=4, profile=profile, seed=11) for profile in (0.0, 1.0)]
    sizes = (1_500.0, 6_000.0, 20_000.0)
    found = [held for spec in specs for qty in sizes for held in of_generated(spec, qty, every=30)]
    assert len(found) > 300
    band, band_95 = coverage(found)
    assert band == pytest.approx(0.80, abs=0.03)
    assert band_95 == pytest.approx(0.95, abs=0.03)

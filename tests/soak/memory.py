"""Resident memory of a process over time, and its slope; its processor time."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

#: Between two samples.
EVERY_S: Final = 5.0

#: Blocks whose means the slope's error is taken from: neighbouring samples are not independent.
_BLOCKS: Final = 10

Sample = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Slope:
    """Megabytes an hour, and their standard error."""

    mb_per_hour: float
    error: float

    def __str__(self) -> str:
        return f"{self.mb_per_hour:+.1f} +- {self.error:.1f} MB/h"

    @property
    def is_zero(self) -> bool:
        """Whether it lies within three standard errors of nothing."""
        return abs(self.mb_per_hour) <= 3.0 * self.error


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has taken, NaN where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except OSError:
        return math.nan
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process, MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def watch(pid: int, samples: list[Sample]) -> None:
    """Add (seconds, MB) until cancelled."""
    started = time.monotonic()
    while True:
        samples.append((time.monotonic() - started, resident_mb(pid)))
        await asyncio.sleep(EVERY_S)


def slope(samples: Sequence[Sample], from_s: float) -> Slope | None:
    """Return the slope of the samples after `from_s`, by least squares over the means of blocks; None of too few."""
    kept = np.array([sample for sample in samples if sample[0] >= from_s])
    if len(kept) < 3 * _BLOCKS:
        return None
    blocks = np.array([block.mean(axis=0) for block in np.array_split(kept, _BLOCKS)])
    hours, mb = blocks[:, 0] / 3_600, blocks[:, 1]
    centred = hours - hours.mean()
    spread = float(centred @ centred)
    fitted = float(centred @ mb) / spread
    residual = mb - mb.mean() - fitted * centred
    return Slope(fitted, float(np.sqrt(residual @ residual / (_BLOCKS - 2) / spread)))

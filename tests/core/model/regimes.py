r"""What the detector of level changes is worth: false alarms, delays, and forecasts with and without it.

To be run by hand; recorded days are no part of the project::

    python -m tests.core.model.regimes ../shared/data

Made levels are stationary but for one planted shift: white noise, and first-order autoregressions, about a fixed mean.
Recorded levels are the half-spreads of minutes of the A-share days up to 40, of FROG and of ARL.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from impactd.core.base.settings import MINUTE_NS
from impactd.core.base.topics import Topic
from impactd.core.inputs.ticks import Float
from impactd.core.model.series.columns import FALL, FAST, MEAN, RISE, SLOW
from impactd.core.model.series.series import (
    FAST_HALF_LIFE,
    SLOW_HALF_LIFE,
    SPREAD_WEIGHTS,
    LevelSeries,
    Outlook,
    outlook,
)
from impactd.core.outputs.messages import Estimate
from impactd.research.backtest.days import read_tapes
from tests.core.band_days import outputs
from tests.research.backtest.recorded import settings_of, sources

#: Half-life of the mean, minutes, as it is set by default.
HALF_LIFE: Final = 60.0
DAY: Final = 390
NOISE: Final = 0.35
#: Minutes ahead at which forecasts are judged.
AHEAD: Final = (1, 5, 15, 30)


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201  (its output)


def run(logs: Float, *, detects: bool, days: Sequence[int] = ()) -> tuple[Float, list[int], Float]:
    """Go over log levels; return means after each, minutes of alarms, and errors of forecasts `AHEAD`, shape (n, 4).

    `days` has the indices at which a new day begins: forecasts are not judged across them.
    """
    series = LevelSeries(SPREAD_WEIGHTS)
    forget = 2.0 ** (-1.0 / HALF_LIFE)
    means, alarms = np.empty(len(logs)), []
    errors = np.full((len(logs), len(AHEAD)), np.nan)
    ends = [*(day for day in days if day), len(logs)]
    for i, level in enumerate(logs):
        before = series.changes
        series.update(np.array([math.exp(level)]), 0.0, 0, 1.0, forget, 0.0, 1.0)
        if series.changes > before:
            alarms.append(i)
        if not detects:
            series.shared[[RISE, FALL]] = 0.0
        mean, fast, slow = series.levels[0, [MEAN, FAST, SLOW]].tolist()
        means[i] = mean
        ahead = Outlook(*outlook(mean, fast - mean, slow - mean, 0.0, 0.0, 0.0, series.shared, series.weights))
        end = next(end for end in ends if end > i)
        for k, h in enumerate(AHEAD):
            if i + h < end:
                forecast = mean + ahead.slow * 2.0 ** (-(h - 1) / SLOW_HALF_LIFE)
                forecast += ahead.fast * 2.0 ** (-(h - 1) / FAST_HALF_LIFE)
                errors[i, k] = logs[i + h] - forecast
    return means, alarms, errors


def noise(rng: np.random.Generator, n: int, phi: float) -> Float:
    """Return a stationary series of standard deviation `NOISE`."""
    drawn = rng.standard_normal(n) * NOISE * math.sqrt(1.0 - phi * phi)
    out = np.empty(n)
    out[0] = rng.standard_normal() * NOISE
    for i in range(1, n):
        out[i] = phi * out[i - 1] + drawn[i]
    return out


def planted(days: int, seed: int) -> None:
    """Print false alarms and delays on made levels."""
    rng = np.random.default_rng(seed)
    _print("noise     false alarms  shift  found within 30 min  delay p50  p90   minutes until the mean is near")
    _print("          a day                                                       with detector  without")
    for phi in (0.0, 0.7, 0.9):
        drawn = [noise(rng, DAY, phi) for _ in range(days)]
        false = sum(len(run(day, detects=True)[1]) for day in drawn) / days
        for factor in (1.5, 2.0, 3.0):
            delays, near = [], {True: [], False: []}
            for day in drawn:
                shifted = day.copy()
                at = DAY // 2
                shifted[at:] += math.log(factor)
                target = math.log(factor)
                for detects in (True, False):
                    means, alarms, _ = run(shifted, detects=detects)
                    reached = np.flatnonzero(np.abs(means[at:] - target) < 0.2)
                    near[detects].append(float(reached[0]) if len(reached) else math.inf)
                    if detects:
                        delays.append(next((float(a - at) for a in alarms if a >= at), math.inf))
            found = np.array(delays)
            _print(
                f"AR({phi:.1f})   {false:8.3f}      x{factor:<4}  {np.mean(found <= 30):12.2f}        "
                f"{np.quantile(found, 0.5, method='lower'):8.0f} {np.quantile(found, 0.9, method='lower'):5.0f}   "
                f"{np.median(near[True]):12.0f} {np.median(near[False]):9.0f}"
            )


def recorded(data: Path) -> None:
    """Print alarms and squared errors on recorded days."""
    _print("symbol   days  alarms a day   mean square of the log error, with and without the detector (t of the gain)")
    for source in sources(data, 11, 40):
        if source.market == "AMZN":
            continue
        settings = settings_of(source.session, "minute")
        [tape] = [tape for tape in read_tapes(source.files, settings) if len(tape.days)]
        logs, days, minute = [], [], 0
        for output in outputs([tape.batch], [], settings):
            message = output.message
            if output.topic is Topic.ESTIMATES and isinstance(message, Estimate) and message.side == "buy":
                if message.half_spread is None or message.half_spread <= 0:
                    continue
                if message.minute > minute + 600 * MINUTE_NS:
                    days.append(len(logs))
                minute = message.minute
                logs.append(math.log(message.half_spread))
        series = np.array(logs)
        _, alarms, with_it = run(series, detects=True, days=days)
        without = run(series, detects=False, days=days)[2]
        parts = []
        for k, h in enumerate(AHEAD):
            gain = without[:, k] ** 2 - with_it[:, k] ** 2
            per_day = np.array([np.nansum(part) for part in np.split(gain, days[1:])])
            t = per_day.mean() / (per_day.std(ddof=1) / math.sqrt(len(per_day))) if len(per_day) > 1 else math.nan
            parts.append(
                f"{h} min {np.nanmean(with_it[:, k] ** 2):.4f} {np.nanmean(without[:, k] ** 2):.4f} ({t:+.1f})"
            )
        _print(f"{source.symbol:8} {len(days):4}  {len(alarms) / len(days):8.2f}      {'  '.join(parts)}")


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--days", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    planted(given.days, given.seed)
    recorded(given.data)


if __name__ == "__main__":
    main()

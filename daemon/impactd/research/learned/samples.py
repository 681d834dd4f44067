"""Features, forecasts and outcomes: one row per minute, side and horizon.

The engine walks through a tape without orders, with a learned forecaster
whose trained file is neutral: its features and the default forecast are read
at the end of every minute, as a live one would have them.  The outcome is the level that the same features measured
when the target's minute had closed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import SIDES
from impactd.core.engine import Engine
from impactd.core.inputs.ticks import Float, Int
from impactd.core.model.learned.forecaster import LearnedSide
from impactd.core.model.learned.predictor import HORIZONS, SERIES
from impactd.core.model.learned.trained import KINDS, TREES, TrainedFile, document
from impactd.core.outputs.messages import Output
from impactd.research.backtest.days import Day, SymbolTape
from impactd.research.backtest.live import states_at


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Rows of one symbol, day and side."""

    #: Of trained file, whose features these are.
    kind: str
    symbol: str
    day: str
    side: str
    #: Shape (n,). Intervals ahead.
    horizon: Int
    #: Shape (n,). Start of the interval that was forecast, ns.
    target: Int
    #: Shape (n, n_features).
    x: Float
    #: Shape (n, 2). Log half-spread and log excess by the default forecast, as plans have it.
    default: Float
    #: Shape (n, 2). Those of the latest minute.
    last: Float
    #: Shape (n, 2). Those of the interval that was forecast.
    came: Float


def blank_file(settings: CoreSettings, kind: str = TREES) -> TrainedFile:
    """Return a file of a kind that leaves the default forecast as it is."""
    return TrainedFile.of(document(settings, kind, KINDS[kind].blank(), {"rows": 0}))


def with_learned(settings: CoreSettings, learned: str, *, always: bool = False) -> CoreSettings:
    """Return the settings with a trained file, `always` followed or as they say; without any where it is empty."""
    use = "always" if always else settings.model.learned_use
    return dataclasses.replace(settings, model=dataclasses.replace(settings.model, learned=learned, learned_use=use))


@dataclass(slots=True)
class _Watch:
    """Records the features at each minute's end, and later the realised values."""

    days: Sequence[Day]
    interval_ns: int
    #: By day and side: (minutes ahead of the open, features, default forecast), and the levels of each minute.
    seen: dict[tuple[int, int], list[tuple[int, Float, Float]]] = field(default_factory=dict)
    levels: dict[tuple[int, int], Float] = field(default_factory=dict)

    def __call__(self, engine: Engine, now: int, outputs: tuple[Output, ...]) -> None:
        del outputs
        for d, day in enumerate(self.days):
            t = day.intervals.index(now)
            market = engine.market(day.symbol)
            if not 0 < t <= len(day.intervals) or market is None:
                continue
            for row, side in enumerate(SIDES):
                forecaster = market.forecaster(side)
                if not isinstance(forecaster, LearnedSide) or forecaster.features.minute != now - self.interval_ns:
                    continue
                levels = self.levels.setdefault((d, row), np.full((len(day.intervals), len(SERIES)), np.nan))
                levels[t - 1] = forecaster.features.levels
                starts = forecaster.starts()
                curves = market.forecast(side, now, starts)
                seen = (t, forecaster.features.of(starts), forecaster.logs(curves))
                self.seen.setdefault((d, row), []).append(seen)


def samples_of(tape: SymbolTape, settings: CoreSettings, kind: str = TREES) -> list[Samples]:
    """Return the rows of a tape's days, by day and side.

    Parameters
    ----------
    settings : CoreSettings
        Those under which recorded days are worked (`impactd.research.backtest.run.for_backtest`).
    kind : str
        Of trained file that learns from them, of `impactd.core.model.learned.trained.KINDS`.
    """
    interval = settings.books.interval_ns
    watch = _Watch(tape.days, interval)
    ends = [day.open + t * interval for day in tape.days for t in range(len(day.intervals) + 1)]
    states_at(tape, with_learned(settings, blank_file(settings, kind), always=True), (), look=watch, at=ends)
    return list(_joined(watch, interval, kind))


def _joined(watch: _Watch, interval: int, kind: str) -> Iterator[Samples]:
    ahead = np.array(HORIZONS, np.int64)
    for (d, row), seen in sorted(watch.seen.items()):
        day, levels = watch.days[d], watch.levels[d, row]
        n = len(levels)
        at = np.array([t for t, _, _ in seen], np.int64)
        horizon = np.tile(ahead, len(seen))
        target = np.repeat(at, len(ahead)) + horizon - 1
        last = np.repeat(levels[at - 1], len(ahead), axis=0)
        x = np.concatenate([features for _, features, _ in seen])
        default = np.concatenate([said for _, _, said in seen])
        # What lies beyond the close is never known, and what no book showed neither.
        known = target < n
        came = np.full_like(last, np.nan)
        came[known] = levels[target[known]]
        good = np.isfinite(came).all(axis=1) & np.isfinite(default).all(axis=1)
        yield Samples(
            kind=kind,
            symbol=day.symbol,
            day=day.name,
            side=str(SIDES[row]),
            horizon=horizon[good],
            target=day.open + target[good] * interval,
            x=x[good],
            default=default[good],
            last=last[good],
            came=came[good],
        )


def stacked(samples: Sequence[Samples], name: str) -> Float:
    """Return one array of all `samples`, rows after rows."""
    return np.concatenate([getattr(part, name) for part in samples])

"""Observations of one day in order: forecasts by minute, fitted lines, realised curves.

Everything here is read from the engine that walks through the tape without
orders, at the beginning of each interval of a session.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from impactd.core.base.session import Sessions
from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import SIDES
from impactd.core.engine import Engine
from impactd.core.inputs.ticks import Float, Int
from impactd.core.model.kinds.linear import Linear
from impactd.core.model.profile.profile import Profile, relative_levels
from impactd.core.outputs.messages import Estimate, Model, Output
from impactd.research.backtest.days import Day, SymbolTape
from impactd.research.backtest.live import State, states_at
from impactd.research.backtest.policies import Lines

#: Forecasts are judged at this part of the day's mean visible depth.
REFERENCE_DEPTH: Final = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class DayForecasts:
    """Forecast and realised impact of one day of one symbol: all that a report shows of the day."""

    day: Day
    #: To buy and to sell, fitted to each closed interval's cells.
    lines: tuple[Lines, Lines]
    #: Shape (2, n, n). Per-share impact at `reference`, price: in row t, what was expected of each interval from t on
    #: when t began; NaN without a forecast.
    impact: Float
    #: Shape (2, n). Per-share impact at `reference`, price; NaN where no book prevailed.
    realised: Float
    #: Shares.
    reference: float
    #: Shape (2, n). Of the published model for each interval, and its standard error: beta, or eta for the power model;
    #: NaN without one.
    slope: Float
    slope_se: Float


@dataclass(frozen=True, slots=True, eq=False)
class DayStudy(DayForecasts):
    """One day of one symbol, for orders to be tried on."""

    #: Shape (n, n). In row t, what was expected of each interval from t on when t began; NaN without a forecast.
    volume: Float
    #: Shape (2, n). Relative spread and excess of the generic session profile.
    profile: Float

    @classmethod
    def blank(cls, day: Day, settings: CoreSettings) -> DayStudy:
        """Return a study without anything seen yet."""
        n = len(day.intervals)
        reference = REFERENCE_DEPTH * float(np.nanmean(day.intervals.depth))
        session = Sessions(settings).of(day.symbol)
        starts = day.open + np.arange(n, dtype=np.int64) * settings.books.interval_ns
        at = session.positions(starts, settings.books.interval_ns // 2)
        generic = Profile.generic(session)
        levels = [relative_levels(generic.knots, values, at) for values in (generic.spread, generic.excess)]
        realised = [_realised(day, row, reference) for row in range(2)]
        return cls(
            day,
            (_no_lines(n), _no_lines(n)),
            np.full((2, n, n), np.nan),
            np.stack(realised),
            reference,
            np.full((2, n), np.nan),
            np.full((2, n), np.nan),
            np.full((n, n), np.nan),
            np.stack(levels),
        )


def _no_lines(n: int) -> Lines:
    return Lines(np.full(n, np.nan), np.full(n, np.nan))


def _realised(day: Day, row: int, reference: float) -> Float:
    n = len(day.intervals)
    cost, _ = day.intervals.costs(row, np.arange(n), np.full(n, reference))
    return np.asarray(cost / reference)


@dataclass(slots=True)
class Watch:
    """Fills the studies of a symbol's days as its engine runs."""

    studies: list[DayStudy]
    settings: CoreSettings
    _fit: Linear = field(default_factory=lambda: Linear(intercept=True))

    def __call__(self, engine: Engine, now: int, outputs: tuple[Output, ...]) -> None:
        """Take in what was published up to `now`, and what is expected from then on."""
        for output in outputs:
            if isinstance(output.message, Estimate):
                self._take(output.message)
            elif isinstance(output.message, Model):
                self._see(output.message)
        for study in self.studies:
            t, n = study.day.intervals.index(now), len(study.day.intervals)
            market = engine.market(study.day.symbol)
            if not 0 <= t < n or market is None:
                continue
            starts: Int = now + np.arange(n - t, dtype=np.int64) * self.settings.books.interval_ns
            for row, side in enumerate(SIDES):
                view = market.view(side, now)
                curves = market.forecast(side, now, starts)
                if curves.scaled:
                    study.impact[row, t, t:] = curves.impact(np.full(n - t, study.reference))
                if row == 0:
                    volume = view.volume(starts)
                    if volume is not None:
                        study.volume[t, t:] = volume

    def _see(self, model: Model) -> None:
        """Take in the published coefficients of the interval that begins at the model's time."""
        name = "eta" if model.eta is not None else "beta"
        for study in self.studies:
            t = study.day.intervals.index(model.as_of)
            if 0 <= t < len(study.day.intervals):
                row = SIDES.index(model.side)
                study.slope[row, t] = getattr(model, name)
                study.slope_se[row, t] = model.se.get(name, np.nan)

    def _take(self, estimate: Estimate) -> None:
        for study in self.studies:
            t = study.day.intervals.index(estimate.minute)
            if not 0 <= t < len(study.day.intervals):
                continue
            cells = [
                (size, g, covered)
                for size, g, covered in zip(estimate.sizes, estimate.slippage, estimate.coverage, strict=True)
                if g is not None and covered >= self.settings.books.min_coverage
            ]
            if len(cells) >= self._fit.n_terms:
                sizes, g, weight = np.array(cells).T.copy()
                q_ref = float(np.exp(np.log(sizes).mean()))
                fit = self._fit.fit(sizes, g, weight, q_ref)[0]
                lines = study.lines[SIDES.index(estimate.side)]
                lines.s[t], lines.beta[t] = fit.half_spread, fit.excess / q_ref


def study_days(
    tape: SymbolTape, settings: CoreSettings, kept: Iterable[int] | None = None
) -> tuple[list[DayStudy], dict[int, State]]:
    """Walk through a tape and return its days, with the engine's state at each of `kept`, ns.

    Without `kept`, it keeps the state at the start of each interval: some 14 MB a day.
    """
    studies = [DayStudy.blank(day, settings) for day in tape.days]
    starts = [day.open + t * settings.books.interval_ns for day in tape.days for t in range(len(day.intervals) + 1)]
    states = states_at(tape, settings, starts if kept is None else kept, look=Watch(studies, settings), at=starts)
    return studies, states

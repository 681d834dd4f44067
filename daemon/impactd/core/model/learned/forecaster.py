r"""A forecaster that corrects the default one by its learned errors.

It wraps a `impactd.core.model.forecaster.SideModel` and moves what that one
forecasts.  With q the quantiles of a trained file (in logs, at
`impactd.core.model.learned.predictor.HORIZONS` intervals ahead, interpolated between),
the level of the interval h ahead, and the part of the variance of its spread that becomes known before it begins, are

.. math:: \hat y_h e^{q_{50,h}}, \qquad V_h = (v_h - v_1)^+, \quad
   v = \left( \frac{q_{90} - q_{10}}{2 z_{90}} \right)^2 .

The uncertainty that remains when an interval is the next one cannot be avoided by a later choice, so v_1 does not
count (`impactd.core.allocator.optionality` explains the use of V).

Everything else is the default's: the levels that it has seen, the innovation of the prevailing book, its errors.
Without a closed minute, or while the default leads (`impactd.core.market.champion`), it returns the default's forecast.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from impactd.core.base.jit import kernel
from impactd.core.base.session import Session
from impactd.core.base.settings import CoreSettings
from impactd.core.model.curves import BookCurve, Curves, Float, Int, MinuteBooks
from impactd.core.model.forecaster import SideModel
from impactd.core.model.learned.predictor import HORIZONS, Predictor
from impactd.core.model.learned.trained import learned_of
from impactd.core.model.profile.days import DayShape
from impactd.core.outputs.messages import ForecastRecord, Model

#: From one decile to the other of a normal distribution, in standard deviations.
_DECILES: Final = 2.0 * 1.2815515655446004

#: A forecast is moved by no more than this, in logs, and swings by no more than this variance: what was learned
#: knows nothing of levels that it has not seen.
MOST: Final = 2.0

#: Terms of a curve that are proportional to its excess.
TERMS: Final = ("beta", "alpha", "eta")

_AHEAD: Final = np.array(HORIZONS, dtype=np.float64)


@kernel
def interpolated(ahead: Float, knots: Float, said: Float) -> Float:
    """Return what is said at `knots`, shape (K, 3), at `ahead`, shape (N,); constant beyond its ends.

    Returns
    -------
    ndarray of float64, shape (N, 3)
        Factors of spread and excess, of which `said` has the logs; and the variance as it is.
    """
    out = np.empty((ahead.shape[0], 3))
    last = knots.shape[0] - 1
    for i in range(ahead.shape[0]):
        k = 0
        while k < last - 1 and knots[k + 1] < ahead[i]:
            k += 1
        share = min(max((ahead[i] - knots[k]) / (knots[k + 1] - knots[k]), 0.0), 1.0)
        for j in range(3):
            value = said[k, j] + share * (said[k + 1, j] - said[k, j])
            out[i, j] = math.exp(value) if j < 2 else value
    return out


def around(base: SideModel, row: int, settings: CoreSettings, session: Session) -> SideModel | LearnedSide:
    """Return the forecaster of a side: `base`, or with what was learned of it where the settings name a trained file.

    Parameters
    ----------
    row : int
        Of the side in a minute's arrays.
    """
    learned = learned_of(settings)
    if learned is None:
        return base
    return LearnedSide(base, learned.predictor, row, session, settings.books.interval_ns)


class LearnedSide:
    """A `impactd.core.model.curves.Forecaster` around the default one."""

    def __init__(self, base: SideModel, predictor: Predictor, row: int, session: Session, interval_ns: int) -> None:
        self._base = base
        self._predictor = predictor
        self._interval_ns = interval_ns
        #: Whether what is asked of it is the learned forecast, or the default one; no part of the state.
        self.leads = True
        #: What the predictor says until a minute closes, shape (K, 3).
        self._said: Float | None = None
        #: What is seen, for a study to read.
        self.features = predictor.features(row, session, interval_ns)

    def update(self, minute_ns: int, books: MinuteBooks) -> bool:
        """Add a closed minute; see `SideModel.update`."""
        if not self._base.update(minute_ns, books):
            return False
        levels = self._base.levels
        if levels is not None:
            self.features.update(minute_ns, levels, books)
        self._said = None
        return True

    def see(self, book: BookCurve) -> None:
        """Note the book that prevails at the end of the minute just added."""
        self._base.see(book)

    @property
    def prior(self) -> bool:
        """Whether a forecast rests on a prior."""
        return self._base.prior

    @property
    def minutes(self) -> float:
        """Minutes of evidence behind the level."""
        return self._base.minutes

    def seen_today(self, at: int) -> float:
        """Return the minutes of the session of `at` (ns) that were seen."""
        return self._base.seen_today(at)

    @property
    def fitted_to(self) -> float | None:
        """Largest size of the latest fit, shares."""
        return self._base.fitted_to

    def starts(self) -> Int:
        """Return the starts of the intervals at which the predictor is asked; a minute must have been taken in."""
        at: Int = (self.features.minute or 0) + np.array(HORIZONS, np.int64) * self._interval_ns
        return at

    def forecast(self, starts_ns: Int, rate: float = 0.0, book: BookCurve | None = None) -> Curves:
        """Return the curves of the intervals that begin at `starts_ns`; see `SideModel.forecast`."""
        return self.forecast_by(self.leads, starts_ns, rate, book)

    def forecast_by(self, learned: bool, starts_ns: Int, rate: float, book: BookCurve | None) -> Curves:  # noqa: FBT001
        """Return the learned forecast or the default one, whichever leads; see `SideModel.forecast`."""
        curves = self._base.forecast(starts_ns, rate, book)
        if not learned or self.features.minute is None or not curves.scaled:
            return curves
        spread, excess, variance = self._moves(starts_ns)
        return dataclasses.replace(
            curves,
            half_spread=curves.half_spread * spread,
            spread_variance=variance,
            **{name: term * excess for name in TERMS if (term := getattr(curves, name)) is not None},
        )

    def _moves(self, starts_ns: Int) -> Float:
        """Return the factors of spread and excess, and the variance of the spread, by interval, shape (3, N)."""
        if self._said is None:
            quantiles = self._predictor.quantiles(self.features.of(self.starts()))
            variance = ((quantiles[:, :1, 2] - quantiles[:, :1, 0]) / _DECILES) ** 2
            later = np.maximum(variance - variance[:1], 0.0)
            self._said = np.concatenate([np.clip(quantiles[:, :, 1], -MOST, MOST), np.minimum(later, MOST)], axis=1)
        ahead = (starts_ns - (self.features.minute or 0)) / self._interval_ns
        return np.ascontiguousarray(interpolated(ahead, _AHEAD, self._said).T)

    def record(self, as_of: int) -> Model | None:
        """Return the summary to publish: the coefficients of the interval that begins at `as_of`."""
        record = self._base.record(as_of)
        if record is None or self.features.minute is None or not self.leads:
            return record
        steps = () if record.forecast is None else record.forecast.intervals
        starts = as_of + np.array([0, *steps], np.int64) * self._interval_ns
        by = self._moves(starts)[:2]
        spread, excess = by[:, 0].tolist()
        return dataclasses.replace(
            record,
            half_spread=record.half_spread * spread,
            se={name: error * (spread if name == "half_spread" else excess) for name, error in record.se.items()},
            forecast=None if record.forecast is None else _scaled_forecast(record.forecast, by[:, 1:]),
            **{name: value * excess for name in TERMS if (value := getattr(record, name)) is not None},
        )

    @property
    def fitted(self) -> tuple[float, float] | None:
        """Half-spread and slope of the last minute; the default's."""
        return self._base.fitted

    def logs(self, curves: Curves) -> Float:
        """Return log half-spread and log excess of curves as the features have them, shape (N, 2)."""
        return self._base.logs(curves)

    @property
    def changes(self) -> int:
        """How many changes of regime the default's series have had."""
        return self._base.changes

    def save(self) -> dict[str, Any]:
        """Return the state as JSON-ready values: the default's, and the features next to it."""
        return self._base.save() | {"features": self.features.save()}

    @property
    def lasting(self) -> DayShape | None:
        """See `SideModel.lasting`."""
        return self._base.lasting

    def load(self, saved: Mapping[str, Any]) -> None:
        """Continue from what `save` returned; from a default forecaster's state features start empty."""
        self._base.load(saved)
        self.features.load(saved.get("features"))
        self._said = None


def _scaled_forecast(record: ForecastRecord, by: Float) -> ForecastRecord:
    """Return coefficients of intervals ahead multiplied by the factors `by`, shape (2, N)."""
    spread, excess = by.tolist()
    scaled = {
        name: tuple(a * b for a, b in zip(terms, excess, strict=True))
        for name in TERMS
        if (terms := getattr(record, name)) is not None
    }
    half_spread = tuple(a * b for a, b in zip(record.half_spread, spread, strict=True))
    return dataclasses.replace(record, half_spread=half_spread, **scaled)

r"""The live impact model of one symbol and side.

Each closed minute
------------------
1. Cells held at least `min_coverage` of the time are fitted by the kind's
   constrained least squares, weighted by coverage (`impactd.core.model.measure`).
2. log s and log E go into two `DampedSeries`, less the session profile.  s is
   the **fitted** intercept: a plan pays the curve, and the line through a
   minute's cells meets the axis where the plan's sizes, not the first share,
   put it.
3. The shape follows by a discounted mean or loss (`impactd.core.model.shape`);
   each exponent of the power model has series of its own, so that a change of
   the leading exponent rewrites no history.

A minute's weight is the share of the interval that books stood, times the
share of the grid that entered the fit.  A minute without usable cells changes
nothing: time itself ages what is known, when the next minute or forecast
asks.  Minutes outside of the session are left out, since pre-market books say
little about the day's.  The mean ages in minutes of open market, so that it
lasts over a night; the deviation in clock time, so that it does not.

A minute costs the same whatever the history: one fit, and a few operations
for each candidate.

Forecasts are medians of log levels, moved by the standing book, with the
variance of what will be seen until then (`impactd.core.model.series.series`).  `record` publishes the coefficients of
the interval that begins at `as_of`; their standard errors are the filters'
one-interval-ahead residuals, by the delta method.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from impactd.core.base.session import Session
from impactd.core.base.settings import MINUTE_NS, ModelSettings
from impactd.core.base.topics import Side
from impactd.core.model.curves import BookCurve, Curves, Float, Int, MinuteBooks
from impactd.core.model.kinds.registry import impact_model
from impactd.core.model.measure import Cells, measure
from impactd.core.model.profile.days import ShapedProfile
from impactd.core.model.profile.profile import Profile
from impactd.core.model.series.outlook import Ahead
from impactd.core.model.series.readout import levels_at
from impactd.core.model.series.series import DampedSeries
from impactd.core.model.shape import ShapeState, nearest_to_linear
from impactd.core.outputs.messages import ForecastRecord, Model

UNIT: Final = "price_per_share"
LAYOUT: Final = 3

#: Intervals ahead whose coefficients are published with a model, as far as the session has them.
AHEAD: Final = (5, 15, 30, 60, 120, 180, 240, 360)

#: Until so many minutes were taken in, a forecast is marked as a prior.
PRIOR_MINUTES: Final = 3


class SideModel:
    """Model state of one (symbol, side); a `impactd.core.model.curves.Forecaster`.

    Parameters
    ----------
    symbol, side
        Whose model it is.
    settings : ModelSettings
        Kind, half-lives, gain, Huber point.
    session : Session
        Trading hours.
    profile : Profile
        Shape of the day; a prior or learned.
    interval_ns : int
        Length of an execution interval.
    min_coverage : float
        Share of covered time from which a cell enters a fit.

    Raises
    ------
    ValueError
        If a setting is out of its range.
    """

    def __init__(
        self,
        symbol: str,
        side: Side,
        settings: ModelSettings,
        session: Session,
        profile: Profile,
        interval_ns: int = MINUTE_NS,
        *,
        min_coverage: float = 0.95,
    ) -> None:
        for name in ("mean_half_life_minutes", "reversion_half_life_minutes", "huber"):
            if not getattr(settings, name) > 0:
                raise ValueError(f"model.{name}: must be positive")
        if not 0 <= settings.gain < 1:
            raise ValueError("model.gain: must lie in [0, 1); at 1 a plan would believe every minute")
        self.symbol = symbol
        self.side = side
        self._profile = ShapedProfile(profile, session, interval_ns, learn=settings.learn_profile)
        self._model = impact_model(settings)
        self._session = session
        self._interval_ns = interval_ns
        self._min_coverage = min_coverage
        self._row = 0 if side is Side.BUY else 1
        self._mean_half_life = settings.mean_half_life_minutes
        candidates = self._model.candidates
        self._spread = DampedSeries(len(candidates), settings, interval_ns)
        self._excess = DampedSeries(len(candidates), settings, interval_ns)
        self._shape = ShapeState(candidates)
        self._minutes = 0
        self._last: int | None = None
        self._q_ref: float | None = None
        self._range: tuple[float, float] | None = None
        self._r2: float | None = None
        self._fitted: tuple[float, float] | None = None

    # Taking in a minute.

    def update(self, minute_ns: int, books: MinuteBooks) -> bool:
        """Take in the minute that began at `minute_ns`.

        Returns
        -------
        bool
            Whether the model was refitted: False for a minute without usable
            cells, or outside of the session.

        Raises
        ------
        ValueError
            If the minute is not later than the last one taken in.
        """
        if self._last is not None and minute_ns <= self._last:
            raise ValueError(f"minute {minute_ns}: not later than {self._last}; each is taken in once, in order")
        self._fitted = None
        cells = Cells.of_minute(books, self._row, self._min_coverage)
        if cells is None or not self._session.is_open(minute_ns):
            return False
        if self._q_ref is None:
            self._q_ref = cells.reference_size()
        levels = measure(self._model, cells, self._q_ref, self._shape.shapes)
        spread, excess = self._profile.reach(minute_ns, self._last)
        self._spread.shift(spread)
        self._excess.shift(excess)

        covered = min(books.covered_ns / self._interval_ns, 1.0)
        weight = covered * len(cells.sizes) / len(books.sizes)
        forget = self._forget(minute_ns)
        missed, open_minutes = 0.0, 0.0
        if self._last is not None:
            missed = max(minute_ns - self._last - self._interval_ns, 0) / self._interval_ns
            open_minutes = self._session.open_minutes_between(self._last, minute_ns)
        spread, excess = self._profile.at(minute_ns + self._interval_ns // 2)
        self._spread.update(levels.half_spread, spread, weight, forget, missed, open_minutes)
        self._excess.update(levels.excess, excess, weight, forget, missed, open_minutes)
        if levels.fits:
            self._shape.update(levels.fits, weight, forget)
            self._range = (float(cells.sizes[0]), float(cells.sizes[-1]))
        leader = self._shape.leader()
        self._profile.learn(minute_ns, levels.half_spread[leader], levels.excess[leader], weight)
        self._r2 = levels.fits[leader].r2 if levels.fits else None
        self._fitted = (float(levels.half_spread[leader]), float(levels.excess[leader]) / self._q_ref)
        self._minutes += 1
        self._last = minute_ns
        return True

    def see(self, book: BookCurve) -> None:
        """Take in the book that stands at the end of the minute just taken in, to learn what books are worth."""
        if self._q_ref is not None and len(book.sizes):
            levels = measure(self._model, Cells.of_book(book), self._q_ref, self._shape.shapes)
            self._spread.see(levels.half_spread)
            self._excess.see(levels.excess)

    def _forget(self, ts: int) -> float:
        """Return what information is multiplied by from the last minute taken in to `ts`."""
        if self._last is None:
            return 1.0
        return float(2.0 ** (-self._session.open_minutes_between(self._last, ts) / self._mean_half_life))

    # Looking ahead.

    @property
    def prior(self) -> bool:
        """Whether a forecast rests on a prior: few minutes seen, or the day's shape not learned from this symbol."""
        return self._minutes < PRIOR_MINUTES or self._profile.now.is_prior

    @property
    def fitted_to(self) -> float | None:
        """Largest size of the latest fit, shares; a plan that asks for more of an interval extrapolates."""
        return None if self._range is None else self._range[1]

    @property
    def fitted(self) -> tuple[float, float] | None:
        """Half-spread and slope of the last minute's own fit, price and price per share; None where it had none.

        Known only until the next `update`: it is no part of the state.
        """
        return self._fitted

    @property
    def changes(self) -> int:
        """How many changes of regime its series have had."""
        i = self._shape.leader()
        return self._spread.changes(i) + self._excess.changes(i)

    def forecast(self, starts_ns: Int, book: BookCurve | None = None) -> Curves:
        """Return the curves of the intervals that begin at `starts_ns`.

        Parameters
        ----------
        starts_ns : ndarray of int64, shape (N,)
            UTC ns.
        book : BookCurve, optional
            The standing book: it sets the level while no minute has closed, and
            moves the nearest intervals by what it has been worth since.
            Without it, before the first minute, the curves are of unit scale (`Curves.scaled` is False)
            and have the prior's shape.
        """
        if self._last is None or self._q_ref is None:
            return self._cold(starts_ns, book)
        i = self._shape.leader()
        half_spread = excess = None
        news_ns = self._last + self._interval_ns
        if book is not None and len(book.sizes):
            stands = measure(self._model, Cells.of_book(book), self._q_ref, self._shape.shapes)
            half_spread, excess = float(stands.half_spread[i]), float(stands.excess[i])
            news_ns = max(news_ns, book.ts_event // self._interval_ns * self._interval_ns)
        spread_at, excess_at = self._profile.at(news_ns + self._interval_ns // 2)
        gap_ns = news_ns - self._last - self._interval_ns
        spread, of_excess = (
            self._spread.ahead(i, half_spread, spread_at, gap_ns),
            self._excess.ahead(i, excess, excess_at, gap_ns),
        )
        levels = self._levels(starts_ns, spread, of_excess, news_ns)
        curves = self._curves(*levels, self._shape.shapes[i], self._q_ref)
        seen = (starts_ns, self._last + self._interval_ns, self._interval_ns)
        return dataclasses.replace(
            curves,
            spread_swing=spread.swings(*seen) if self._model.intercept else np.zeros(len(starts_ns)),
            excess_swing=of_excess.swings(*seen),
        )

    def _cold(self, starts_ns: Int, book: BookCurve | None) -> Curves:
        """Return the prior's curves, at the level of the standing book where there is one."""
        shapes = self._shape.shapes
        if book is None or len(book.sizes) == 0:
            half_spread, excess = self._levels(starts_ns, Ahead(0.0), Ahead(0.0))
            i = nearest_to_linear([0.0] * len(shapes), shapes)
            return self._curves(half_spread, excess, shapes[i], 1.0, scaled=False)
        cells = Cells.of_book(book)
        q_ref = cells.reference_size()
        levels = measure(self._model, cells, q_ref, shapes)
        fitted = [fit.shape for fit in levels.fits] or shapes
        i = nearest_to_linear([fit.loss for fit in levels.fits] or [0.0] * len(shapes), fitted)
        spread, excess_at = self._profile.at(book.ts_event)
        half_spread, excess = self._levels(
            starts_ns,
            Ahead(math.log(levels.half_spread[i]) - spread),
            Ahead(math.log(levels.excess[i]) - excess_at),
        )
        return self._curves(half_spread, excess, fitted[i], q_ref)

    def _levels(self, starts_ns: Int, spread: Ahead, excess: Ahead, news_ns: int = 0) -> tuple[Float, Float]:
        """Return s and E by interval from what each series expects."""
        positions = self._session.positions(starts_ns, self._interval_ns // 2)
        next_ns = 0 if self._last is None else self._last + self._interval_ns
        profile = self._profile.now

        def read(values: Float, of: Ahead) -> Float:
            at = (starts_ns, positions, next_ns, of.half_life_ns, profile.knots, values)
            return levels_at(*at, of.mean, of.deviation, of.news, news_ns)

        if not self._model.intercept:
            return np.zeros(len(starts_ns)), read(profile.excess, excess)
        return read(profile.spread, spread), read(profile.excess, excess)

    def _curves(self, half_spread: Float, excess: Float, shape: float, q_ref: float, *, scaled: bool = True) -> Curves:
        terms = self._model.coefficients(excess, shape, q_ref)
        as_of = None if self._last is None else self._last + self._interval_ns
        delta = 1.0 if terms.delta is None else terms.delta
        return Curves(half_spread, terms.beta, terms.alpha, terms.eta, delta, self.prior, scaled, as_of)

    def record(self, as_of: int) -> Model | None:
        """Return the summary to publish: the coefficients of the interval that begins at `as_of`.

        None before any minute was taken in: there is nothing to publish then.
        """
        if self._last is None or self._q_ref is None:
            return None
        i = self._shape.leader()
        steps = self._session.steps_open(as_of, AHEAD, self._interval_ns)
        curves = self.forecast(np.array([as_of, *(as_of + k * self._interval_ns for k in steps)], dtype=np.int64))
        terms = (curves.beta, curves.alpha, curves.eta)
        beta, alpha, eta = (None if term is None else float(term[0]) for term in terms)
        half_spread, *later = curves.half_spread.tolist()
        terms_later = (None if term is None else tuple(term[1:].tolist()) for term in terms)
        return Model(
            symbol=self.symbol,
            side=self.side,
            as_of=as_of,
            kind=self._model.kind,
            unit=UNIT,
            intercept=self._model.intercept,
            half_spread=half_spread,
            beta=beta,
            alpha=alpha,
            eta=eta,
            delta=None if eta is None else curves.delta,
            se=self._standard_errors(i, half_spread, beta, alpha, eta),
            n_eff=self._excess.information(i) * self._forget(max(as_of - self._interval_ns, self._last)),
            r2=self._r2,
            prior=self.prior,
            regime=self.changes,
            fitted_range=self._range,
            forecast=ForecastRecord(steps, tuple(later), *terms_later),
        )

    def _standard_errors(
        self, i: int, half_spread: float, beta: float | None, alpha: float | None, eta: float | None
    ) -> dict[str, float]:
        """Return the standard error of each coefficient, by its name."""
        se = {"half_spread": half_spread * self._spread.sd_ahead(i)} if self._model.intercept else {}
        sd = self._excess.sd_ahead(i)
        q_ref = self._q_ref or 1.0
        if beta is not None and alpha is not None:
            # The error of the share of curvature moves excess from one term to the other.
            moved = (beta * q_ref + alpha * q_ref**2) * math.sqrt(self._shape.variance)
            se["beta"] = math.hypot(beta * sd, moved / q_ref)
            se["alpha"] = math.hypot(alpha * sd, moved / q_ref**2)
        elif beta is not None:
            se["beta"] = beta * sd
        elif eta is not None:
            se["eta"] = eta * sd
        return se

    # State.

    def save(self) -> dict[str, Any]:
        """Return the state as JSON-ready values (no NaN); `load` continues from it bit for bit."""
        return {
            "made": [LAYOUT, self._model.kind, self._model.intercept],
            "q_ref": self._q_ref,
            "last": self._last,
            "minutes": self._minutes,
            "spread": self._spread.save(),
            "excess": self._excess.save(),
            "shape": self._shape.save(),
            "range": None if self._range is None else list(self._range),
            "r2": self._r2,
            "days": self._profile.save(),
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        """Continue from what `save` returned.

        Raises
        ------
        ValueError
            If another layout or a model of another kind saved it.
        """
        expected = [LAYOUT, self._model.kind, self._model.intercept]
        if saved["made"] != expected:
            raise ValueError(
                f"model state: made as (layout, kind, intercept) {saved['made']}, not {expected}; "
                "start from a state of these settings, or from none"
            )
        self._spread.load(saved["spread"])
        self._excess.load(saved["excess"])
        self._shape.load(saved["shape"])
        self._q_ref, self._last, self._minutes = saved["q_ref"], saved["last"], saved["minutes"]
        self._range = None if saved["range"] is None else (saved["range"][0], saved["range"][1])
        self._r2 = saved["r2"]
        self._profile.load(saved["days"])

r"""The live impact model of one symbol and side.

Each closed minute
------------------
1. Its half-spread and the excess of its walks over it are measured at each size
   of the grid (`impactd.core.model.measure`).
2. Their logs, less the session profile, go into two `LevelSeries`: one level of
   the spread, one of the excess for each size.
3. The kind's constrained least squares gives the shape of the excess over
   sizes (`impactd.core.model.shape`), and how well the kind explains the minute.

Forecasts
---------
A plan that asks r shares of an interval has its curve drawn through the half-spread and
through the excess at `REACH` times r, a size that it may well ask of a cheap interval: with the levels
:math:`\hat s_h` and :math:`\hat E_h` that the series expect (`impactd.core.model.series.series`),

.. math:: g_h(q) = \hat s_h + \max(\hat E_h - 0.1 \hat s_h, f \hat s_h) \, \frac{h(q)}{h(5 r)}

where h is the shape of the kind, and f is `LEAST_EXCESS`.  Both levels are means, not medians.

The grid may change with depth or with what plans ask.  Levels are then read off at the new sizes, and evidence for
sizes far beyond the old ones is dropped: a thin first minute leaves nothing behind.

A minute's weight is the share of the interval with a prevailing book.  A minute without usable cells changes nothing.
Minutes outside of the session are left out, since pre-market books say little about the day's.  The mean ages in
minutes of open market, so that it lasts over a night; short means age in clock time, so that they do not.

`record` publishes the coefficients of the interval that begins at `as_of`, for a plan of the size that the symbol's
grid is made for; their standard errors are the nowcast's (delta method).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from impactd.core.base.elementary import logs
from impactd.core.base.session import Session
from impactd.core.base.settings import MINUTE_NS, ModelSettings
from impactd.core.base.topics import Side
from impactd.core.books.grid import PLAN_REACH
from impactd.core.model.curves import BookCurve, Curves, Float, Int, MinuteBooks
from impactd.core.model.kinds.registry import impact_model
from impactd.core.model.measure import OFFSET, Levels, of_book, of_minute
from impactd.core.model.profile.days import DayShape, ShapedProfile
from impactd.core.model.profile.profile import Profile
from impactd.core.model.series.readout import levels_ahead, levels_at, variance_at
from impactd.core.model.series.series import (
    EXCESS_WEIGHTS,
    SPREAD_WEIGHTS,
    LevelSeries,
    Outlook,
    level_at,
    rebased,
)
from impactd.core.model.shape import ShapeState, nearest_to_linear
from impactd.core.outputs.messages import ForecastRecord, Model
from impactd.core.state.schema import RESTART, StateMismatchError

UNIT: Final = "price_per_share"
LAYOUT: Final = 2

#: A curve meets the books at this many times the quantity that a plan asks of an interval.  On recorded days 4 and 5
#: captured the same, smaller and larger ones less; days with a strong profile, where plans concentrate most, prefer 5.
REACH: Final = 5.0

#: Intervals ahead whose coefficients are published with a model, as far as the session has them.
AHEAD: Final = (5, 15, 30, 60, 120, 180, 240, 360)

#: Until this many minutes were seen, a forecast is marked as a prior.
PRIOR_MINUTES: Final = 3

#: At the reference size the excess of a curve is no smaller than this part of the half-spread, where its books show
#: none; at smaller sizes in proportion.
LEAST_EXCESS: Final = 0.1


class SideModel:
    """Model state of one (symbol, side); a `impactd.core.model.curves.Forecaster`.

    Parameters
    ----------
    profile : Profile
        Shape of the day; a prior or learned.
    min_coverage : float
        Share of covered time from which a cell counts as measured.
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
        if not settings.mean_half_life_minutes > 0:
            raise ValueError("model.mean_half_life_minutes: must be positive")
        self.symbol = symbol
        self.side = side
        self._profile = ShapedProfile(profile, session, interval_ns, learn=settings.learn_profile)
        self._model = impact_model(settings)
        self._session = session
        self._interval_ns = interval_ns
        self._min_coverage = min_coverage
        self._row = 0 if side is Side.BUY else 1
        self._mean_half_life = settings.mean_half_life_minutes
        self._spread = LevelSeries(SPREAD_WEIGHTS, interval_ns)
        self._excess = LevelSeries(EXCESS_WEIGHTS, interval_ns)
        self._shape = ShapeState(self._model.candidates)
        self._minutes = 0
        self._last: int | None = None
        #: Sizes of the excess series, shares, and the number and value of the reference size among them.
        self._sizes = np.zeros(0)
        self._reference = (0, math.nan)
        #: What changes of sizes have added to the log excess at the reference size, so that days can be compared.
        self._datum = 0.0
        self._range: tuple[float, float] | None = None
        self._r2: float | None = None
        self._fitted: tuple[float, float] | None = None
        self._levels: tuple[float, float] | None = None
        self._book: tuple[BookCurve, Levels] | None = None

    # Adding a minute.

    def update(self, minute_ns: int, books: MinuteBooks) -> bool:
        """Add the minute that began at `minute_ns`.

        Returns
        -------
        bool
            Whether the model was refitted: False for a minute without usable
            cells, or outside of the session.

        Raises
        ------
        ValueError
            If the minute is not later than the last one added.
        """
        if self._last is not None and minute_ns <= self._last:
            raise ValueError(f"minute {minute_ns}: not later than {self._last}; each is added once, in order")
        self._fitted = self._levels = None
        seen = of_minute(books, self._row, self._min_coverage, intercept=self._model.intercept)
        if seen is None or not self._session.is_open(minute_ns):
            return False
        self._rebase(seen.sizes)
        ref, q_ref = self._reference
        for series, by in zip((self._spread, self._excess), self._profile.reach(minute_ns, self._last), strict=True):
            series.shift(by)

        weight = min(books.covered_ns / self._interval_ns, 1.0)
        missed, open_minutes = 0.0, 0.0
        if self._last is not None:
            missed = max(minute_ns - self._last - self._interval_ns, 0) / MINUTE_NS
            open_minutes = self._session.open_minutes_between(self._last, minute_ns)
        forget = math.pow(2.0, -open_minutes / self._mean_half_life)
        spread_at, excess_at = self._profile.at(minute_ns + self._interval_ns // 2)
        ageing = (weight, forget, missed, open_minutes)
        self._spread.update(np.array([seen.half_spread]), spread_at, 0, *ageing)
        self._excess.update(seen.excess, excess_at, ref, *ageing)
        self._fit(books, seen, q_ref, weight, forget)
        log_spread, log_excess = math.log(seen.half_spread), math.log(float(seen.excess[ref])) - self._datum
        moved = self._profile.learn(minute_ns, log_spread, log_excess, weight)
        for series, by in zip((self._spread, self._excess), moved, strict=True):
            series.shift(by)
        self._levels = log_spread, log_excess
        self._fitted = seen.half_spread, max(seen.at(q_ref) - OFFSET * seen.half_spread, 0.0) / q_ref
        self._minutes += 1
        self._last = minute_ns
        return True

    def _rebase(self, sizes: Float) -> None:
        """Go on with the levels at other sizes, where the grid has changed."""
        if np.array_equal(sizes, self._sizes):
            return
        known, (_, old) = len(self._sizes) > 0, self._reference
        if known:
            self._excess.levels = rebased(self._sizes, self._excess.levels, sizes)
        self._sizes, self._reference = sizes.copy(), reference_of(sizes)
        if known:
            q_ref = self._reference[1]
            grown = level_at(self._sizes, self._excess.levels, q_ref)[0]
            self._datum += grown - level_at(self._sizes, self._excess.levels, old)[0]
            self._shape.rescale(self._model, q_ref / old)

    def _fit(self, books: MinuteBooks, seen: Levels, q_ref: float, weight: float, forget: float) -> None:
        """Fit the kind to the minute's own cells, for its shape."""
        sizes, g, coverage = seen.sizes, books.slippage[self._row], books.coverage[self._row]
        self._r2 = None
        self._range = (float(sizes[0]), float(sizes[max(seen.held, 1) - 1]))
        if seen.held < len(sizes):  # seldom: most minutes hold every size
            held = (coverage >= self._min_coverage) & np.isfinite(g)
            sizes, g, coverage = sizes[held], g[held], coverage[held]
        if len(sizes) < self._model.n_terms:
            return
        fits = self._model.fit(sizes, g, coverage, q_ref)
        self._shape.update(fits, weight, forget)
        self._r2 = fits[self._shape.leader()].r2

    def see(self, book: BookCurve) -> None:
        """Note the book that prevails at the end of the minute just added, to learn what books are worth."""
        if self._last is None or not len(book.sizes):
            return
        ref, q_ref = self._reference
        seen = self._seen(book)
        spread_at, excess_at = self._profile.at(self._last + self._interval_ns + self._interval_ns // 2)
        self._spread.see(seen.half_spread, spread_at, 0)
        self._excess.see(seen.at(q_ref), excess_at, ref)

    def _seen(self, book: BookCurve) -> Levels:
        """Return the levels of a book; those of the last one are kept, as the plans of a minute follow its close."""
        if self._book is None or self._book[0] is not book:
            self._book = book, of_book(book, intercept=self._model.intercept)
        return self._book[1]

    # Looking ahead.

    @property
    def prior(self) -> bool:
        """Whether a forecast rests on a prior: few minutes seen, or the day's shape not learned from this symbol."""
        return self._minutes < PRIOR_MINUTES or self._profile.is_prior

    @property
    def minutes(self) -> float:
        """Minutes of evidence behind the level."""
        return self._spread.information(0) if self._last is not None else 0.0

    def seen_today(self, at: int) -> float:
        """Return the minutes of the session of `at` (ns) from its open to the last minute added; 0 before any."""
        if self._last is None:
            return 0.0
        if self._session.always_open:
            return self.minutes
        end = self._last + self._interval_ns
        opened = at - self._session.since_open_ns(at)
        return self._session.elapsed_minutes(end) if end > opened else 0.0

    @property
    def fitted_to(self) -> float | None:
        """Largest size that the latest minute has measured, shares; a plan that asks for more extrapolates."""
        return None if self._range is None else self._range[1]

    @property
    def fitted(self) -> tuple[float, float] | None:
        """Half-spread and slope of the last minute, price and price per share; None where it had none.

        Known only until the next `update`: it is no part of the state.
        """
        return self._fitted

    @property
    def levels(self) -> tuple[float, float] | None:
        """Log half-spread and log excess at the reference size of the last minute; None where it had none.

        Changes of the reference size are taken out.  Known only until the next `update`.
        """
        return self._levels

    def logs(self, curves: Curves) -> Float:
        """Return log half-spread and log excess of curves at the reference size as `levels` has them, shape (N, 2)."""
        s = curves.half_spread
        excess = curves.impact(np.full(len(s), curves.size)) - s + OFFSET * s
        return np.stack([logs(s), logs(excess) - self._datum], axis=1)

    @property
    def changes(self) -> int:
        """How many changes of regime its series have had."""
        return self._spread.changes + self._excess.changes

    def forecast(self, starts_ns: Int, rate: float = 0.0, book: BookCurve | None = None) -> Curves:
        """Return the curves of the intervals that begin at `starts_ns`.

        Parameters
        ----------
        starts_ns : ndarray of int64, shape (N,)
            UTC ns.
        rate : float
            Shares that a plan asks of an interval; 0 for what the symbol's grid is made for.
        book : BookCurve, optional
            The prevailing book: it sets the level while no minute has closed, and
            moves the nearest interval since.  One from outside of the session is left out.
            Without it, before the first minute, the curves are of unit scale (`Curves.scaled` is False)
            and have the prior's shape.
        """
        if book is not None and not self._session.is_open(book.ts_event):
            book = None  # as a minute outside of the session it says little about those inside
        if self._last is None:
            return self._cold(starts_ns, rate, book)
        _, q_ref = self._reference
        size = REACH * rate if rate > 0.0 else q_ref
        from_ns = self._last + self._interval_ns
        level = 0.0, 0.0
        if book is not None and len(book.sizes):
            seen = self._seen(book)
            level = seen.half_spread, seen.at(size)
            from_ns = max(from_ns, book.ts_event // self._interval_ns * self._interval_ns)
        half_ns, profile, spread, excess = self._interval_ns // 2, self._profile, self._spread, self._excess
        s, over = np.empty(len(starts_ns)), np.empty(len(starts_ns))
        anticipated = levels_ahead(
            starts_ns,
            self._session.positions(starts_ns, half_ns),
            from_ns,
            self._session.position(from_ns + half_ns),
            (from_ns - self._last - self._interval_ns) / MINUTE_NS,
            profile.knots,
            profile.values,
            spread.levels,
            spread.shared,
            spread.weights,
            excess.levels,
            excess.shared,
            excess.weights,
            self._sizes,
            size,
            level,
            OFFSET,
            LEAST_EXCESS * min(size / q_ref, 1.0),
            s,
            over,
        )
        variance = variance_at(starts_ns, from_ns, anticipated) if self._model.intercept else None
        return self._curves(s, over, self._shape.shapes[self._shape.leader()], q_ref, size, variance)

    def _cold(self, starts_ns: Int, rate: float, book: BookCurve | None) -> Curves:
        """Return the prior's curves, at the level of the prevailing book where there is one."""
        shapes = self._shape.shapes
        if book is None or len(book.sizes) == 0:
            half_spread, excess = self._read(starts_ns, Outlook(0.0), Outlook(0.0), 0, 1.0)
            shape = shapes[nearest_to_linear([0.0] * len(shapes), shapes)]
            return self._curves(half_spread, excess, shape, 1.0, 1.0, None, scaled=False)
        seen = self._seen(book)
        _, q_ref = reference_of(book.sizes)
        size = REACH * rate if rate > 0.0 else q_ref
        held = np.isfinite(book.g)
        shape = shapes[nearest_to_linear([0.0] * len(shapes), shapes)]
        if int(held.sum()) >= self._model.n_terms:
            fits = self._model.fit(book.sizes[held], book.g[held], np.ones(int(held.sum())), q_ref)
            shape = fits[nearest_to_linear([fit.loss for fit in fits], [fit.shape for fit in fits])].shape
        spread_at, excess_at = self._profile.at(book.ts_event)
        half_spread, excess = self._read(
            starts_ns,
            Outlook(math.log(seen.half_spread) - spread_at),
            Outlook(math.log(seen.at(size)) - excess_at),
            0,
            min(size / q_ref, 1.0),
        )
        return self._curves(half_spread, excess, shape, q_ref, size, None)

    def _read(self, starts_ns: Int, spread: Outlook, excess: Outlook, from_ns: int, part: float) -> tuple[Float, Float]:
        """Return half-spread and excess, its offset taken off, by interval; at `part` of the reference size."""
        positions = self._session.positions(starts_ns, self._interval_ns // 2)
        knots, values = self._profile.knots, self._profile.values
        s, over = np.empty(len(starts_ns)), np.empty(len(starts_ns))
        means = spread[:], excess[:]  # plain ones reach a kernel sooner
        levels_at(starts_ns, positions, from_ns, knots, values, *means, OFFSET, LEAST_EXCESS * part, s, over)
        return s, over

    def _curves(
        self,
        half_spread: Float,
        excess: Float,
        shape: float,
        q_ref: float,
        size: float,
        variance: Float | None,
        *,
        scaled: bool = True,
    ) -> Curves:
        """Return the curves of the kind through `half_spread`, and `excess` above it at `size`."""
        at_size = float(self._model.excess_shape(np.array([size / q_ref]), shape)[0])
        terms = self._model.coefficients(excess / at_size, shape, q_ref)
        as_of = None if self._last is None else self._last + self._interval_ns
        return Curves(
            half_spread if self._model.intercept else np.zeros(len(half_spread)),
            terms.beta,
            terms.alpha,
            terms.eta,
            1.0 if terms.delta is None else terms.delta,
            self.prior,
            scaled,
            as_of,
            size,
            variance,
        )

    def record(self, as_of: int) -> Model | None:
        """Return the summary to publish: the coefficients of the interval that begins at `as_of`.

        None before any minute was added: there is nothing to publish then.
        """
        if self._last is None:
            return None
        steps = self._session.steps_open(as_of, AHEAD, self._interval_ns)
        curves = self.forecast(np.array([as_of, *(as_of + k * self._interval_ns for k in steps)], dtype=np.int64))
        terms = (curves.beta, curves.alpha, curves.eta)
        beta, alpha, eta = (None if term is None else float(term[0]) for term in terms)
        half_spread, *later = curves.half_spread.tolist()
        terms_later = (None if term is None else tuple(term[1:].tolist()) for term in terms)
        ref, _ = self._reference
        since = self._session.open_minutes_between(self._last, max(as_of - self._interval_ns, self._last))
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
            se=self._standard_errors(half_spread, beta, alpha, eta),
            n_eff=self._excess.information(ref) * math.pow(2.0, -since / self._mean_half_life),
            r2=self._r2,
            prior=self.prior,
            regime=self.changes,
            fitted_range=self._range,
            forecast=ForecastRecord(steps, tuple(later), *terms_later),
        )

    def _standard_errors(
        self, half_spread: float, beta: float | None, alpha: float | None, eta: float | None
    ) -> dict[str, float]:
        """Return the standard error of each coefficient, by its name."""
        se = {"half_spread": half_spread * self._spread.sd_ahead} if self._model.intercept else {}
        sd = self._excess.sd_ahead
        _, q_ref = self._reference
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
            "sizes": self._sizes.tolist(),
            "datum": self._datum,
            "last": self._last,
            "minutes": self._minutes,
            "spread": self._spread.save(),
            "excess": self._excess.save(),
            "shape": self._shape.save(),
            "range": None if self._range is None else list(self._range),
            "r2": self._r2,
            "days": self._profile.save(),
        }

    @property
    def lasting(self) -> DayShape | None:
        """The part of its state that seldom changes and is saved by itself; None without one."""
        return self._profile.lasting

    def load(self, saved: Mapping[str, Any]) -> None:
        """Continue from what `save` returned, after what is lasting was loaded.

        Raises
        ------
        StateMismatchError
            If another layout or a model of another kind saved it.
        """
        expected = [LAYOUT, self._model.kind, self._model.intercept]
        if saved["made"] != expected:
            raise StateMismatchError(
                f"the state of {self.symbol}'s model was written as (layout, kind, intercept) {saved['made']}, and "
                f"this release reads {expected} here: run the release and settings that wrote it, or {RESTART}"
            )
        self._spread.load(saved["spread"])
        self._excess.load(saved["excess"])
        self._shape.load(saved["shape"])
        self._sizes = np.array(saved["sizes"], dtype=np.float64)
        if len(self._sizes):
            self._reference = reference_of(self._sizes)
        self._datum, self._last, self._minutes = saved["datum"], saved["last"], saved["minutes"]
        self._range = None if saved["range"] is None else (saved["range"][0], saved["range"][1])
        self._r2 = saved["r2"]
        self._profile.load(saved["days"])


def reference_of(sizes: Float) -> tuple[int, float]:
    """Return index and value of the reference size, what a plan may ask of a cheap interval.

    It is the size nearest to `REACH` times what plans ask, which is four times the first.
    """
    index = int(np.argmin(np.abs(sizes - REACH * PLAN_REACH * sizes[0])))
    return index, float(sizes[index])

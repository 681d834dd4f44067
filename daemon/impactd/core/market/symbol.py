"""What is known of one symbol: its models, volume and volatility.

The tape says what a closed minute showed; this module takes it in and answers
what a plan needs to know of the intervals ahead.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from impactd.core.allocator.curve import added_cost
from impactd.core.allocator.optionality import plain
from impactd.core.base.session import Session
from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import SIDES, Side
from impactd.core.books.minute import MinuteStats
from impactd.core.market.bands import CostBands, LogBands
from impactd.core.market.guard import Guard
from impactd.core.model.curves import BookCurve, Curves
from impactd.core.model.forecaster import SideModel
from impactd.core.model.learned.forecaster import LearnedSide, around
from impactd.core.model.profile.profile import Profile
from impactd.core.model.volatility import Volatility
from impactd.core.model.volume import VolumeForecast
from impactd.core.outputs.messages import Model

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SideView:
    """What a plan needs to know of a symbol's side.

    Attributes
    ----------
    kind : str
        Kind of the model.
    curves : callable
        Starts of intervals (int64 ns, shape (N,)) and shares that a plan asks of an interval to the forecast
        `Curves`, as far as plans at that rate follow it.
    volume : callable
        Starts of intervals to the forecast continuous volume of whole
        intervals, shares, shape (N,); or None while no trade has been seen.
    sigma2 : float
        Variance of the mid's change over one interval, currency^2 / share^2.
    fitted_to : float or None
        Largest size in an interval that the model has been fitted to, shares.
    mid : float or None
        Mid at the end of the last minute that had one, or else of the
        standing book.
    depth : float or None
        Shares that the standing book shows on this side; None where none stands.
    bands : callable
        Number of intervals of a plan to the bands of its cost.
    """

    kind: str
    curves: Callable[[Int, float], Curves]
    volume: Callable[[Int], Float | None]
    sigma2: float
    fitted_to: float | None
    mid: float | None
    depth: float | None
    bands: Callable[[int], LogBands]


class SymbolMarket:
    """Models of both sides, volume and volatility of one symbol.

    Parameters
    ----------
    profile : Profile
        Of spread, excess and volume over the session.
    standing : callable
        Side and event time to the curve of the book that stands then, or None.
    """

    def __init__(
        self,
        symbol: str,
        settings: CoreSettings,
        session: Session,
        profile: Profile,
        standing: Callable[[Side, int], BookCurve | None],
    ) -> None:
        self.symbol = symbol
        self._mid: float | None = None
        self._kind = settings.model.kind
        self._standing = standing
        interval = settings.books.interval_ns
        self._sides: dict[Side, SideModel | LearnedSide] = {
            side: around(
                SideModel(
                    symbol,
                    side,
                    settings.model,
                    session,
                    profile,
                    interval_ns=interval,
                    min_coverage=settings.books.min_coverage,
                ),
                row,
                settings,
                session,
            )
            for row, side in enumerate(SIDES)
        }
        self._bands = {
            side: CostBands(row, session, interval, settings.plans.band_level, settings.plans.child_slices)
            for row, side in enumerate(SIDES)
        }
        self._guards = {
            side: Guard(row, session, interval, settings.plans.child_slices) for row, side in enumerate(SIDES)
        }
        self._guarded = settings.model.guard
        self._scored: Counter[str] = Counter()
        #: Whether models are published and bands go on learning: no quantity of a plan depends on either, so that a
        #: study of what is traded may do without both.
        self.publishes = True
        #: Sides whose regime the minute closed last has changed.
        self.shifted: set[Side] = set()
        #: What expected costs of each side are multiplied by, for a persistent bias of fills.
        self.bias: dict[Side, float] = dict.fromkeys(SIDES, 1.0)
        self._volume = VolumeForecast(settings.model, session, profile, interval)
        self._volatility = Volatility(settings.model, interval)

    def close(self, stats: MinuteStats, interval_ns: int) -> list[Model]:
        """Take in a closed minute and return the models that it has refitted."""
        if stats.mid_close is not None:
            self._mid = stats.mid_close
        self._volatility.update(stats.minute, stats.mid_close)
        self._volume.update(stats.minute, stats.volume_continuous)
        models = []
        self.shifted = set()
        for side in SIDES:
            changes = self._sides[side].changes
            refitted = self._sides[side].update(stats.minute, stats)
            if self._sides[side].changes > changes:
                self.shifted.add(side)
            end = stats.minute + interval_ns
            book = self._standing(side, end) if refitted else None
            if book is not None:
                self._sides[side].see(book)
            self._judge(side, stats)
            if not self.publishes:
                continue
            record = self._sides[side].record(end) if refitted else None
            self._score(side, stats)
            if record is not None:
                models.append(self._published(record))
        return models

    def _published(self, record: Model) -> Model:
        """Return a side's record as plans use it: corrected for the bias of fills, with what its bands have held."""
        ratio, guard = self.bias[record.side], self._guards[record.side]
        record = dataclasses.replace(
            record,
            bands=self._bands[record.side].record(),
            followed=guard.follow(0.0) if self._guarded else 1.0,
            capture=guard.capture,
        )
        if ratio == 1.0:
            return record
        beta, alpha, eta = (None if term is None else term * ratio for term in (record.beta, record.alpha, record.eta))
        return dataclasses.replace(
            record,
            half_spread=record.half_spread * ratio,
            beta=beta,
            alpha=alpha,
            eta=eta,
            se={name: error * ratio for name, error in record.se.items()},
            bias=ratio,
            forecast=None if record.forecast is None else record.forecast.corrected(ratio),
        )

    def _score(self, side: Side, stats: MinuteStats) -> None:
        """Have the side's bands learn from the minute, and count what they held."""
        bands = self._bands[side]
        for n, held in bands.update(stats, lambda starts, rate: self._curves(side, starts, rate)):
            self._scored[f"shadows.{n}"] += 1
            for level, holds in zip(bands.levels, held, strict=True):
                self._scored[f"shadows.{n}.{level:g}"] += holds

    def _judge(self, side: Side, stats: MinuteStats) -> None:
        """Update the side's guard with the minute, and count the results of its trials, bps of TWAP's cost."""
        model = self._sides[side]
        for result in self._guards[side].update(stats, model.fitted, model.forecast):
            self._scored["trials.ended"] += 1
            self._scored["trials.saved" if result.saved >= 0.0 else "trials.lost"] += round(abs(result.saved) * 1e4)
            self._scored["trials.possible"] += round(result.possible * 1e4)

    def _curves(self, side: Side, starts: Int, rate: float, book: BookCurve | None = None) -> Curves:
        """Return the forecast of `side`, as far as its guard has plans at `rate` (shares an interval) follow it."""
        part = self._guards[side].follow(rate) if self._guarded else 1.0
        return self._sides[side].forecast(starts, book).drawn(part)

    def forecast(self, side: Side, at: int, starts: Int) -> Curves:
        """Return what the model of `side` expects at event time `at` (ns), before its guard and the bias of fills."""
        return self._sides[side].forecast(starts, self._standing(side, at))

    def forecaster(self, side: Side) -> SideModel | LearnedSide:
        """Return the live model of a side, for a study to read."""
        return self._sides[side]

    def scores(self) -> Counter[str]:
        """Return, since the last call, how many shadow plans ended by intervals, and how many each band held.

        Named ``shadows.60`` and, by nominal coverage, ``shadows.60.0.8``.
        """
        scored, self._scored = self._scored, Counter()
        return scored

    def quote(self, at: int) -> tuple[float, float] | None:
        """Return mid and half-spread of the book that stands at event time `at` (ns); None where none does."""
        book = self._standing(Side.BUY, at)
        return None if book is None else (book.mid, book.half_spread)

    def mid_at(self, at: int) -> float | None:
        """Return the mid at event time `at` (ns), or else the last that a closed minute had."""
        quote = self.quote(at)
        return self._mid if quote is None else quote[0]

    def expected_cost(
        self, side: Side, at: int, interval: int, before: float, qty: float, child_slices: int
    ) -> float | None:
        """Return what `qty` shares are expected to cost over mid, after `before` in the same interval.

        Parameters
        ----------
        at : int
            Event time, ns: the book that stands then prices them where no minute has closed.
        interval : int
            Start of the interval, ns.
        before, qty : float
            Shares.

        Returns
        -------
        float or None
            Currency; None where no book was ever seen.
        """
        curves = self.view(side, at).curves(np.array([interval], dtype=np.int64), 0.0)
        p = plain(curves, child_slices=child_slices)
        if not curves.scaled:
            return None
        return float(added_cost(before, qty, p.curve.s[0], p.curve.b[0], p.curve.a[0], p.curve.e[0], p.curve.delta))

    def view(self, side: Side, at: int) -> SideView:
        """Return what a plan needs to know of `side` at event time `at` (ns)."""
        book = self._standing(side, at)
        return SideView(
            kind=self._kind,
            curves=lambda starts, rate: self._curves(side, starts, rate, book).corrected(self.bias[side]),
            volume=self._volume.forecast,
            sigma2=self._volatility.sigma2,
            fitted_to=self._sides[side].fitted_to,
            mid=book.mid if self._mid is None and book is not None else self._mid,
            depth=None if book is None else book.depth,
            bands=self._bands[side].of,
        )

    def save(self) -> dict[str, Any]:
        """Return the state as JSON-ready values."""
        return {
            "mid": self._mid,
            "volume": self._volume.save(),
            "volatility": self._volatility.save(),
            "sides": {str(side): self._sides[side].save() for side in SIDES},
            "bands": {str(side): self._bands[side].save() for side in SIDES},
            "bias": [self.bias[side] for side in SIDES],
            "guards": {str(side): self._guards[side].save() for side in SIDES},
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        """Continue from what `save` returned."""
        self._mid = saved["mid"]
        self._volume.load(saved["volume"])
        self._volatility.load(saved["volatility"])
        for side in SIDES:
            self._sides[side].load(saved["sides"][str(side)])
            self._bands[side].load(saved["bands"][str(side)])
            self._guards[side].load(saved["guards"][str(side)])
        self.bias = dict(zip(SIDES, saved["bias"], strict=True))

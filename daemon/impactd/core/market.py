"""What is known of one symbol: its models, volume and volatility.

The tape says what a closed minute showed; this module takes it in and answers
what a plan needs to know of the intervals ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from impactd.core.events import SIDES, Side
from impactd.core.forecast import BookCurve, Curves, Forecaster
from impactd.core.messages import Model
from impactd.core.minute import MinuteStats
from impactd.core.model.side import SideModel
from impactd.core.profile import Profile
from impactd.core.session import Session
from impactd.core.settings import CoreSettings
from impactd.core.volatility import Volatility
from impactd.core.volume import VolumeForecast

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
        Starts of intervals (int64 ns, shape (N,)) to the forecast `Curves`.
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
    log_variance : callable
        Number of intervals and share of the cost that is spread, to the
        variance of log(realised / expected cost).
    """

    kind: str
    curves: Callable[[Int], Curves]
    volume: Callable[[Int], Float | None]
    sigma2: float
    fitted_to: float | None
    mid: float | None
    depth: float | None
    log_variance: Callable[[int, float], float]


class SymbolMarket:
    """Models of both sides, volume and volatility of one symbol.

    Parameters
    ----------
    symbol : str
    settings : CoreSettings
    session : Session
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
        self._sides: dict[Side, SideModel] = {
            side: SideModel(
                symbol,
                side,
                settings.model,
                session,
                profile,
                interval_ns=interval,
                min_coverage=settings.books.min_coverage,
            )
            for side in SIDES
        }
        self._volume = VolumeForecast(settings.model, session, profile, interval)
        self._volatility = Volatility(settings.model, interval)

    def close(self, stats: MinuteStats, interval_ns: int) -> list[Model]:
        """Take in a closed minute and return the models that it has refitted."""
        if stats.mid_close is not None:
            self._mid = stats.mid_close
        self._volatility.update(stats.minute, stats.mid_close)
        self._volume.update(stats.minute, stats.volume_continuous)
        models = []
        for side in SIDES:
            refitted = self._sides[side].update(stats.minute, stats)
            end = stats.minute + interval_ns
            book = self._standing(side, end) if refitted else None
            if book is not None:
                self._sides[side].see(book)
            record = self._sides[side].record(end) if refitted else None
            if record is not None:
                models.append(record)
        return models

    def view(self, side: Side, at: int) -> SideView:
        """Return what a plan needs to know of `side` at event time `at` (ns)."""
        model: Forecaster = self._sides[side]
        book = self._standing(side, at)
        return SideView(
            kind=self._kind,
            curves=lambda starts: model.forecast(starts, book),
            volume=self._volume.forecast,
            sigma2=self._volatility.sigma2,
            fitted_to=self._sides[side].fitted_to,
            mid=book.mid if self._mid is None and book is not None else self._mid,
            depth=None if book is None else book.depth,
            log_variance=model.log_variance,
        )

    def save(self) -> dict[str, Any]:
        """Return the state as JSON-ready values."""
        return {
            "mid": self._mid,
            "volume": self._volume.save(),
            "volatility": self._volatility.save(),
            "sides": {str(side): self._sides[side].save() for side in SIDES},
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        """Continue from what `save` returned."""
        self._mid = saved["mid"]
        self._volume.load(saved["volume"])
        self._volatility.load(saved["volatility"])
        for side in SIDES:
            self._sides[side].load(saved["sides"][str(side)])

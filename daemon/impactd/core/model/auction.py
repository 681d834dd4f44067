r"""Volume of the opening and closing auctions, for entries in them.

.. math:: \hat A = \frac{\sum_d \lambda^{n-d} A_d}{\sum_d \lambda^{n-d}}

over the sessions that the symbol has been seen in, with a half-life of `HALF_LIFE_DAYS`; a session without an auction
print counts as the zero that it is.  A print counts for the open in the first half of a session and for the close after
it.  A feed that has never flagged an auction print says nothing: then the settings' shares of the expected continuous
volume of the session are used, and without these the volume is unknown.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from impactd.core.base.session import Session
from impactd.core.base.settings import PlanSettings
from impactd.core.model.volume import VolumeForecast

HALF_LIFE_DAYS: Final = 5.0
_FORGET: Final = 0.5 ** (1.0 / HALF_LIFE_DAYS)

KINDS: Final = ("open", "close")


class AuctionForecast:
    """Discounted mean volume of one symbol's auctions, shares."""

    def __init__(self, settings: PlanSettings, session: Session, volume: VolumeForecast, interval_ns: int) -> None:
        self._shares = dict(zip(KINDS, (settings.auction_open_share, settings.auction_close_share), strict=True))
        self._session, self._volume, self._interval = session, volume, interval_ns
        self._sums = [0.0, 0.0]
        self._days = 0.0
        self._today = [0.0, 0.0]
        self._day: int | None = None
        self._seen = False

    def update(self, minute_ns: int, volume: float | None) -> None:
        """Take in the auction volume of a closed minute, shares; None before the symbol's first trade."""
        if volume is None or self._session.always_open:
            return
        day = self._session.day_of(minute_ns)
        if day != self._day:
            self._close_day()
            self._day = day
        if volume > 0.0:
            self._seen = True
            (position,) = self._session.positions(np.array([minute_ns], np.int64)).tolist()
            self._today[int(position >= 0.5)] += volume

    def _close_day(self) -> None:
        if self._day is None:
            return
        self._days = _FORGET * self._days + 1.0
        self._sums = [_FORGET * total + today for total, today in zip(self._sums, self._today, strict=True)]
        self._today = [0.0, 0.0]

    def between(self, begin: int, end: int) -> list[tuple[str, int, float | None]]:
        """Return kind, time (ns) and expected volume (shares; None if unknown) of the auctions in [begin, end]."""
        session, found = self._session, list[tuple[str, int, float | None]]()
        if session.always_open:
            return found
        for day in range(session.day_of(begin) - 1, session.day_of(end) + 2):
            segments = session.segments_on(day)
            if segments and begin <= segments[-1][1] and segments[0][0] <= end:
                times = (segments[0][0], segments[-1][1])
                found += [
                    (kind, at, self._expected(kind, times))
                    for kind, at in zip(KINDS, times, strict=True)
                    if begin <= at <= end
                ]
        return found

    def _expected(self, kind: str, session: tuple[int, int]) -> float | None:
        if self._seen and self._days > 0.0:
            return self._sums[KINDS.index(kind)] / self._days
        share = self._shares[kind]
        if share is None:
            return None
        first = session[0] // self._interval * self._interval
        starts = np.arange(first, session[1], self._interval, dtype=np.int64)
        volume = self._volume.forecast(starts[self._session.open_at(starts, self._interval)])
        return None if volume is None else share * float(np.sum(volume))

    def save(self) -> list[Any]:
        """Return the state as JSON-ready values; `load` continues from it bit for bit."""
        return [self._sums, self._days, self._today, self._day, self._seen]

    def load(self, saved: list[Any]) -> None:
        """Continue from what `save` returned."""
        self._sums, self._days, self._today, self._day, self._seen = saved

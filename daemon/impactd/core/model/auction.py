r"""Volume of the opening and closing auctions, for entries in them.

.. math:: \hat A = \frac{\sum_d \lambda^{n-d} A_d}{\sum_d \lambda^{n-d}}

over the sessions that the symbol has been seen in, with a half-life of `HALF_LIFE_DAYS`; a session without an auction
print counts as the zero that it is.  A print counts for the open in the first half of a session and for the close after
it.  A feed that has never flagged an auction print says nothing: then the settings' shares of the expected continuous
volume of the session are used, and without these the volume is unknown.

Where the venue publishes what it has paired so far, P, orders are still to come.  A message in the last `LATE_NS`
before the cutoff of entries replaces the mean by

.. math:: \hat A = \max(P + \hat R, 0)

with R what past auctions traded beyond the last such message, in the same discounted mean.  An earlier message, and any
before the first R is known, only raises the expectation: to P, if it is more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from impactd.core.base.session import Session
from impactd.core.base.settings import SECOND_NS, PlanSettings
from impactd.core.inputs.events import AUCTION_KINDS
from impactd.core.model.volume import VolumeForecast

HALF_LIFE_DAYS: Final = 5.0
_FORGET: Final = math.pow(0.5, 1.0 / HALF_LIFE_DAYS)

#: Messages so long before the cutoff may lower the expectation: little is still to come.
LATE_NS: Final = 600 * SECOND_NS

_DAY_NS: Final = 86_400 * SECOND_NS


class AuctionForecast:
    """Discounted mean volume of one symbol's auctions, shares."""

    def __init__(self, settings: PlanSettings, session: Session, volume: VolumeForecast, interval_ns: int) -> None:
        self._shares = (settings.auction_open_share, settings.auction_close_share)
        self._cutoffs = (settings.auction_open_cutoff_ns, settings.auction_close_cutoff_ns)
        self._session, self._volume, self._interval = session, volume, interval_ns
        self._sums = [0.0, 0.0]
        self._days = 0.0
        self._today = [0.0, 0.0]
        self._day: int | None = None
        self._seen = False
        #: By auction: day, ts_event (ns), paired shares, and whether that was late; None before the first.
        self._paired: list[tuple[int, int, float, bool] | None] = [None, None]
        #: By auction: discounted sum of what was traded beyond the paired, and of the days.
        self._rest = [(0.0, 0.0), (0.0, 0.0)]

    @property
    def told(self) -> bool:
        """Whether the venue has ever published what it had paired."""
        return self._paired != [None, None]

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
            self._today[int(self._session.position(minute_ns) >= 0.5)] += volume

    def see(self, kind: str, ts_event: int, paired: float) -> bool:
        """Take in what the venue has paired, shares, at `ts_event`, ns; return whether it changes anything.

        What comes after the cutoff of entries, or is older than what is known, does not.
        """
        k = AUCTION_KINDS.index(kind)
        found = next((one for one in self._held(ts_event, ts_event + _DAY_NS) if one[0] == k), None)
        if found is None or ts_event >= found[2] - self._cutoffs[k]:
            return False
        _, day, at, _ = found
        was = self._paired[k]
        if was is not None and was[:2] >= (day, ts_event):
            return False
        self._paired[k] = (day, ts_event, paired, ts_event >= at - self._cutoffs[k] - LATE_NS)
        return True

    def _close_day(self) -> None:
        if self._day is None:
            return
        self._days = _FORGET * self._days + 1.0
        self._sums = [_FORGET * total + today for total, today in zip(self._sums, self._today, strict=True)]
        for k, told in enumerate(self._paired):
            if self._seen and told is not None and told[0] == self._day and told[3]:
                rest, days = self._rest[k]
                self._rest[k] = (_FORGET * rest + self._today[k] - told[2], _FORGET * days + 1.0)
        self._today = [0.0, 0.0]

    def between(self, begin: int, end: int) -> list[tuple[str, int, float | None]]:
        """Return kind, time (ns) and expected volume (shares; None if unknown) of the auctions in [begin, end]."""
        return [(AUCTION_KINDS[k], at, self._expected(k, day, of)) for k, day, at, of in self._held(begin, end)]

    def _held(self, begin: int, end: int) -> Iterator[tuple[int, int, int, tuple[int, int]]]:
        """Yield kind, day, time (ns) and session [open, close) of the auctions in [begin, end], in order of time."""
        session = self._session
        if session.always_open:
            return
        for day in range(session.day_of(begin) - 1, session.day_of(end) + 2):
            segments = session.segments_on(day)
            if segments:
                times = (segments[0][0], segments[-1][1])
                yield from ((k, day, at, times) for k, at in enumerate(times) if begin <= at <= end)

    def _expected(self, k: int, day: int, session: tuple[int, int]) -> float | None:
        history, told = self._history(k, session), self._paired[k]
        if told is None or told[0] != day:
            return history
        rest, days = self._rest[k]
        return max(told[2] + rest / days, 0.0) if told[3] and days > 0.0 else max(told[2], history or 0.0)

    def _history(self, k: int, session: tuple[int, int]) -> float | None:
        if self._seen and self._days > 0.0:
            return self._sums[k] / self._days
        share = self._shares[k]
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

    def save_paired(self) -> list[Any]:
        """Return what is known of paired quantities as JSON-ready values."""
        return [self._paired, self._rest]

    def load_paired(self, saved: list[Any]) -> None:
        """Continue from what `save_paired` returned."""
        paired, rest = saved
        self._paired = [None if told is None else tuple(told) for told in paired]
        self._rest = [(total, days) for total, days in rest]

r"""Features of the network: the last hour of books, as means over windows of it.

Six series are kept, one value a minute, in logs but for the last:

==========  ======================================================================================
``spread``  half-spread s
``excess``  excess E at the symbol's reference size (`impactd.core.model.forecaster`)
``other``   the other side's excess at that size, over this side's
``deep``    this side's excess at the largest size that is walked, over that at the reference size
``depth``   visible depth of this side
``move``    absolute return of the mid, over its own slow mean
==========  ======================================================================================

The features are a series' mean over its last 1, 2, 4, 16 and 60 minutes less its slow mean, discounted over
`impactd.core.model.learned.features.SLOW_MINUTES` of open market: fixed causal filters, of which any response
to the last hour that is constant between these times is a linear combination [1]_.  Values are whole thousandths,
whose sums are exact in any order.

Unknown is NaN.

References
----------
.. [1] Corsi (2009), A simple approximate long-memory model of realized volatility, J. Financial Econometrics 7(2),
   has the same with windows of a day, a week and a month.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from impactd.core.base.session import Session
from impactd.core.model.curves import Float, Int, MinuteBooks
from impactd.core.model.forecaster import reference_of
from impactd.core.model.learned.features import Discounted, log_return, slow_forget
from impactd.core.model.measure import OFFSET, floored

_SERIES: Final = ("spread", "excess", "other", "deep", "depth", "move")

#: Intervals that means are taken over; the last is what is kept.
WINDOWS: Final = (1, 2, 4, 16, 60)
_KEPT: Final = WINDOWS[-1]

FEATURES: Final = (*(f"{name}_{window}" for window in WINDOWS for name in _SERIES), "ahead")

#: Version of the saved state; another one starts empty.
LAYOUT: Final = "windows/1"

#: What a value is a whole number of, the largest number, and what stands for no value.
_UNIT: Final = 1e-3
_LARGEST: Final = 32_000
_NONE: Final = -32_768


class WindowState:
    """What one symbol and side has shown in the last hour, as features of the intervals ahead.

    Parameters
    ----------
    row : int
        Of the side in a minute's arrays: 0 to buy, 1 to sell.
    """

    def __init__(self, row: int, session: Session, interval_ns: int) -> None:
        self._row = row
        self._session = session
        self._interval_ns = interval_ns
        self._mid: float | None = None
        #: Shape (_KEPT, n_series). The latest interval first.
        self._ring: npt.NDArray[np.int16] = np.full((_KEPT, len(_SERIES)), _NONE, np.int16)
        #: The last series has absolute returns as they are.
        self._slow = Discounted(len(_SERIES))
        #: Log half-spread and log excess of the latest minute; NaN before any.
        self.levels = math.nan, math.nan
        #: Start of the latest minute taken in, UTC ns.
        self.minute: int | None = None

    def update(self, minute_ns: int, levels: tuple[float, float], books: MinuteBooks) -> None:
        """Add the log half-spread and log excess of a closed minute, later than all before, and its books."""
        passed = _KEPT if self.minute is None else min((minute_ns - self.minute) // self._interval_ns, _KEPT)
        moved = abs(log_return(self._mid, books.mid)) if passed == 1 else math.nan
        values = [*levels, *self._relative(books), moved]
        usual = self._slow.means()[-1]
        kept = [*values[:-1], moved / usual if usual > 0.0 else math.nan]
        self._ring[passed:] = self._ring[: _KEPT - passed].copy()
        self._ring[:passed] = _NONE
        self._ring[0] = [
            _NONE if math.isnan(value) else round(max(min(value / _UNIT, _LARGEST), -_LARGEST)) for value in kept
        ]
        self._slow.add(values, slow_forget(self._session, self.minute, minute_ns))
        self._mid, self.minute, self.levels = books.mid, minute_ns, levels

    def _relative(self, books: MinuteBooks) -> tuple[float, float, float]:
        """Return the minute's values of ``other``, ``deep`` and ``depth``."""
        ref, _ = reference_of(books.sizes)
        own, other, deep = (
            _log_excess(books, float(books.lower_bound[row, at]))
            for row, at in ((self._row, ref), (1 - self._row, ref), (self._row, -1))
        )
        depth = float(books.depth[self._row])
        return other - own, deep - own, math.log(depth) if depth > 0.0 else math.nan

    def of(self, starts_ns: Int) -> Float:
        """Return the features of the intervals that begin at `starts_ns` (UTC ns), shape (N, len(FEATURES))."""
        out = np.empty((len(starts_ns), len(FEATURES)))
        known = self._ring != _NONE
        ends = np.array(WINDOWS) - 1
        totals = np.where(known, self._ring, 0).cumsum(axis=0, dtype=np.int64)[ends]
        counts = known.cumsum(axis=0, dtype=np.int64)[ends]
        slow = np.array([*self._slow.means()[:-1], 1.0])
        means = np.divide(totals, counts, out=np.full(totals.shape, np.nan), where=counts > 0)
        out[:, :-1] = (means * _UNIT - slow).reshape(-1)
        out[:, -1] = np.nan if self.minute is None else (starts_ns - self.minute) / self._interval_ns
        return out

    def save(self) -> list[Any]:
        """Return the state as JSON-ready values; `load` continues from it bit for bit."""
        ring = base64.b64encode(self._ring.astype("<i2").tobytes()).decode("ascii")
        return [LAYOUT, self.minute, self._mid, self.levels, ring, self._slow.sums]

    def load(self, saved: Sequence[Any] | None) -> None:
        """Continue from what `save` returned; from nothing, or another layout, start empty."""
        if saved is None or saved[0] != LAYOUT:
            return
        _, self.minute, self._mid, levels, ring, slow = saved
        self.levels = levels[0], levels[1]
        self._ring = np.frombuffer(base64.b64decode(ring), "<i2").astype(np.int16).reshape(self._ring.shape)
        self._slow.sums = [list(sums) for sums in slow]


def _log_excess(books: MinuteBooks, walked: float) -> float:
    """Return the log of what a walk costs over the half-spread, and a tenth of that (`impactd.core.model.measure`)."""
    if books.half_spread is None or books.mid is None or math.isnan(walked):
        return math.nan
    spread = floored(books.half_spread, books.mid)
    return math.log(max(walked - spread, 0.0) + OFFSET * spread)

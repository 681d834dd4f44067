r"""Bands of a whole plan's cost, calibrated on what such plans came to.

One-minute errors are not summed: they share the day's level, so a sum as if
independent would give an hour a band several times too narrow.  The error of a
whole plan is measured instead.  Live plans are few, so the engine keeps shadow
plans of its own (`impactd.core.market.shadow`): for each of `HORIZONS` one every few
intervals, of half, once and twice what plans ask of an interval (the symbol's grid
begins at a quarter of it), with

.. math:: e = \log \frac{\text{charged at the minutes' own walks}}{\text{expected at its start}} .

For each horizon, with weight w = spacing / n for a shadow of n intervals, since
overlapping ones say less than disjoint ones:

.. math::

   m   &= \frac{\sum w e}{n_0 + \sum w}                                           && \text{middle, discounted} \\
   r^2 &= \frac{n_0 \sigma_0^2 + \sum w (e - m)^2}{n_0 + \sum w}                  && \text{scale, discounted} \\
   \log c_\alpha &\leftarrow \log c_\alpha + \eta w (\mathbb 1[e \text{ outside}] - \alpha)  && \text{conformal} \\
   \text{band} &= \text{expected} \cdot e^{m \pm r c_\alpha t_\alpha}, \text{ widened to hold what is expected}

with t the quantile of Student's distribution of :math:`n_0 + \sum w` degrees of
freedom: a scale that is known from few shadows leaves more outside of its
normal quantiles than they say.  The third line is the online quantile tracker of adaptive conformal inference ([1]_,
eq. 2, on the quantile itself as in [2]_, section 2.2): whatever the errors are,
the share of shadows outside of their bands tends to :math:`\alpha`, since
:math:`\log c` would leave every bound otherwise.  The first two get there sooner.
Each shadow is judged by the band in force when it began.

Before any shadow has ended m is 0, r is `PRIOR_SD` and c is 1: a
quarter up or down is about what spread and depth depart from a forecast of the
hours ahead.  It is a prior, fixed before it met a day, and gives way after a few
disjoint shadows.

Limits: a shadow is not planned again on its way, as an order is, and knows no caps;
the first hours of a symbol have the prior's band, and one day has six disjoint
hours to learn from.

References
----------
.. [1] Gibbs and Candes (2021), Adaptive Conformal Inference Under Distribution Shift, NeurIPS 34.
.. [2] Angelopoulos, Candes and Tibshirani (2023), Conformal PID Control for Time Series Prediction, NeurIPS 36.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np

from impactd.core.base.session import Session
from impactd.core.books.grid import PLAN_REACH
from impactd.core.books.minute import MinuteStats
from impactd.core.market.shadow import Shadow
from impactd.core.model.curves import Curves, Int
from impactd.core.outputs.messages import BandRecord

#: Lengths of shadow plans, intervals; other lengths lie between them in log n.
HORIZONS: Final = (5, 15, 60, 240)
_KNOTS: Final = tuple(math.log(horizon) for horizon in HORIZONS)
#: Intervals from the start of one shadow to the next, by horizon.
SPACING: Final = (5, 5, 15, 60)
#: Sizes of shadows in turn, as multiples of what plans ask of an interval.
SIZES: Final = (1.0, 0.5, 2.0)
#: Standard deviation of log(realised / expected) before any shadow has ended, where the level is well known.
PRIOR_SD: Final = 0.25
#: What not knowing the level adds to that: divided by the root of one and the minutes behind it.  On recorded days
#: costs at a level from one book were wrong by 0.5 to 2.3, from ten minutes by 0.2 to 1.4.
COLD_SD: Final = 0.6
#: Minutes of evidence count in full for plans of up to so many intervals, and less in proportion for longer ones, which
#: reach further past what was seen.  FROG began its day at six times what the rest of it cost.
SEEN_REACH: Final = 30
#: What a night adds, whatever shadows found, since they begin later.  It fades as the minutes of the session go by.
#: With 0.1 the bands of A-share plans from the open on held 95% and 99% of days that they were fixed on.
NIGHT_SD: Final = 0.1
NIGHT_MINUTES: Final = 5.0
#: It counts as much as so many disjoint shadows.
PRIOR_COUNT: Final = 4.0
#: Memory of middle and scale, disjoint shadows: about a week of hours.
HALF_LIFE: Final = 30.0
#: Step of log c for a disjoint shadow: on days whose errors are small, half of it left bands too wide for a week.
STEP: Final = 1.0
#: An error counts in middle and scale as no further from the middle than so many scales.
HUBER: Final = 3.0
#: log c stays within this, so that no market can lead it out of the finite numbers.
LOG_LIMIT: Final = 3.0
#: Nominal coverage of the second band that a plan publishes, besides that of the setting.
WIDE_LEVEL: Final = 0.95


class Known(NamedTuple):
    """How well a level is known.

    Attributes
    ----------
    minutes : float
        Of evidence behind it.
    today : float
        Minutes of this session that it has seen.
    """

    minutes: float
    today: float

    def prior_sd(self, n: int) -> float:
        """Return the standard deviation of log(realised / expected) of `n` intervals before any shadow."""
        return PRIOR_SD + COLD_SD / math.sqrt(1.0 + self.minutes * min(SEEN_REACH / max(n, 1), 1.0))

    @property
    def night_sd(self) -> float:
        """What is added to that of shadows."""
        return NIGHT_SD / math.sqrt(1.0 + self.today / NIGHT_MINUTES)


class LogBands(NamedTuple):
    """Bands of log(realised / expected): a middle, and half-widths by level, ascending."""

    middle: float
    widths: tuple[float, ...]

    def holds(self, error: float) -> tuple[bool, ...]:
        """Return whether each band holds `error`; both always hold 0, which is what was expected."""
        return tuple(low <= error <= high for low, high in (self.log_band(i) for i in range(len(self.widths))))

    def log_band(self, i: int) -> tuple[float, float]:
        """Return the ends of band `i`, in logs."""
        return min(self.middle - self.widths[i], 0.0), max(self.middle + self.widths[i], 0.0)

    def cost(self, expected_cost: float, i: int) -> tuple[float, float]:
        """Return the ends of band `i` of a plan's cost, currency."""
        low, high = self.log_band(i)
        return expected_cost * math.exp(low), expected_cost * math.exp(high)


#: As which bands are published.
WELL_KNOWN: Final = Known(math.inf, math.inf)


class _Horizon:
    """What shadows of one length have shown."""

    __slots__ = ("covered", "info", "log_c", "squares", "total")

    def __init__(self, levels: tuple[float, ...]) -> None:
        self.info = 0.0
        self.total = 0.0
        self.squares = 0.0
        self.log_c = [0.0] * len(levels)
        self.covered = [0.0] * len(levels)

    def bands(self, levels: tuple[float, ...], known: Known, n: int) -> LogBands:
        """Return the bands of a plan of `n` intervals by what shadows of this length have shown."""
        middle, scale = self._moments(known.prior_sd(n))
        freedom = PRIOR_COUNT + self.info
        widths = (
            math.hypot(scale * math.exp(c), known.night_sd) * t_quantile(level, freedom)
            for c, level in zip(self.log_c, levels, strict=True)
        )
        return LogBands(middle, tuple(widths))

    def _moments(self, prior_sd: float) -> tuple[float, float]:
        middle = self.total / (PRIOR_COUNT + self.info)
        # sum w (e - m)^2, from the sums of w, w e and w e^2.
        about = self.squares - 2.0 * middle * self.total + middle * middle * self.info
        return middle, math.sqrt((PRIOR_COUNT * prior_sd**2 + max(about, 0.0)) / (PRIOR_COUNT + self.info))

    def score(self, error: float, weight: float, held: tuple[bool, ...], levels: tuple[float, ...]) -> None:
        middle, scale = self._moments(PRIOR_SD)
        bounded = min(max(error, middle - HUBER * scale), middle + HUBER * scale)
        forget = 2.0 ** (-weight / HALF_LIFE)
        self.info = forget * self.info + weight
        self.total = forget * self.total + weight * bounded
        self.squares = forget * self.squares + weight * bounded * bounded
        for i, (holds, level) in enumerate(zip(held, levels, strict=True)):
            moved = self.log_c[i] + STEP * weight * ((0.0 if holds else 1.0) - (1.0 - level))
            self.log_c[i] = min(max(moved, -LOG_LIMIT), LOG_LIMIT)
            self.covered[i] = forget * self.covered[i] + weight * holds


class CostBands:
    """Calibrated bands of plan cost for one (symbol, side).

    Parameters
    ----------
    row : int
        Of the side in a minute's arrays.
    session : Session
        A shadow begins and ends within one session.
    interval_ns : int
        Length of an interval.
    level : float
        Nominal coverage of the first band, in (0, 1); the second is `WIDE_LEVEL`.
    child_slices : int
        Slices an interval that plans are made with.
    """

    def __init__(self, row: int, session: Session, interval_ns: int, level: float, child_slices: int = 1) -> None:
        self.levels = (level, WIDE_LEVEL)
        self._row = row
        self._session = session
        self._interval_ns = interval_ns
        self._slices = child_slices
        self._horizons = [_Horizon(self.levels) for _ in HORIZONS]
        self._shadows: list[list[Shadow]] = [[] for _ in HORIZONS]

    def of(self, n: int, known: Known) -> LogBands:
        """Return the bands of a plan over `n` intervals."""
        at = math.log(min(max(n, HORIZONS[0]), HORIZONS[-1]))
        found = [horizon.bands(self.levels, known, n) for horizon in self._horizons]
        middle = float(np.interp(at, _KNOTS, [bands.middle for bands in found]))
        widths = zip(*(bands.widths for bands in found), strict=True)
        return LogBands(middle, tuple(float(np.interp(at, _KNOTS, width)) for width in widths))

    def update(
        self, stats: MinuteStats, forecast: Callable[[Int, float], Curves], known: Known
    ) -> list[tuple[int, tuple[bool, ...]]]:
        """Charge a closed minute to the shadows under way, judge those that it ends, and begin new ones.

        Parameters
        ----------
        stats : MinuteStats
            Later than all before, and known to the forecast.
        forecast : callable
            Starts of intervals (int64 ns) and shares an interval to the forecast `Curves`.
        known : Known
            How well the level is known at its end.

        Returns
        -------
        list of (int, tuple of bool)
            For each shadow that ended: its length in intervals, and whether each of its bands held.
        """
        end = stats.minute + self._interval_ns
        scored: list[tuple[int, tuple[bool, ...]]] = []
        for k, n in enumerate(HORIZONS):
            under_way = []
            for shadow in self._shadows[k]:
                charged = self._charged(shadow, stats)
                if end < charged.start + n * self._interval_ns:
                    under_way.append(charged)
                elif (error := charged.error()) is not None:
                    held = LogBands(charged.issued[0], charged.issued[1:]).holds(error)
                    self._horizons[k].score(error, SPACING[k] / n, held, self.levels)
                    scored.append((n, held))
            begun = self._begun(k, end, stats, forecast, known)
            self._shadows[k] = under_way if begun is None else [*under_way, begun]
        return scored

    def _charged(self, shadow: Shadow, stats: MinuteStats) -> Shadow:
        interval = (stats.minute - shadow.start) // self._interval_ns
        if not 0 <= interval < len(shadow.units) or 2 * stats.covered_ns < self._interval_ns or not len(stats.sizes):
            return shadow
        return shadow.charge(interval, stats.sizes, stats.lower_bound[self._row], self._slices)

    def _begun(
        self, k: int, start: int, stats: MinuteStats, forecast: Callable[[Int, float], Curves], known: Known
    ) -> Shadow | None:
        """Return the shadow of the `k`-th horizon that begins at `start`, if one is due."""
        n, session = HORIZONS[k], self._session
        turn, due = divmod(session.since_open_ns(start) // self._interval_ns, SPACING[k])
        if due or not (len(stats.sizes) and stats.covered_ns and session.holds(start, n, self._interval_ns)):
            return None
        qty = SIZES[turn % len(SIZES)] * PLAN_REACH * float(stats.sizes[0]) * n
        curves = forecast(start + np.arange(n, dtype=np.int64) * self._interval_ns, qty / n)
        bands = self._horizons[k].bands(self.levels, known, n)
        return Shadow.plan(start, qty, curves, (bands.middle, *bands.widths), self._slices)

    def record(self) -> tuple[BandRecord, ...]:
        """Return, by horizon, what the shadows have shown lately; empty before any has ended."""
        return tuple(
            BandRecord(
                intervals=n,
                n_eff=horizon.info,
                level=self.levels,
                log_middle=horizon.bands(self.levels, WELL_KNOWN, n).middle,
                log_width=horizon.bands(self.levels, WELL_KNOWN, n).widths,
                coverage=tuple(covered / horizon.info for covered in horizon.covered),
            )
            for n, horizon in zip(HORIZONS, self._horizons, strict=True)
            if horizon.info > 0.0
        )

    def save(self) -> dict[str, Any] | None:
        """Return the state as JSON-ready values, None before any shadow; `load` continues from it bit for bit."""
        if not (any(self._shadows) or self.record()):
            return None
        return {
            "levels": list(self.levels),
            "horizons": [[h.info, h.total, h.squares, *h.log_c, *h.covered] for h in self._horizons],
            "shadows": [[shadow.save() for shadow in shadows] for shadows in self._shadows],
        }

    def load(self, saved: Mapping[str, Any] | None) -> None:
        """Continue from what `save` returned; bands of other levels or horizons start empty."""
        if saved is None or tuple(saved["levels"]) != self.levels or len(saved["horizons"]) != len(HORIZONS):
            return
        k = len(self.levels)
        for horizon, values in zip(self._horizons, saved["horizons"], strict=True):
            horizon.info, horizon.total, horizon.squares = values[:3]
            horizon.log_c, horizon.covered = list(values[3 : 3 + k]), list(values[3 + k :])
        self._shadows = [[Shadow.load(shadow) for shadow in shadows] for shadows in saved["shadows"]]


@functools.lru_cache(maxsize=64)
def _normal_quantile(p: float) -> float:
    return NormalDist().inv_cdf(p)


def t_quantile(level: float, freedom: float) -> float:
    """Return how many scales either way hold `level` of Student's t distribution, `freedom` >= 4.

    By the expansion of Abramowitz and Stegun (1964), 26.7.5, to its second term: within 2% at 4 degrees.
    """
    z = _normal_quantile(0.5 + level / 2)
    first = (z**3 + z) / 4
    return z + first / freedom + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)

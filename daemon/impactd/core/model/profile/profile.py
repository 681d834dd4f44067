r"""The session profile: how liquidity and volume usually move through a day.

For each series (half-spread, excess impact, volume) the profile is a
piecewise linear function :math:`p(u)` of the position :math:`u \in [0, 1]` in
the session, in logs: a value of log 2 means twice the level of the middle of
the day.  Only differences matter, since the level is estimated live.

The generic prior
-----------------
A symbol without a history starts with shapes that hold for equities at large:

- **spread**: high after the open, then flat.  McInish and Wood [1]_ find a
  reverse J on the NYSE; Chan, Christie and Schultz [2]_ find no rise at
  Nasdaq's close but a narrowing.  The close is left flat, between the two.
- **excess**: it is inverse to depth, which is thin after the open (Lee,
  Mucklow and Ready [3]_) and grows through the day (Biais, Hillion and Spatt
  [4]_ on the daily pattern of the limit order book).
- **volume**: a U with the higher end at the close (Admati and Pfleiderer
  [5]_ explain why trading concentrates).

The papers give the shapes.  The magnitudes below are round numbers set before
any recorded day was examined: the live level and a learned profile correct them for a symbol.  They are minutes from
the open and to the
close, so they do not stretch with the session, and a market that never closes
has neither: its prior is flat.

References
----------
.. [1] McInish and Wood (1992), Journal of Finance 47(2), 753-764.
.. [2] Chan, Christie and Schultz (1995), Journal of Business 68(1), 35-60.
.. [3] Lee, Mucklow and Ready (1993), Review of Financial Studies 6(2), 345-374.
.. [4] Biais, Hillion and Spatt (1995), Journal of Finance 50(5), 1655-1689.
.. [5] Admati and Pfleiderer (1988), Review of Financial Studies 1(1), 3-40.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.base.elementary import exps
from impactd.core.base.jit import kernel
from impactd.core.base.session import Session
from impactd.core.base.settings import ModelSettings

Float = npt.NDArray[np.float64]

#: The generic prior: spread doubled at the open; excess tripled there and halved over the day; volume double and triple
#: at the ends.
OPEN_SPREAD: Final = math.log(2.0)
OPEN_EXCESS: Final = math.log(3.0)
DAY_EXCESS: Final = -math.log(2.0)
OPEN_VOLUME: Final = math.log(2.0)
CLOSE_VOLUME: Final = math.log(3.0)
#: e-folding times, minutes: within an hour of the open a tenth is left.
SPREAD_DECAY_MIN: Final = 20.0
EXCESS_DECAY_MIN: Final = 30.0
VOLUME_DECAY_MIN: Final = 30.0

#: Knots of the generic prior, minutes after the open and before the close: dense where it bends.
_KNOT_MINUTES: Final = (0.0, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 120.0)

#: Continuous trading of equities on exchanges, local seconds after midnight: whole sessions, the halves of those with a
#: break, and US half days.  A session of other hours begins or ends somewhere within a day, and has no open or close.
EXCHANGE_HOURS: Final = frozenset(
    (3600 * h + 60 * m, 3600 * to_h + 60 * to_m)
    for h, m, to_h, to_m in (
        (9, 30, 16, 0),  # New York, Toronto, Hong Kong
        (9, 30, 13, 0),  # New York, half days
        (9, 30, 15, 0),  # Shanghai, Shenzhen, and their mornings and afternoons
        (9, 30, 11, 30),
        (13, 0, 15, 0),
        (9, 30, 12, 0),  # Hong Kong
        (13, 0, 16, 0),
        (8, 0, 16, 30),  # London
        (9, 0, 17, 30),  # Euronext, Xetra, Zurich
        (9, 0, 17, 25),  # Stockholm, Helsinki
        (9, 0, 16, 20),  # Oslo
        (9, 0, 17, 0),  # Warsaw, Johannesburg, Singapore, Copenhagen
        (9, 0, 15, 0),  # Tokyo until 2024
        (9, 0, 15, 30),  # Tokyo, Seoul
        (9, 0, 11, 30),
        (12, 30, 15, 30),
        (9, 0, 13, 30),  # Taipei
        (9, 15, 15, 30),  # Mumbai
        (10, 0, 16, 0),  # Sydney
        (10, 0, 17, 0),  # Sao Paulo
        (8, 30, 15, 0),  # Mexico, Chicago
        (10, 0, 18, 0),  # Istanbul
        (10, 0, 18, 30),  # Helsinki, in its own time
    )
)

LAYOUT: Final = 1
SERIES: Final = ("spread", "excess", "volume")
COLUMNS: Final = ("knots", *SERIES, "weight")


@kernel
def interpolate(knots: Float, values: Float, at: float) -> float:
    """Return the piecewise linear function through (knots, values) at `at`, constant beyond its ends."""
    n = knots.shape[0]
    if at <= knots[0]:
        return float(values[0])
    if at >= knots[n - 1]:
        return float(values[n - 1])
    low, high = 0, n - 1
    while high - low > 1:
        middle = (low + high) // 2
        if knots[middle] <= at:
            low = middle
        else:
            high = middle
    share = (at - knots[low]) / (knots[high] - knots[low])
    return float(values[low] + share * (values[high] - values[low]))


@kernel
def interpolate_all(knots: Float, values: Float, at: Float) -> Float:
    """Return `interpolate` for each of `at`."""
    out = np.empty(at.shape[0])
    for i in range(at.shape[0]):
        out[i] = interpolate(knots, values, at[i])
    return out


@kernel
def relative_levels(knots: Float, values: Float, at: Float) -> Float:
    """Return ``exp(interpolate(...))`` for each of `at`; compiled, since NumPy's exp differs between processors."""
    out = np.empty(at.shape[0])
    for i in range(at.shape[0]):
        out[i] = math.exp(interpolate(knots, values, at[i]))
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """Log level of each series by position in the session.

    Raises
    ------
    ValueError
        If shapes differ, a value is not finite, or the knots do not ascend within [0, 1].
    """

    #: Shape (K,). Positions in [0, 1], strictly ascending.
    knots: Float
    #: Shape (K,). Log levels at the knots.
    spread: Float
    excess: Float
    volume: Float
    #: Shape (K,). Days of this symbol that each knot was learned from; all 0 for a prior.
    weight: Float

    def __post_init__(self) -> None:
        n = self.knots.shape[0] if self.knots.ndim == 1 else 0
        if n == 0 or not np.all((self.knots >= 0) & (self.knots <= 1)) or np.any(np.diff(self.knots) <= 0):
            raise ValueError("profile.knots: must be strictly ascending positions in [0, 1]")
        for name in (*SERIES, "weight"):
            values = getattr(self, name)
            if values.shape != (n,) or not np.all(np.isfinite(values)):
                raise ValueError(f"profile.{name}: needs {n} finite values, one a knot")
        if np.any(self.weight < 0):
            raise ValueError("profile.weight: must not be negative")

    @property
    def is_prior(self) -> bool:
        """Whether it shapes a forecast without having been learned from this symbol."""
        return not np.any(self.weight > 0) and any(np.ptp(getattr(self, name)) > 0 for name in SERIES)

    @classmethod
    def flat(cls) -> Profile:
        """Return the profile that says nothing."""
        zero = np.zeros(1)
        return cls(np.array([0.5]), zero, zero, zero, zero)

    @classmethod
    def generic(cls, session: Session) -> Profile:
        """Return the generic prior for a session (flat for a market that never closes)."""
        if session.always_open:
            return cls.flat()
        length = session.length_minutes
        early = [m for m in _KNOT_MINUTES if m < length / 2]
        minutes = np.array(sorted({*early, length / 2, *(length - m for m in early)}))
        to_close = length - minutes
        spread = OPEN_SPREAD * exps(-minutes / SPREAD_DECAY_MIN)
        excess = OPEN_EXCESS * exps(-minutes / EXCESS_DECAY_MIN) + DAY_EXCESS * (minutes / length)
        volume = OPEN_VOLUME * exps(-minutes / VOLUME_DECAY_MIN) + CLOSE_VOLUME * exps(-to_close / VOLUME_DECAY_MIN)
        return cls(minutes / length, spread, excess, volume, np.zeros(minutes.shape[0]))

    @classmethod
    def of(cls, settings: ModelSettings, session: Session) -> Profile:
        """Return the profile of the settings: their own, or the generic prior where the session is an exchange's."""
        if settings.profile:
            return from_columns(settings.profile)
        own = session.hours_s in EXCHANGE_HOURS
        return cls.generic(session) if settings.prior_profile and own else cls.flat()

    def columns(self) -> tuple[tuple[float, ...], ...]:
        """Return the columns as `ModelSettings.profile` holds them; `of` gives the profile back bit for bit."""
        return tuple(tuple(getattr(self, name).tolist()) for name in COLUMNS)

    def save(self) -> dict[str, object]:
        """Return the profile as JSON-ready values; `load` gives it back bit for bit."""
        named = {name: getattr(self, name).tolist() for name in COLUMNS}
        return {"layout": LAYOUT, **named}

    @classmethod
    def load(cls, saved: Mapping[str, object]) -> Profile:
        """Return the profile that `save` described.

        Raises
        ------
        ValueError
            If it has another layout, lacks a field, or a field is not what `Profile` needs.
        """
        if saved.get("layout") != LAYOUT:
            raise ValueError(
                f"profile.layout: {saved.get('layout')!r} is not {LAYOUT}; learn the profile again with this release"
            )
        arrays = []
        for name in COLUMNS:
            values = saved.get(name)
            if not isinstance(values, list) or not all(type(v) in {int, float} for v in values):
                raise ValueError(f"profile.{name}: must be a list of numbers")
            arrays.append(np.array(values, dtype=np.float64))
        return cls(*arrays)


def from_columns(columns: Sequence[Sequence[float]]) -> Profile:
    """Return the profile that the columns of `ModelSettings.profile` describe."""
    if len(columns) != len(COLUMNS):
        raise ValueError(f"profile: needs the columns {', '.join(COLUMNS)}")
    return Profile(*(np.array(column, np.float64) for column in columns))

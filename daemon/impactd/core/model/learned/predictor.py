"""What every kind of trained file offers: features to keep, and quantiles to ask for.

`impactd.core.model.learned.trained` lists the kinds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol, Self

from impactd.core.base.session import Session
from impactd.core.model.curves import Float, Int, MinuteBooks

SERIES: Final = ("spread", "excess")
QUANTILES: Final = (0.1, 0.5, 0.9)

#: Intervals ahead that are asked for; between them a forecast is interpolated.
HORIZONS: Final = (1, 2, 3, 5, 8, 13, 20, 30, 45, 60, 90, 120, 180, 240)


class Features(Protocol):
    """What one symbol and side has shown, as features of the intervals ahead; its size is bounded."""

    #: Start of the latest minute taken in, UTC ns.
    minute: int | None

    @property
    def levels(self) -> tuple[float, float]:
        """Log half-spread and log excess of the latest minute; NaN before any."""
        ...

    def update(self, minute_ns: int, levels: tuple[float, float], books: MinuteBooks) -> None:
        """Add the log half-spread and log excess of a closed minute, later than all before, and its books."""
        ...

    def of(self, starts_ns: Int) -> Float:
        """Return the features of intervals that begin at `starts_ns` (UTC ns), shape (N, n_features); NaN: unknown."""
        ...

    def save(self) -> list[Any]:
        """Return the state as JSON-ready values; `load` continues from it bit for bit."""
        ...

    def load(self, saved: Sequence[Any] | None) -> None:
        """Continue from what `save` returned; from nothing, or another layout, start empty."""
        ...


class Predictor(Protocol):
    """What one kind of trained file holds."""

    #: Names of the features, in the order of their columns.
    FEATURES: ClassVar[tuple[str, ...]]

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Self:
        """Return what a file holds.

        Raises
        ------
        KeyError, TypeError, ValueError, IndexError
            If it is damaged.
        """
        ...

    @classmethod
    def blank(cls) -> dict[str, Any]:
        """Return what a file holds that leaves the default forecast as it is, as `read` takes it."""
        ...

    def features(self, row: int, session: Session, interval_ns: int) -> Features:
        """Return the empty features of a side, `row` in a minute's arrays: 0 to buy, 1 to sell."""
        ...

    def quantiles(self, x: Float) -> Float:
        """Return the quantiles of what the default forecast leaves, ascending.

        Parameters
        ----------
        x : ndarray of float64, shape (N, n_features)

        Returns
        -------
        ndarray of float64, shape (N, 2, 3)
            Logs; of spread and excess.
        """
        ...

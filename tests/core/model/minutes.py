"""Closed minutes made from known curves."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from impactd.core.base.session import Session
from impactd.core.base.settings import MINUTE_NS, SessionRule
from impactd.core.model.curves import Float

#: 2025-04-03 09:30 in New York.
OPEN_NS = 1_743_687_000_000_000_000
NEW_YORK = Session(SessionRule(34_200, 57_600, ((0, -4 * 3600),)))
SIZES = np.array([20.0, 35.0, 60.0, 110.0, 190.0, 340.0, 600.0, 1050.0])


def minute(i: int) -> int:
    """Return the start of the i-th minute of the session."""
    return OPEN_NS + i * MINUTE_NS


@dataclass
class Books:
    """What a closed minute shows; both sides alike."""

    curve: Float
    sizes: Float = field(default_factory=lambda: SIZES)
    held: Float | None = None
    covered_ns: int = MINUTE_NS
    half_spread: float | None = 0.02
    mid: float | None = 31.0
    depth: Float = field(default_factory=lambda: np.array([1500.0, 1200.0]))

    @property
    def slippage(self) -> Float:
        """Both sides' curve."""
        return np.stack([self.curve, self.curve])

    @property
    def lower_bound(self) -> Float:
        """The curve; where no book held a size, what the largest size before it costs."""
        known = np.where(np.isfinite(self.curve), self.curve, 0.0)
        bound = np.maximum.accumulate(known)
        return np.stack([bound, bound])

    @property
    def coverage(self) -> Float:
        """Held all the time unless said otherwise."""
        held = np.ones(self.sizes.size) if self.held is None else self.held
        return np.stack([held, held])


def linear(s: float = 0.02, beta: float = 1e-5) -> Books:
    """Return a minute with a linear curve."""
    return Books(s + beta * SIZES, half_spread=s)

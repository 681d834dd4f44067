"""What a log series expects of the intervals ahead, and what will be seen of them in time.

That more will be seen (`impactd.core.model.series.series`) is worth most where there are endless intervals to choose
from.  A window of n has about
m = n (1 - phi) / (1 + phi) independent levels of the deviation, and n of what books tell; where these are few,
waiting for a cheap one is a gamble that the order's end may lose.  So variances count m / (m + `FEW`).  Simulated
orders whose level is an AR(1) and nothing else do best at 5 to 20; recorded days, whose levels also move within
minutes, do better the less it is: 1 gives away a little of either.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from impactd.core.base.settings import MINUTE_NS
from impactd.core.model.curves import Float, Int
from impactd.core.model.series.readout import swings_at
from impactd.core.model.series.regime import SLOWEST_MINUTES

#: Independent levels in a window at which a variance counts half.
FEW: Final = 1.0


class Ahead(NamedTuple):
    """What a series expects of the intervals ahead, in logs; see the module's formulas.

    Attributes
    ----------
    mean, deviation : float
        The mean less the profile, and the deviation of the next interval.
    swing : float
        V.
    news : float
        What the standing book adds to the interval in which it stands.
    told : float
        The part of V that standing books will tell.
    half_life_ns : float
        Of a deviation.
    """

    mean: float
    deviation: float = 0.0
    swing: float = 0.0
    news: float = 0.0
    told: float = 0.0
    half_life_ns: float = SLOWEST_MINUTES * MINUTE_NS

    def swings(self, starts_ns: Int, next_ns: int, interval_ns: int) -> Float:
        """Return the variance of what will have been seen by the intervals that begin at `starts_ns`, shape (N,).

        Each part counts by how many independent levels the window has of it (`worth`).
        """
        n = len(starts_ns)
        phi = float(2.0 ** (-interval_ns / self.half_life_ns))
        slow = self.swing * worth(n * (1.0 - phi) / (1.0 + phi))
        return swings_at(starts_ns, next_ns, self.half_life_ns, slow, self.told * worth(n))


def worth(levels: float) -> float:
    """Return what part of a variance counts in a window of so many independent `levels`."""
    return levels / (levels + FEW)

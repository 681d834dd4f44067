r"""Detects a lasting shift of a level.

Two cumulative sums (Page [1]_) of the level's distance from its mean, in standard
deviations of that distance and bounded at `BOUND`, look for a lasting rise or fall.  At
`ALARM` the evidence behind the mean is cut to `EVIDENCE_LEFT` minutes, so that the mean
follows within minutes, and the change is counted.

Distances from the mean are watched, not errors of the nowcast: the nowcast
follows a shift within three minutes, and its errors then show nothing, while plans continue
waiting for the old mean.

References
----------
.. [1] Page (1954), Continuous Inspection Schemes, Biometrika 41(1/2), 100-115.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import inner_kernel
from impactd.core.model.series.columns import CHANGES, FALL, RISE

Float = npt.NDArray[np.float64]

#: Drift that the sums allow, bound of one minute, and where they alarm, all in standard deviations.
DRIFT: Final = 1.0
BOUND: Final = 3.0
ALARM: Final = 12.0
#: Minutes of evidence left behind the mean after a change.
EVIDENCE_LEFT: Final = 2.0


@inner_kernel
def watch(shared: Float, distance: float) -> bool:
    """Add a standardised distance to the sums in `shared`, and return whether the level has shifted."""
    bounded = min(max(distance, -BOUND), BOUND)
    shared[RISE] = max(shared[RISE] + bounded - DRIFT, 0.0)
    shared[FALL] = max(shared[FALL] - bounded - DRIFT, 0.0)
    if max(shared[RISE], shared[FALL]) <= ALARM:
        return False
    shared[RISE] = shared[FALL] = 0.0
    shared[CHANGES] += 1.0
    return True

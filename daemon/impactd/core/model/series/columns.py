"""Columns of the state of a level series (`impactd.core.model.series.series`)."""

from __future__ import annotations

from typing import Final

#: Of each level: the mean that forgets, the minutes of evidence behind it, and the averages of 3 and 10 minutes.
MEAN: Final = 0
INFO: Final = 1
FAST: Final = 2
SLOW: Final = 3
N_LEVEL: Final = 4

#: Of the series: sums of signal times outcome and of signal squared, both relative to the mean.
TRUST_XY: Final = 0
TRUST_XX: Final = 1
#: Sums of squared logs: the nowcast's distance from the mean, its error, and the level's distance from the mean.
SQ_NOWCAST: Final = 2
SQ_ERROR: Final = 3
SQ_LEVEL: Final = 4
#: Weight behind these sums, minutes.
WEIGHT: Final = 5
#: Cumulative sums that look for a lasting rise and fall, and how many changes were found.
RISE: Final = 6
FALL: Final = 7
CHANGES: Final = 8
#: The prevailing book at the last minute's end, relative to the mean, and whether there was one (1 or 0).
BOOK: Final = 9
HAS_BOOK: Final = 10
N_SERIES: Final = 11

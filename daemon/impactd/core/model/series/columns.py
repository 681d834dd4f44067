"""Columns of the state of log series (`impactd.core.model.series.series`)."""

from __future__ import annotations

from typing import Final

MEAN: Final = 0
INFO: Final = 1
DEVIATION: Final = 2
#: Mean squares of the one-minute-ahead residual and of the residual from the mean, and their weight.
VAR_AHEAD: Final = 3
VAR_LEVEL: Final = 4
VAR_INFO: Final = 5
#: Mean product of what was expected of a minute and what it brought; it begins at 0 and has to be earned.
SWING: Final = 6
#: Sums of the standing book's news times what came, and of its square.
NEWS_XY: Final = 7
NEWS_XX: Final = 8
#: Log level of the book at the last minute's end, and whether there was one (1 or 0).
SEEN: Final = 9
HAS_SEEN: Final = 10
#: The last residual from the mean, and the exponentially weighted past of such.
LAST: Final = 11
PAST: Final = 12
#: Sums of the residual's square, of it times the last, of it times the past, and their weight.
SUM_SQUARE: Final = 13
SUM_LAST: Final = 14
SUM_PAST: Final = 15
SUM_WEIGHT: Final = 16
#: Cumulative sums that look for a rise and for a fall, and how many changes they have found.
RISE: Final = 17
FALL: Final = 18
CHANGES: Final = 19
#: The part of the swing that standing books have told of.
TOLD: Final = 20
N_FIELDS: Final = 21

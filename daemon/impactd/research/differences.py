"""Why a cost of one surface differs from another's: each difference has a name, which is printed with the cost.

Without any of them, the same order, day, window and model has the same cost everywhere.
"""

from __future__ import annotations

from typing import Final

DIFFERENCES: Final = {
    "hindsight": "the schedule knows the day that it is priced on; replay and backtest decide as the day goes",
    "fitted curve": "priced on curves fitted to each interval, not at the books",
    "intercept": "curves pass through the origin, without the half-spread",
    "interval grid": "one walk per interval, and intervals of other lengths than the data's",
    "whole lots": "fractions of shares; replay and backtest trade whole lots",
    "size grid": "priced on the sizes of each minute's published estimate, linear between them, for lack of the books",
    "law": "with plans.metaorder, backtest charges a law of the literature beyond the books, others their own slope",
    "depth cap": "backtest lets no interval trade more than --depth-cap visible depths",
    "session": "other hours",
    "fills": "replay without executions takes each plan as filled; by fills the cost is what they paid over mid",
}


def of_schedule(*, n_fitted: int, n_intervals: int, intercept: bool) -> dict[str, str]:
    """Return what sets the cost of a batch schedule apart from that of a replay, by name."""
    names = ["hindsight", "fitted curve", "whole lots"]
    if not intercept:
        names.append("intercept")
    found = {name: DIFFERENCES[name] for name in names}
    if n_intervals != n_fitted:
        found["interval grid"] = f"{n_fitted} fitted intervals as {n_intervals}, each of them one walk"
    return found

"""Which forecast the service chooses on recorded days, the default one or a trained one, and what each saves.

Trees, or a network, are trained on the first days of three A-shares.  The engine then goes over later days, works an
order of each side at all times by both forecasts and chooses between them as it does live
(`impactd.core.market.champion`).  The recordings are not part of the project::

    python -m tests.research.learned.champion ../shared/data                           # the days for tuning
    python -m tests.research.learned.champion ../shared/data --model network           # a network instead of trees
    python -m tests.research.learned.champion ../shared/data --known 40                # trees that know these days
    python -m tests.research.learned.champion ../shared/data --known 30 --days 31:50   # reported once

It prints what orders saved by each forecast, parts of TWAP's cost; the mean of the days' differences in standard
errors; the days on which the learned forecast made the plans; and what the comparison costs a minute.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from impactd.core.base.settings import CoreSettings
from impactd.core.engine import Engine
from impactd.core.market.champion import Champion
from impactd.core.model.learned.trained import KINDS, TREES
from impactd.core.outputs.messages import Output
from impactd.research.backtest.days import SymbolTape, read_tapes
from impactd.research.backtest.live import states_at
from impactd.research.learned.samples import with_learned
from tests.research.backtest.recorded import settings_of, sources, trained


@dataclass
class Followed:
    """What the days of a symbol have shown.

    Attributes
    ----------
    saved : dict of str to list
        By day, what each order saved by the default and by the learned forecast, shares of TWAP's cost.
    learned : dict of str to tuple
        By day, whether the learned forecast made its plans, and its lead.
    updates, seconds : int, float
        How often a side was compared, and the processor time of it.
    """

    saved: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    learned: dict[str, tuple[bool, float]] = field(default_factory=dict)
    updates: int = 0
    seconds: float = 0.0


def follow(tape: SymbolTape, settings: CoreSettings) -> Followed:
    """Go over a tape's days, and return what the engine found and chose."""
    found = Followed()
    ended: list[tuple[float, float]] = []
    update = Champion.update

    def recorded(champion: Champion, *args: object) -> None:
        begin = time.process_time()
        saved = update(champion, *args)  # type: ignore[arg-type]  (a study)
        found.seconds += time.process_time() - begin
        found.updates += 1
        if saved is not None:
            ended.append(saved)

    def look(engine: Engine, now: int, outputs: tuple[Output, ...]) -> None:
        del outputs
        day = next(day.name for day in tape.days if now <= day.open + len(day.intervals) * interval)
        if (market := engine.market(tape.symbol)) is not None:
            found.learned[day] = market.learned, market.learned_lead
            found.saved[day] += ended
        ended.clear()

    interval = settings.books.interval_ns
    ends = [day.open + t * interval for day in tape.days for t in range(1, len(day.intervals) + 1)]
    Champion.update = recorded  # type: ignore[method-assign, assignment]  (a study)
    try:
        states_at(tape, settings, (), look=look, at=ends)
    finally:
        Champion.update = update  # type: ignore[method-assign]
    return found


def report(name: str, found: Followed) -> str:
    """Return a line on a symbol's days."""
    orders = np.array([order for day in found.saved.values() for order in day])
    gains = np.array([np.sum(np.diff(day)) for day in found.saved.values() if day])
    default, learned = orders.mean(axis=0)
    error = gains.std(ddof=1) / math.sqrt(len(gains))
    led = [day for day, (leads, _) in found.learned.items() if leads]
    lead = list(found.learned.values())[-1][1]
    return (
        f"{name:5} {len(gains)} days, {len(orders)} orders saved {default:.4f} by default, {learned:.4f} learned; "
        f"difference {gains.mean() / error:+.1f} standard errors, lead {lead:+.2f}; learned on {len(led)} days"
        f"{f', first {led[0]}' if led else ''}; {1e6 * found.seconds / found.updates:.0f} us a side and minute"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="Which forecast is chosen on recorded days.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--known", type=int, default=20, help="first days, which are trained on")
    parser.add_argument("--model", choices=KINDS, default=TREES)
    parser.add_argument("--days", default="21:40", metavar="FIRST:LAST")
    asked = parser.parse_args()
    first, last = (int(part) for part in asked.days.split(":"))
    chosen = [source for source in sources(asked.data, 1, max(last, asked.known)) if source.market == "A-shares"]
    file = trained(chosen, asked.known, asked.model)
    for source in chosen:
        settings = with_learned(settings_of(source.session, "minute"), file)
        [tape] = [tape for tape in read_tapes(source.files[first - 1 : last], settings) if len(tape.days)]
        print(report(source.symbol, follow(tape, settings)), flush=True)  # noqa: T201  (a command)


if __name__ == "__main__":
    main()

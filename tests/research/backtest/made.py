"""Short days for the backtest, of which everything is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import CoreSettings, PlanSettings, SessionRule
from impactd.core.inputs.ticks import TickBatch
from impactd.research.backtest.days import SymbolTape
from impactd.research.backtest.run import for_backtest
from impactd.research.backtest.windows import Question
from tests.core.builders import T0, M, S
from tests.core.rows import Row, batch_of, trade

#: An hour from ten o'clock.
SESSION = SessionRule(open_s=36_000, close_s=39_600)
SETTINGS = for_backtest(CoreSettings(session=SESSION, plans=PlanSettings(solvers=("exact",))))

#: Ten o'clock to eleven, twenty minutes each.
QUESTION = Question(qty=(900.0,), horizon_min=20, from_s=36_000, to_s=39_600)


def ladder(ts: int, half_spread: float = 0.02, step: float = 0.01, size: float = 100.0, levels: int = 8) -> Row:
    """Return a book around 100 whose levels are `step` apart and as deep as each other."""
    bids = tuple((100.0 - half_spread - step * k, size) for k in range(levels))
    asks = tuple((100.0 + half_spread + step * k, size) for k in range(levels))
    return Row(ts, bids, asks)


def rows_of(half_spreads: Sequence[float], sizes: Sequence[float], volume: Sequence[float] = ()) -> list[Row]:
    """Return one book at the beginning of each minute, and a trade in its middle."""
    rows = []
    for t, (half_spread, size) in enumerate(zip(half_spreads, sizes, strict=True)):
        rows.append(ladder(T0 + t * M, half_spread, size=size))
        if volume:
            rows.append(trade(T0 + t * M + 30 * S, volume[t]))
    return rows


def noisy_rows(seed: int, n: int = 60, every_s: int = 10) -> list[Row]:
    """Return books whose spread and depth wander, and a trade now and then."""
    rng = np.random.default_rng(seed)
    spread, depth = np.exp(0.3 * rng.standard_normal(n)), np.exp(0.3 * rng.standard_normal(n))
    rows = []
    for t in range(n):
        for k in range(60 // every_s):
            at = T0 + t * M + k * every_s * S
            half = round(0.01 * max(round(2 * spread[t] * np.exp(0.2 * rng.standard_normal())), 1), 4)
            size = float(max(round(100 * depth[t] * np.exp(0.2 * rng.standard_normal())), 5))
            rows.append(ladder(at, half, size=size))
            if rng.random() < 0.4:
                rows.append(trade(at + S, float(rng.integers(1, 200))))
    return rows


def tape_of(rows: Sequence[Row] | TickBatch, settings: CoreSettings = SETTINGS) -> SymbolTape:
    return SymbolTape.of("FROG", rows if isinstance(rows, TickBatch) else batch_of(rows), settings)


def quanta(shares: float) -> int:
    return round(shares * QUANTA)

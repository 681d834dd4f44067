"""How the saving depends on size, horizon, risk aversion and participation, on recorded days.

One thing is varied at a time about a middle order: one hour, a few hundredths
of the visible depth an interval, no aversion to risk.  All are walked forward
as in the backtest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from impactd.core.base.settings import CoreSettings
from impactd.research.backtest.capture import pooled
from impactd.research.backtest.days import read_tapes
from impactd.research.backtest.evaluate import ENGINE, Outcome
from impactd.research.backtest.run import Backtest, for_backtest, run_all
from impactd.research.backtest.study import study_days
from impactd.research.backtest.windows import Question

#: Average part of the visible depth that an interval trades.
DEPTH_SHARES: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
MIDDLE_SHARE: Final = 0.05
HORIZONS_MIN: Final = (15, 30, 60, 120, 180, 360)
#: Multiples of the aversion at which, evenly traded, risk would cost what impact does.
RISKS: Final = (0.0, 0.01, 0.1, 1.0, 10.0)
PARTICIPATION: Final = (0.01, 0.05, 0.1, 0.2)

_POLICIES: Final = (ENGINE, "twap", "hindsight")


def sensitivity(
    path: Path,
    settings: CoreSettings,
    question: Question,
    *,
    codec: str | None = None,
    symbol: str | None = None,
    workers: int = 1,
    begin: Callable[[int], Callable[[int], None]] | None = None,
) -> pd.DataFrame:
    """Return what the engine saves on one file of recorded days.

    Parameters
    ----------
    question : Question
        Its range of hours, cap and lot; sizes and horizons are varied here.
    begin : callable, optional
        As in `impactd.research.backtest.run.backtest`.

    Returns
    -------
    DataFrame
        One row per value: ``varied`` (size, horizon, risk aversion,
        participation), ``value``, ``orders``, ``shares`` (mean), ``twap_bps``,
        ``engine_bps``, ``hindsight_bps``, ``saving_pct`` (of TWAP's cost),
        ``capture`` (NaN where nothing could be saved), and ``done_halfway``
        (share of the order that the engine has traded at half its time).
    """
    settings = for_backtest(settings)
    tapes = read_tapes([path], settings, codec=codec, symbol=symbol)
    walked = {tape.symbol: study_days(tape, settings) for tape in tapes}
    middle = dataclasses.replace(
        question, qty=(), participation=(), depth_shares=(MIDDLE_SHARE,), horizon_min=60, every_min=None, trimmed=False
    )
    # The middle order is a value of everything that is varied: it is worked once, and says what risk is worth.
    [at_rest] = run_all(tapes, settings, [middle], _POLICIES, workers=workers, begin=begin, walked=walked)
    asked = list(_asked(middle, _unit_of_risk(at_rest)))
    others = [one for one in dict.fromkeys(question for *_, question in asked) if one != middle]
    tests = run_all(tapes, settings, others, _POLICIES, workers=workers, begin=begin, walked=walked)
    done = {test.question: test.outcomes for test in (at_rest, *tests)}
    rows = [_row(varied, value, done[question]) for varied, value, question in asked]
    return pd.DataFrame(rows)


def _asked(middle: Question, unit: float) -> Iterator[tuple[str, float, Question]]:
    for share in DEPTH_SHARES:
        yield "size", share, dataclasses.replace(middle, depth_shares=(share,))
    room = (middle.to_s - middle.from_s) // 60
    for horizon in HORIZONS_MIN:
        if horizon <= room:
            yield "horizon", float(horizon), dataclasses.replace(middle, horizon_min=horizon)
    for multiple in RISKS:
        yield "risk aversion", multiple * unit, dataclasses.replace(middle, risk_aversion=multiple * unit)
    for rate in PARTICIPATION:
        yield "participation", rate, dataclasses.replace(middle, depth_shares=(), participation=(rate,))


def _unit_of_risk(test: Backtest) -> float:
    """Return the aversion at which the risk of TWAP's inventory costs as much as TWAP's impact."""
    variance = {(s.day.symbol, s.day.name): s.day.variance() for s in test.studies}
    impact = sum(outcome.priced.cost["twap"] for outcome in test.outcomes)
    risk = 0.0
    for outcome in test.outcomes:
        left = outcome.priced.qty - np.cumsum(outcome.paths["twap"])
        risk += variance[outcome.priced.symbol, outcome.priced.day] * float(left @ left)
    return impact / risk if risk > 0.0 else 0.0


def _row(varied: str, value: float, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    figures = pooled([outcome.priced for outcome in outcomes], _POLICIES, 0, n_draws=1)
    twap, engine = figures["twap"], figures[ENGINE]
    halves = [float(o.paths[ENGINE][: len(o.paths[ENGINE]) // 2].sum()) / o.priced.qty for o in outcomes]
    return {
        "varied": varied,
        "value": value,
        "orders": len(outcomes),
        "shares": float(np.mean([outcome.priced.qty for outcome in outcomes])),
        "twap_bps": twap["cost_bps"],
        "engine_bps": engine["cost_bps"],
        "hindsight_bps": figures["hindsight"]["cost_bps"],
        "saving_pct": 100.0 * (1.0 - engine["cost"] / twap["cost"]) if twap["cost"] > 0.0 else np.nan,
        "capture": np.nan if engine["capture"] is None else engine["capture"],
        "done_halfway": float(np.mean(halves)),
    }

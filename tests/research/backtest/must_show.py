"""What the forecast is worth on recorded days: the share of the hindsight saving that is captured.

The service's engine is pooled over both sides, all days and symbols, for
disjoint hours from 10:00 to 16:00, one order over all of them and one over
the session, beside forecasts that anybody could make; and each symbol and side
by itself.  A rule of size is a share of the visible depth for each minute, or of the
session's continuous volume.  To be run by hand::

    python -m tests.research.backtest.must_show FILE... [--depth-share S...] [--participation P...]
        [--set SECTION.NAME=VALUE] [--windows KIND...] [--workers N]

Each rule of size is pooled by itself, and all of them together at the end.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from impactd.cli.hours import session_settings
from impactd.core.base.settings import CoreSettings
from impactd.research.backtest.capture import Priced, pooled
from impactd.research.backtest.days import SymbolTape, read_tapes
from impactd.research.backtest.evaluate import ENGINE, Outcome
from impactd.research.backtest.run import for_backtest, run
from impactd.research.backtest.skill import calibration
from impactd.research.backtest.windows import KINDS, Question

#: Of the visible depth an interval: from what pays little but the spread to what walks through several levels.
DEPTH_SHARES: Final = (0.01, 0.04, 0.1, 0.25)

POLICIES: Final = (ENGINE, "twap", "vwap", "persistence", "expanding_mean", "profile_hindsight", "hindsight")


def found(
    tapes: Sequence[SymbolTape], settings: CoreSettings, question: Question, kinds: Sequence[str], workers: int
) -> dict[str, list[Outcome]]:
    """Return the outcomes by the name of the rule of size, those of all rules together last."""
    names = [f"{rate:.3g} of the volume" for rate in question.participation]
    names = names or [f"{share:.3g} of the depth a minute" for share in question.depth_shares]
    asked = dataclasses.replace(question, trimmed=False, kinds=tuple(kinds))
    outcomes = run(tapes, settings, asked, POLICIES, workers=workers).outcomes
    by_span: dict[tuple[str, str, int, int, str], list[Outcome]] = {}
    for outcome in outcomes:
        order = outcome.priced
        span = order.symbol, order.day, order.start, len(outcome.paths["twap"]), order.side
        by_span.setdefault(span, []).append(outcome)
    by_rule: dict[str, list[Outcome]] = {name: [] for name in names}
    for same in by_span.values():
        for name, outcome in zip(names, sorted(same, key=lambda o: o.priced.qty), strict=True):
            by_rule[name].append(outcome)
    return by_rule | ({"all sizes together": list(outcomes)} if len(names) > 1 else {})


def lines(outcomes: Sequence[Outcome], seed: int = 0) -> list[str]:
    """Return the table of one rule of size."""
    said = []
    for kind in KINDS:
        mine = [outcome for outcome in outcomes if kind in outcome.priced.windows]
        if not mine:
            continue
        orders = [outcome.priced for outcome in mine]
        said.append(f"  {kind}: {len(orders)} orders")
        figures = pooled(orders, POLICIES, seed)
        said += [_line(name, figures[name]) for name in POLICIES if name not in {"twap", "hindsight"}]
        for symbol in sorted({order.symbol for order in orders}):
            for side in ("buy", "sell"):
                of_side = [order for order in orders if (order.symbol, order.side) == (symbol, side)]
                said.append(_line(f"{symbol} {side}", pooled(of_side, (ENGINE,), seed)[ENGINE], _shares(of_side)))
        for row in calibration(mine, [kind]):
            held = row["as_planned"]
            said.append(f"    bands: 80% held {held['band80']:.1%}, 95% held {held['band95']:.1%}")
    return said


def _shares(orders: Sequence[Priced]) -> str:
    sizes = sorted({order.qty for order in orders})
    return "  " + " and ".join(f"{qty:,.0f}" for qty in (sizes if len(sizes) < 5 else [])) + " shares"


def _line(name: str, figures: dict[str, Any], after: str = "") -> str:
    captured, interval = figures["capture"], figures["capture_ci90"]
    bound = "" if interval is None else f" ({interval[0]:+.1%} to {interval[1]:+.1%})"
    share = "nothing to save" if captured is None else f"{captured:+.1%}"
    return f"    {name:18}{share:>8}{bound:22} beats TWAP {figures['beat_twap']:4.0%}{after}"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="Share of the hindsight saving captured.")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--depth-share", type=float, nargs="*", default=list(DEPTH_SHARES))
    parser.add_argument("--participation", type=float, nargs="*", default=[])
    parser.add_argument("--windows", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.NAME=VALUE")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    settings = for_backtest(session_settings(None, tuple(asked.set), None, None)[0])
    question = Question(depth_shares=tuple(asked.depth_share), participation=tuple(asked.participation))
    tapes = read_tapes(asked.files, settings)
    for name, outcomes in found(tapes, settings, question, asked.windows, asked.workers).items():
        print(f"{name}", *lines(outcomes), sep="\n")  # noqa: T201  (a command)


if __name__ == "__main__":
    main()

"""What plans and slices are worth on recorded days, and whether their bands hold: the figures of the documents.

The service's own engine goes over the days once by the minute and once by slices.  Orders of both sides
work at the same time, in disjoint windows (50 minutes of A-shares' sessions, hours from 10:00 elsewhere), of
5% of the volume on one day and 10% on the next.  Days before those that are judged are only learned from.
The recordings are not part of the project::

    python -m tests.research.backtest.recorded ../shared/data bands     # A-share days up to 40
    python -m tests.research.backtest.recorded ../shared/data worth     # A-share days from 41 on, AMZN, FROG, ARL

`tests.research.backtest.generated --first-days N` works orders the same way on days on which nothing can be foreseen.

`--days FIRST:LAST` judges other A-share days, `--symbols` fewer symbols; with `--learned KIND` plans follow a forecast
trained on the A-share days before.  `tests.research.backtest.ablation` shows what parts of plans and slices are worth.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import SECOND_NS, CoreSettings, PlanSettings, SessionRule
from impactd.core.base.topics import SIDES, Topic
from impactd.core.inputs.ticks import Float, TickBatch
from impactd.core.model.learned.trained import KINDS, TrainedFile
from impactd.core.outputs.messages import Plan, Slice
from impactd.research.backtest import within
from impactd.research.backtest.capture import Priced, pooled
from impactd.research.backtest.days import Day, SymbolTape, read_tapes
from impactd.research.backtest.evaluate import ENGINE, LATENCY_S, SLICES, TWAP_SLICES, Bench, evaluate
from impactd.research.backtest.policies import Lines
from impactd.research.backtest.study import DayStudy
from impactd.research.backtest.windows import Question, Trial, trials
from impactd.research.backtest.within import Takes
from impactd.research.learned.fit import fit
from impactd.research.learned.samples import samples_of, with_learned
from tests.core.band_days import outputs

#: Of the session's volume, in turn by day.
RATES: Final = (0.05, 0.1)
#: Days that only teach the engine before those that are judged.
HISTORY: Final = 10


@dataclass(frozen=True)
class Source:
    """Files of one symbol, with its session and the stretches that windows lie in, local seconds."""

    market: str
    symbol: str
    files: tuple[Path, ...]
    session: SessionRule
    stretches: tuple[tuple[int, int], ...]
    window_min: int = 60


SHANGHAI: Final = SessionRule(34_800, 53_400, ((0, 8 * 3600),), breaks=((40_800, 47_400),))
NEW_YORK: Final = SessionRule(34_200, 57_600, ((0, -4 * 3600),))


def sources(data: Path, first: int, last: int, history: int = HISTORY) -> list[Source]:
    """Return A-shares' days `first` to `last` (from 1) with `history` before, and the days of other markets."""
    found = []
    for symbol in ("SYM0", "SYM2", "SYM5"):
        files = sorted((data / "ashare").glob(f"{symbol}_*"))[max(first - 1 - history, 0) : last]
        stretches = (34_800, 40_800), (47_400, 53_400)
        found.append(Source("A-shares", symbol, tuple(files), SHANGHAI, stretches, 50))
    for name in ("lobster/AMZN_2012-06-21_5.zip", "FROG_2025-04-03_mbp10.csv.gz", "ARL_2025-07-17_mbp10.csv.gz"):
        path = data / name
        symbol = path.name.split("_")[0]
        found.append(Source(symbol, symbol, (path,), NEW_YORK, ((36_000, 57_600),)))
    return found


@dataclass(frozen=True)
class Worked:
    """An order that the engine has worked: its first plan with a band, and what that plan or its slices came to.

    Attributes
    ----------
    planned : float or None
        What the first plan cost where it was left as it was; by slices, what they cost.
    shares : dict of str to float
        What slices took, by reason; ``left`` for what they left.
    """

    priced: Priced
    first: Plan | None
    planned: float | None
    shares: Mapping[str, float] = field(default_factory=dict)


def worked(
    source: Source, acts: str, skip: int, rates: Sequence[float] = RATES, learned: TrainedFile | str = ""
) -> list[Worked]:
    """Return the orders of a source's days but the first `skip`, worked by the minute or by slices.

    Parameters
    ----------
    learned : TrainedFile or str
        A trained file that plans follow from the start; empty for the default forecast.
    """
    settings = settings_of(source.session, acts)
    if learned:
        settings = with_learned(settings, learned, always=True)
    [tape] = [tape for tape in read_tapes(source.files, settings) if len(tape.days)]
    return work(tape, settings, list(tried(source, tape.days[skip:], rates)))


def trained(chosen: list[Source], n: int, kind: str) -> TrainedFile:
    """Return a file of a kind trained on the first `n` days of all sources."""
    samples = []
    for source in chosen:
        settings = settings_of(source.session, "minute")
        for tape in read_tapes(source.files[:n], settings):
            samples += samples_of(tape, settings, kind)
    return TrainedFile.of(fit(samples, settings, 0))


def settings_of(session: SessionRule, acts: str) -> CoreSettings:
    """Return the settings that days are worked under."""
    plans = PlanSettings(fills="scheduled", act=acts, keep_ended_ns=60 * SECOND_NS)
    return CoreSettings(session=session, apply="in_event_time", plans=plans)


def work(tape: SymbolTape, settings: CoreSettings, orders: Sequence[Trial]) -> list[Worked]:
    """Return orders, worked by one engine that goes over the whole tape."""
    bench = Bench(tape, {day.name: _study(day) for day in tape.days}, {}, settings.plans)
    tried = {f"{i}": trial for i, trial in enumerate(orders)}
    events = [dataclasses.replace(trial.order.event(), cl_ord_id=name) for name, trial in tried.items()]
    events.sort(key=lambda event: event.ts_event)
    by_plan: dict[str, list[Plan]] = {}
    by_slice: dict[str, list[Slice]] = {}
    for output in outputs(_batches(tape), events, settings):
        message = output.message
        if output.topic is Topic.PLANS and isinstance(message, Plan):
            by_plan.setdefault(message.cl_ord_id, []).append(message)
        elif isinstance(message, Slice):
            by_slice.setdefault(message.cl_ord_id, []).append(message)
    acts = settings.plans.act
    return [_judged(bench, trial, by_plan[name], by_slice.get(name, []), acts) for name, trial in tried.items()]


def _batches(tape: SymbolTape) -> Iterator[TickBatch]:
    for begin in range(0, len(tape.batch), 5_000):
        yield tape.batch.take(slice(begin, begin + 5_000))


def _study(day: Day) -> DayStudy:
    """Return the day for policies that know no forecast."""
    none = np.zeros(0)
    return DayStudy(day, (Lines(none, none), Lines(none, none)), none, none, 0.0, none, none, none, none)


def tried(
    source: Source, days: Sequence[Day], rates: Sequence[float] = RATES, every_min: int | None = None
) -> Iterator[Trial]:
    """Yield orders of both sides, from one window's start to the next `every_min`, by default disjoint."""
    for i, day in enumerate(days):
        rate = rates[i % len(rates)]
        for begin, end in source.stretches:
            question = Question((), (rate,), (), source.window_min, every_min, begin, end, trimmed=False)
            yield from (trial for trial in trials(question, day) if isinstance(trial, Trial))


def _judged(bench: Bench, trial: Trial, plans: list[Plan], slices: list[Slice], acts: str) -> Worked:
    order, day = trial.order, bench.studies[trial.day].day
    row, intervals, name = SIDES.index(order.side), day.intervals, SLICES if acts == "slices" else ENGINE
    begin, n = intervals.index(order.start), intervals.index(order.end) - intervals.index(order.start)
    shares: dict[str, float] = defaultdict(float)
    at = np.arange(begin, begin + n)
    priced = evaluate(bench, [trial], ("twap", TWAP_SLICES, "hindsight"), {})[0].priced
    first = plans[0] if plans[0].cost_band is not None and sum(plans[0].qty) == order.qty else None
    if acts == "slices":
        left = max(order.qty - sum(one.qty for one in slices), 0) / QUANTA
        takes = Takes.of(slices, left, order.end - bench.plans.slice_interval_ns)
        latencies = {name: bench.plans.slice_latency_ns} | {late(s): s * SECOND_NS for s in LATENCY_S}
        costs = {key: within.price(intervals, row, takes, ns) for key, ns in latencies.items()}
        planned = costs[name].own
        for one in slices:
            shares[one.reason] += one.qty / QUANTA
        shares["left"] += left
    else:
        path, left = _traded(plans, order.start, n, intervals.interval_ns, order.qty / QUANTA)
        own, over = intervals.costs(row, at, path)
        moved = within.moves(intervals, order.start, n)
        cost = float(own.sum())
        costs = {name: within.Cost(cost, within.later(cost, row, path, moved), float(over.sum()))}
        planned = math.nan
        if first is not None:
            whole = np.zeros(n)
            for start, qty in zip(first.start, first.qty, strict=True):
                whole[intervals.index(start) - begin] += qty / QUANTA
            planned = float(intervals.costs(row, at, whole)[0].sum())
    priced = dataclasses.replace(
        priced,
        cost={**priced.cost, **{key: cost.own for key, cost in costs.items()}},
        later={**priced.later, **{key: cost.later for key, cost in costs.items()}},
        beyond={**priced.beyond, **{key: cost.beyond for key, cost in costs.items()}},
        left={**priced.left, **dict.fromkeys(costs, left)},
    )
    return Worked(priced, first, planned, shares)


def late(seconds: int) -> str:
    """Return the name of slices that are executed `seconds` after their decision."""
    return f"{SLICES} {seconds} s"


def _traded(plans: Sequence[Plan], start: int, n: int, interval: int, qty: float) -> tuple[Float, float]:
    """Return what plans traded in each interval, what was left with the last one, and what was left."""
    path = np.zeros(n)
    for t in range(n):
        begin = start + t * interval
        made = [plan for plan in plans if plan.as_of <= begin]
        now = dict(zip(made[-1].start, made[-1].qty, strict=True)) if made else {}
        path[t] = min(now.get(begin, 0) / QUANTA, qty - path.sum())
    left = qty - float(path.sum())
    path[-1] += left
    return path, left


def coverage(found: Sequence[Worked]) -> tuple[int, float, float, float]:
    """Return the number of plans, the shares that their 80% and 95% bands held, and the mean log(cost / expected)."""
    held = []
    for one in found:
        plan = one.first
        if plan is None or plan.cost_band is None or plan.cost_band_95 is None or plan.expected_cost is None:
            continue
        cost = one.planned or math.nan
        bands = (low <= cost <= high for low, high in (plan.cost_band, plan.cost_band_95))
        held.append((*bands, math.log(cost / plan.expected_cost)))
    inner, outer, error = np.array(held, np.float64).mean(axis=0)
    return len(held), float(inner), float(outer), float(error)


def _line(name: str, found: Sequence[Worked]) -> str:
    n, inner, outer, error = coverage(found)
    return f"{name:10} {n:5} plans: 80% band held {inner:.3f}, 95% band {outer:.3f}; mean log error {error:+.3f}"


def worth(name: str, found: Sequence[Worked], policy: str) -> str:
    """Return lines on captures and savings of one policy; of slices by latency too, and what they took by reason."""
    orders = [one.priced for one in found]
    by_latency = [late(s) for s in LATENCY_S] if policy == SLICES else []
    figures = pooled(orders, ("twap", TWAP_SLICES, policy, *by_latency), 0)
    head = f"{name:10} {len(orders):4} orders, TWAP {figures['twap']['cost_bps']:.2f} bps"
    head += f", at decisions {figures[TWAP_SLICES]['cost_bps']:.2f}; beats TWAP {figures[policy]['beat_twap']:.0%}"
    lines = [head] + [f"    {label:20} {_worth(figures[label])}" for label in by_latency or [policy]]
    shares = sum((Counter(one.shares) for one in found), Counter[str]())
    if shares:
        whole = shares.total()
        lines.append("    " + ", ".join(f"{reason} {qty / whole:.1%}" for reason, qty in shares.most_common()))
    return "\n".join(lines)


def _worth(figures: Mapping[str, Any]) -> str:
    """Return the captures over the mid of the trade and the later ones, with 90% intervals, and bps of the notional."""
    captures = [figures["capture"], *figures["capture_later"]]
    intervals = [figures["capture_ci90"], *figures["capture_later_ci90"]]
    bps = [figures["saved_bps"], *figures["saved_later_bps"]]
    return "; ".join(
        f"{label} {capture:.2f} ({low:.2f} to {high:.2f}) {saved:.2f} bps"
        for label, capture, (low, high), saved in zip(
            ("own mid", "1 min later", "5 min"), captures, intervals, bps, strict=True
        )
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="Worth and bands on recorded days.")
    parser.add_argument("data", type=Path)
    parser.add_argument("what", choices=("bands", "worth"))
    parser.add_argument("--days", default=None, metavar="FIRST:LAST")
    parser.add_argument("--symbols", nargs="*", default=[])
    parser.add_argument("--rates", type=float, nargs="*", default=list(RATES), help="of the volume, in turn by day")
    parser.add_argument("--acts", nargs="*", choices=("minute", "slices"), default=["minute", "slices"])
    parser.add_argument("--learned", choices=KINDS, help="plans follow a file trained on the A-share days before")
    asked = parser.parse_args()
    default = "1:40" if asked.what == "bands" else "41:50"
    first, last = (int(part) for part in (asked.days or default).split(":"))
    chosen = [s for s in sources(asked.data, first, last) if not asked.symbols or s.symbol in asked.symbols]
    learned: TrainedFile | str = ""
    if asked.what == "bands" or asked.learned:
        chosen = [source for source in chosen if source.market == "A-shares"]
    if asked.learned:
        learned = trained(
            [s for s in sources(asked.data, 1, first - 1) if s.market == "A-shares"], first - 1, asked.learned
        )
    for acts in asked.acts:
        policy = SLICES if acts == "slices" else ENGINE
        by_market: dict[str, list[Worked]] = {}
        for source in chosen:
            ashare = source.market == "A-shares"
            found = worked(source, acts, min(first - 1, HISTORY) if ashare else 0, asked.rates, learned)
            by_market.setdefault(source.market, []).extend(found)
            line = _line(source.symbol, found) if asked.what == "bands" else worth(source.symbol, found, policy)
            print(f"{acts:7} {line}", flush=True)  # noqa: T201  (a command)
        for market, found in by_market.items():
            if market == "A-shares":
                line = _line(market, found) if asked.what == "bands" else worth(market, found, policy)
                print(f"{acts:7} {line}", flush=True)  # noqa: T201  (a command)


if __name__ == "__main__":
    main()

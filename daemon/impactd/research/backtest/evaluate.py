"""One order under every policy, priced on the same tape.

Costs are what walking the recorded books would have cost at the executed quantities.  The books stay as recorded: an
order does not move later ones, except in the sensitivity to its own footprint.  There a share of what an order has
taken in one interval is still missing from the books of the next; or the flow of others reacts to it, and the mid stays
moved by a share of how far each interval's walk has gone, which decays by a power law (`reaction`).

Beyond the visible depth a walk costs the last level and rises with the book's own slope.  With `PlanSettings.metaorder`
the law takes the place of that rise, for every policy: an order of Q shares, B of them beyond the books that its walks
met, pays M(Q) - M(Q - B) (`impactd.core.planning.metaorder`).  Where plans have forecasts of the session's deviation
and volume, this has what they came to.

References
----------
.. [1] Bouchaud, Gefen, Potters and Wyart (2004), Fluctuations and Response in Financial Markets, Quantitative Finance
   4(2): the propagator of impact decays with the exponent (1 - gamma) / 2, and signs of trades correlate with a gamma
   near one half.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from impactd.core.base.jit import kernel
from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import MINUTE_NS, SECOND_NS, CoreSettings, PlanSettings
from impactd.core.base.topics import SIDES
from impactd.core.books.interval_cost import Intervals, walk_on
from impactd.core.inputs.ticks import Float, Int
from impactd.core.outputs.messages import Plan
from impactd.core.planning.metaorder import Metaorder
from impactd.research.backtest import policies, within
from impactd.research.backtest.capture import Priced
from impactd.research.backtest.days import Day, SymbolTape
from impactd.research.backtest.live import Run, State, execute_all
from impactd.research.backtest.policies import MAX_STEPS, Lines, Task
from impactd.research.backtest.study import DayStudy
from impactd.research.backtest.windows import Trial
from impactd.research.backtest.within import Takes

ENGINE: Final = "engine"
#: Only where the settings name a trained file.
LEARNED: Final = "engine_learned"
#: Acting within the minute, and TWAP at its decisions.
SLICES: Final = "engine_slices"
TWAP_SLICES: Final = "twap_slices"

#: Share of what was taken in an interval that is still missing in the next: the sensitivity.
PERSISTENCE: Final = (0.1, 0.25, 0.5)

#: Exponent of the decay of the flow's reaction, from the literature [1]_: no recorded day here tells it.
REACTION_DECAY: Final = 0.25

#: From a slice's decision to its execution, seconds: the sensitivity.
LATENCY_S: Final = (0, 1, 3)

#: Policies that the sensitivity is for.
PERSISTENT: Final = ("engine", "twap", "vwap", "hindsight")
REACTED: Final = (*PERSISTENT, SLICES, TWAP_SLICES)


def _model(settings: CoreSettings, **changed: Any) -> CoreSettings:
    return dataclasses.replace(settings, model=dataclasses.replace(settings.model, **changed))


def _minutes(settings: CoreSettings) -> CoreSettings:
    return dataclasses.replace(settings, plans=dataclasses.replace(settings.plans, act="minute"))


#: The service's engine with its default forecast, without one of its parts, and with the trained file of the settings.
ENGINES: Final[Mapping[str, Callable[[CoreSettings], CoreSettings]]] = {
    ENGINE: lambda settings: _minutes(_model(settings, learned="")),
    "engine_no_prior": lambda settings: _minutes(_model(settings, learned="", prior_profile=False)),
    LEARNED: lambda settings: _minutes(_model(settings, learned_use="always")),
    SLICES: lambda settings: dataclasses.replace(
        _model(settings, learned=""), plans=dataclasses.replace(settings.plans, act="slices")
    ),
}

#: Each runs every order again.
VARIANTS: Final = tuple(name for name in ENGINES if name != ENGINE)

#: The ladder: how many intervals ahead are known exactly, by name.
KNOWN: Final[Mapping[str, int]] = {"known_1": 1, "known_5": 5, "known_10": 10}

#: The standing book's line is drawn through its cost at so many times what an interval trades on average.
REACH: Final = 4.0

#: Needed for every figure.
ALWAYS: Final = ("twap", "hindsight")

STRATEGIES: Final = (
    *ENGINES,
    "twap",
    TWAP_SLICES,
    "vwap",
    "vwap_hindsight",
    "persistence",
    "expanding_mean",
    "standing_book",
    *KNOWN,
    "profile_hindsight",
    "hindsight",
)


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """What the orders of one symbol are tried on."""

    tape: SymbolTape
    #: By day.
    studies: Mapping[str, DayStudy]
    #: By engine.
    settings: Mapping[str, CoreSettings]
    #: Time between slices, and their latency.
    plans: PlanSettings = field(default_factory=PlanSettings)
    _tables: dict[tuple[str, int, int], Float] = field(default_factory=dict)

    def walks(self, day: Day) -> Intervals:
        """Return the books of a day as walks are priced on them: with a law, its own takes the place of their rise."""
        return day.intervals if self.plans.metaorder == "off" else dataclasses.replace(day.intervals, rising=0.0)

    def law(self, day: Day, first: int, n: int) -> Metaorder | None:
        """Return the law for an order of the `n` intervals from `first` on; None where it is off."""
        if self.plans.metaorder == "off":
            return None
        sigma = math.sqrt(day.variance() * day.n_open)
        lasts = max(int(day.trades[first : first + n].sum()), 1) / day.n_open
        return Metaorder.of(self.plans, sigma, float(day.volume.sum()), lasts)

    def table(self, study: DayStudy, row: int, step: int, n_steps: int) -> Float:
        """Return the day's costs by interval of 0, 1, ... steps, at least `n_steps`; kept for the next order."""
        key = study.day.name, row, step
        known = self._tables.get(key)
        if known is None or known.shape[1] <= n_steps:
            most = max(n_steps, min(2 * n_steps, MAX_STEPS))
            known = self.walks(study.day).table(row, 0, len(study.day.intervals), step / QUANTA, most)
            self._tables[key] = known
        return known


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One order under all policies."""

    priced: Priced
    #: Shape (n,). Shares by interval.
    paths: Mapping[str, Float]
    #: Cost by share of own depletion that persists, and policy.
    persistent: Mapping[float, Mapping[str, float]]
    #: Cost by share of own displacement that the flow's reaction keeps, and policy, those within the minute too.
    reacted: Mapping[float, Mapping[str, float]]
    #: By latency (seconds) and policy within the minute: cost over the mid of each trade, then over those that follow.
    late: Mapping[int, Mapping[str, tuple[float, ...]]]
    first: Plan | None
    #: Its first plan that had a price.
    expected: Plan | None
    #: What that plan would have cost, had it been left as it was.
    first_cost: float | None


def evaluate(
    bench: Bench, trials: Sequence[Trial], strategies: Sequence[str], states: Mapping[str, State]
) -> list[Outcome]:
    """Return what orders cost under each of `strategies`, each by itself.

    Parameters
    ----------
    trials : sequence of Trial
        Of one symbol, day, start and end.
    strategies : sequence of str
        Of `STRATEGIES`; `ALWAYS` among them.
    states : mapping of str to State
        The engines' states at the orders' start, by name.
    """
    orders = [trial.order for trial in trials]
    runs = {
        name: execute_all(bench.tape, bench.settings[name], states[name], orders)
        for name in strategies
        if name in ENGINES
    }
    return [
        _evaluate(bench, trial, strategies, {name: done[i] for name, done in runs.items()})
        for i, trial in enumerate(trials)
    ]


def _evaluate(bench: Bench, trial: Trial, strategies: Sequence[str], runs: Mapping[str, Run]) -> Outcome:
    """Return what one order cost, given what each engine did with it."""
    order, study = trial.order, bench.studies[trial.day]
    intervals = bench.walks(study.day)
    row = SIDES.index(order.side)
    first = intervals.index(order.start)
    n = intervals.index(order.end) - first
    law = bench.law(study.day, first, n)
    task = Task(order.qty, order.cap, order.lot_size, n)
    at: Int = np.arange(first, first + n, dtype=np.int64)
    lines = study.lines[row]
    known: dict[str, Callable[[], Float]] = {
        "twap": lambda: policies.twap(task),
        "vwap": lambda: policies.vwap_forecast(task, study.volume[first : first + n, first : first + n]),
        "vwap_hindsight": lambda: policies.vwap(task, study.day.volume[first : first + n]),
        "persistence": lambda: policies.persistence(task, lines, first, *study.profile),
        "expanding_mean": lambda: policies.expanding_mean(task, lines, first),
        "standing_book": lambda: policies.standing_book(task, lines, first, _standing(intervals, row, first, task)),
        **{name: functools.partial(policies.known_ahead, task, lines, first, ahead) for name, ahead in KNOWN.items()},
        "profile_hindsight": lambda: policies.profile_hindsight(task, lines, first),
        "hindsight": lambda: _hindsight(bench, study, task, row, first, law),
    }
    paths: dict[str, Float] = {}
    left: dict[str, float] = {}
    takes: dict[str, Takes] = {}
    live: Run | None = None
    for name in strategies:
        left[name] = 0.0
        if name == TWAP_SLICES:
            takes[name] = Takes.even(task.shares, order.start, order.end, bench.plans.slice_interval_ns)
            path = takes[name].by_interval(order.start, n, intervals.interval_ns)
        elif name == SLICES:
            done = runs[name]
            left[name] = done.left
            takes[name] = Takes.of(done.slices, done.left, order.end - bench.plans.slice_interval_ns)
            path = takes[name].by_interval(order.start, n, intervals.interval_ns)
        elif name in ENGINES:
            done = runs[name]
            path = done.qty.copy()
            # What the window's end finds untraded still has to be bought: it goes into the last interval.
            path[-1] += done.left
            left[name] = done.left
            live = done if name == ENGINE else live
        else:
            path = known[name]()
        paths[name] = path
    cost, beyond, later, of_law = {}, {}, {}, {}
    moved = within.moves(intervals, order.start, n)
    for name, path in paths.items():
        if name in takes:
            priced = within.price(intervals, row, takes[name], bench.plans.slice_latency_ns, law)
            cost[name], later[name], beyond[name], of_law[name] = priced
            continue
        cost[name], beyond[name], of_law[name] = _walked(intervals, row, at, path, law)
        later[name] = within.later(cost[name], row, path, moved)
    whole_order = Priced(
        symbol=order.symbol,
        side=str(order.side),
        day=trial.day,
        windows=trial.windows,
        start=order.start,
        block=order.start - (order.start - study.day.open) % (trial.horizon_min * MINUTE_NS),
        horizon_min=trial.horizon_min,
        qty=task.shares,
        notional=task.shares * (intervals.prevailing.mid_from(order.start) or math.nan),
        cost=cost,
        beyond=beyond,
        left=left,
        later=later,
        law={} if law is None else of_law,
    )
    persistent = {
        share: {
            name: _walked(intervals, row, at, path, law, _missing(path, share))[0]
            for name, path in paths.items()
            if name in PERSISTENT
        }
        for share in PERSISTENCE
    }
    late = {seconds: _late(intervals, row, takes, seconds, law) for seconds in LATENCY_S}
    planned = None
    if live is not None and live.first.qty:
        whole = np.zeros(n)
        for start, qty in zip(live.first.start, live.first.qty, strict=True):
            whole[intervals.index(start) - first] = qty / QUANTA
        planned = _walked(intervals, row, at, whole, law)[0]
    first_plan, expected = (None, None) if live is None else (live.first, live.expected)
    return Outcome(
        whole_order, paths, persistent, _reacted(intervals, row, at, paths, cost), late, first_plan, expected, planned
    )


def _walked(
    intervals: Intervals, row: int, at: Int, path: Float, law: Metaorder | None, missing: Float | None = None
) -> tuple[float, float, float]:
    """Return what a path costs, its shares beyond the visible depth, and the law's part of the cost."""
    by_interval, over = intervals.costs(row, at, path, missing)
    cost, beyond = float(by_interval.sum()), float(over.sum())
    part = 0.0 if law is None else law.beyond(float(path.sum()), beyond)
    return cost + part, beyond, part


def _late(
    intervals: Intervals, row: int, takes: Mapping[str, Takes], seconds: int, law: Metaorder | None
) -> dict[str, tuple[float, ...]]:
    """Return what takes cost at a latency, over the mid of each trade and then over those that follow."""
    found = {}
    for name, taken in takes.items():
        cost = within.price(intervals, row, taken, seconds * SECOND_NS, law)
        found[name] = cost.own, *cost.later
    return found


def _standing(intervals: Intervals, row: int, first: int, task: Task) -> Lines:
    """Return the line of the prevailing book as each interval begins: its half-spread, and its cost at `REACH`."""
    books, shares = intervals.prevailing, REACH * task.shares / task.n
    s, beta = np.full(task.n, np.nan), np.full(task.n, np.nan)
    for t in range(task.n):
        k = books.at(intervals.start + (first + t) * intervals.interval_ns - 1)
        if k is not None:
            s[t] = books.half_spread[k]
            cost = walk_on(books.distance[k, row], books.size[k, row], s[t], float(books.depth[k, row]), 0.0, shares)
            beta[t] = max(cost / shares - s[t], 0.0) / shares
    return Lines(s, beta)


def _hindsight(bench: Bench, study: DayStudy, task: Task, row: int, first: int, law: Metaorder | None) -> Float:
    step = policies.step_of(task)
    table = bench.table(study, row, step, min(task.cap, task.qty) // step)[first : first + task.n]
    if law is None:
        return policies.hindsight(task, table, step)
    intervals, at = bench.walks(study.day), np.arange(first, first + task.n, dtype=np.int64)
    over = intervals.beyond(row, first, first + task.n, step / QUANTA, table.shape[1] - 1)

    def charge(x: Float) -> tuple[float, float]:
        return _walked(intervals, row, at, x, None)[:2]

    return policies.hindsight_under(task, table, over, step, law, charge)


def _reacted(
    intervals: Intervals, row: int, at: Int, paths: Mapping[str, Float], cost: Mapping[str, float]
) -> dict[float, dict[str, float]]:
    """Return costs where the flow reacts to the order, by the share of its displacement that is kept, and policy."""
    more = {
        name: reaction(path, _displaced(intervals, row, at, path)) for name, path in paths.items() if name in REACTED
    }
    return {share: {name: cost[name] + share * extra for name, extra in more.items()} for share in PERSISTENCE}


def _displaced(intervals: Intervals, row: int, at: Int, path: Float) -> Float:
    """Return how far the walk of each interval goes beyond the best price, price: twice its average on a line."""
    least = np.minimum(path, 1.0)
    g, best = (np.divide(intervals.costs(row, at, x)[0], x, out=np.zeros_like(x), where=x > 0.0) for x in (path, least))
    return np.asarray(2.0 * np.maximum(g - best, 0.0))


@kernel
def reaction(path: Float, displaced: Float) -> float:
    """Return what trades cost more because of those before them, currency, if all displacement were kept at first.

    Parameters
    ----------
    path : ndarray of float64, shape (n,)
        Shares by interval, negative to sell where both sides trade.
    displaced : ndarray of float64, shape (n,)
        How far each interval's trades have moved the price, in their own direction.
    """
    cost = 0.0
    for t in range(path.shape[0]):
        for s in range(t):
            cost += path[t] * np.sign(path[s]) * displaced[s] * (t - s) ** -REACTION_DECAY
    return cost


@kernel
def _missing(path: Float, share: float) -> Float:
    """Return what is missing from each interval's books where `share` of all taken before persists an interval on."""
    missing = np.zeros(path.shape[0])
    for t in range(1, path.shape[0]):
        missing[t] = share * (missing[t - 1] + path[t - 1])
    return missing

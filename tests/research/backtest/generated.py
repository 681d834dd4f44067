r"""Days whose liquidity is known: flat, so that nothing can be forecast, or of a known shape, noise about it.

In minute t of the session, at the part u of it, each book is drawn anew:

.. math::

   s = s_0 \, S(u) \, e^{a z_t + b z_i},   \qquad  v_k = v_0 \, D(u) \, e^{a z'_t + b z'_{ik}}

with s its half-spread and v_k the size of a level, all z normal and independent:
what a minute shows says nothing about the next one, and books change at the
ends of minutes.  On flat days S and D are 1, and a is large, so that hindsight could save
much and nobody can: an engine that trades on what it sees pays for it.  On days
with a profile a and b are small: what hindsight saves beyond the profile is noise
that nobody can have in advance, and has to be less than what must be captured.
What an *oracle* gets, who has the mean cost of each minute over ten other days and
solves for it exactly, is the yardstick beside hindsight.

To be run by hand, on the engine as it is set by default::

    python -m tests.research.backtest.generated [--days N] [--history N] [--seed N] [--workers N]
        [--set SECTION.NAME=VALUE]
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from impactd.cli.hours import session_settings
from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import MINUTE_NS, CoreSettings, SessionRule
from impactd.core.base.topics import SIDES
from impactd.core.inputs.ticks import BOOK, TRADE, Float, TickBatch
from impactd.core.model.profile.profile import Profile
from impactd.research.backtest import policies
from impactd.research.backtest.capture import Priced, pooled
from impactd.research.backtest.days import Day, SymbolTape
from impactd.research.backtest.evaluate import ENGINE, SLICES, TWAP_SLICES, Outcome
from impactd.research.backtest.policies import Task
from impactd.research.backtest.run import for_backtest, run
from impactd.research.backtest.skill import calibration
from impactd.research.backtest.windows import KINDS, Question, Trial, trials
from impactd.research.generator import SESSION_S, GeneratorSpec, session_open_ns, trading_days
from tests.research.backtest.recorded import NEW_YORK, settings_of, work

_SYMBOL: Final = "MADE"
_MINUTES: Final = SESSION_S // 60
_LEVELS: Final = 10
_BOOKS: Final = 6
_MID: Final = 50.0
_HALF_SPREAD: Final = 0.02
_STEP: Final = 0.01
_SIZE: Final = 300.0
_VOLUME: Final = 900.0
_ORACLE_DAYS: Final = 10

#: Part of the session to a relative level.
Shape = Callable[[Float], Float]


@dataclass(frozen=True)
class World:
    """How liquidity moves within a day, and how noisy it is.

    Attributes
    ----------
    spread, depth : callable
        S and D.
    minute_noise, book_noise : float
        a and b.
    """

    spread: Shape
    depth: Shape
    minute_noise: float
    book_noise: float


def _flat(u: Float) -> Float:
    return np.ones(u.shape)


def _spread(u: Float) -> Float:
    # Wide at the open as anywhere, and again for an hour in the early afternoon, where no prior expects it.
    return np.asarray(1.0 + 1.5 * np.exp(-u / 0.06) + 1.2 * np.exp(-(((u - 0.65) / 0.06) ** 2)))


def _depth(u: Float) -> Float:
    return np.asarray(0.5 + 1.2 * np.exp(-(((u - 0.4) / 0.12) ** 2)) + 1.0 * np.exp(-(1.0 - u) / 0.08))


FLAT: Final = World(_flat, _flat, 0.25, 0.25)
SHAPED: Final = World(_spread, _depth, 0.0, 0.03)


def made(world: World, days: int, seed: int) -> TickBatch:
    """Return the books and trades of trading days one after another."""
    rng = np.random.default_rng(seed)
    return TickBatch.concat(
        [_day(world, session_open_ns(day), rng) for day in trading_days(GeneratorSpec().first_day, days)]
    )


def _day(world: World, open_ns: int, rng: np.random.Generator) -> TickBatch:
    minute = np.repeat(np.arange(_MINUTES), _BOOKS)
    n = minute.size
    u = (minute + 0.5) / _MINUTES

    def noise(per_book: tuple[int, ...]) -> Float:
        of_minute = rng.standard_normal((_MINUTES, *(1 for _ in per_book)))[minute]
        return np.exp(world.minute_noise * of_minute + world.book_noise * rng.standard_normal((n, *per_book)))

    half = _HALF_SPREAD * world.spread(u) * noise(())
    away = half[:, None] + _STEP * np.arange(_LEVELS)
    sizes = [np.maximum(np.rint(_SIZE * world.depth(u)[:, None] * noise((_LEVELS,))), 1.0) for _ in SIDES]
    mid = _MID + 0.005 * np.cumsum(rng.standard_normal(n))
    # A trade after each minute's first book.
    rows = n + _MINUTES
    is_trade = np.zeros(rows, np.bool_)
    is_trade[1 :: _BOOKS + 1] = True
    batch = TickBatch.empty(rows, _LEVELS, (_SYMBOL,))
    books = ~is_trade
    batch.ts_event[books] = open_ns + np.arange(n) * (MINUTE_NS // _BOOKS)
    batch.ts_event[is_trade] = open_ns + np.arange(_MINUTES) * MINUTE_NS + 1_000_000_000
    batch.ts_record[:] = batch.ts_event // 1_000_000 * 1_000_000
    batch.kind[:] = np.where(is_trade, TRADE, BOOK)
    batch.bid_px[books], batch.ask_px[books] = mid[:, None] - away, mid[:, None] + away
    batch.ask_sz[books], batch.bid_sz[books] = sizes
    batch.n_bid[books] = batch.n_ask[books] = _LEVELS
    batch.px[is_trade] = mid[::_BOOKS]
    batch.qty[is_trade] = np.maximum(np.rint(_VOLUME * np.exp(0.5 * rng.standard_normal(_MINUTES))), 1.0)
    return batch


def truth(world: World, knots: int = 79) -> tuple[tuple[float, ...], ...]:
    """Return the world's profile as `ModelSettings.profile` takes it."""
    u = np.linspace(0.0, 1.0, knots)
    spread, excess = np.log(world.spread(u)), -np.log(world.depth(u))
    return Profile(u, spread, excess, np.zeros(knots), np.full(knots, 10.0)).columns()


@dataclass(frozen=True)
class Found:
    """Orders on the days after the history, with what an oracle's schedules cost (policy ``oracle``)."""

    outcomes: tuple[Outcome, ...]

    @property
    def orders(self) -> list[Priced]:
        """The orders, priced."""
        return [outcome.priced for outcome in self.outcomes]


def worked(
    world: World,
    settings: CoreSettings,
    *,
    days: int,
    history: int,
    seed: int,
    question: Question,
    workers: int = 1,
) -> Found:
    """Return orders of the last `days`, worked by an engine that has seen the `history` days before."""
    tape = SymbolTape.of(_SYMBOL, made(world, history + days, seed), settings)
    judged = dataclasses.replace(tape, days=tape.days[history:])
    asked = dataclasses.replace(question, trimmed=False)
    outcomes = run([judged], settings, asked, ("engine", "twap", "hindsight"), workers=workers).outcomes
    tried = [trial for day in judged.days for trial in trials(asked, day) if isinstance(trial, Trial)]
    known = SymbolTape.of(_SYMBOL, made(world, _ORACLE_DAYS, seed + 1), settings).days
    own = {day.name: day for day in judged.days}
    return Found(tuple(_with_oracle(o, t, own[t.day], known) for o, t in zip(outcomes, tried, strict=True)))


def _with_oracle(outcome: Outcome, trial: Trial, own: Day, known: Sequence[Day]) -> Outcome:
    """Return the outcome with the policy of who knows the mean cost of each minute over the days `known`."""
    order = trial.order
    row = SIDES.index(order.side)
    first, last = own.intervals.index(order.start), own.intervals.index(order.end)
    task = Task(order.qty, order.cap, order.lot_size, last - first)
    step = policies.step_of(task)
    n_steps = min(task.cap, task.qty) // step
    table = sum(day.intervals.table(row, first, last, step / QUANTA, n_steps) for day in known) / len(known)
    path = policies.hindsight(task, np.asarray(table), step)
    cost = float(own.intervals.costs(row, np.arange(first, last), path)[0].sum())
    priced = outcome.priced
    none = {"oracle": 0.0}
    known = dataclasses.replace(
        priced,
        cost={**priced.cost, "oracle": cost},
        beyond={**priced.beyond, **none},
        left={**priced.left, **none},
    )
    return dataclasses.replace(outcome, priced=known)


def difference(
    orders: Sequence[Priced], seed: int = 0, draws: int = 2_000, names: tuple[str, str] = (ENGINE, "twap")
) -> tuple[float, float, float]:
    """Return the engine's cost over TWAP's less 1, and its 90% interval: stretches of time drawn again, days apart."""
    blocks: dict[tuple[str, int], list[Priced]] = {}
    for order in orders:
        blocks.setdefault((order.day, order.block), []).append(order)
    sums = np.array([[sum(o.cost[name] for o in block) for name in names] for block in blocks.values()])
    times = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1.0 / len(sums)), size=draws) @ sums
    low, high = np.quantile(times[:, 0] / times[:, 1] - 1.0, (0.05, 0.95))
    engine, twap = sums.sum(axis=0)
    return float(engine / twap - 1.0), float(low), float(high)


def first_days(world: World, session: SessionRule, acts: str, seeds: Sequence[int]) -> list[Priced]:
    """Return hours from the open of symbols' first days, one a seed, worked by the minute or by slices."""
    settings = settings_of(session, acts)
    question = Question(
        depth_shares=(0.02, 0.1), kinds=("windows",), horizon_min=60, from_s=session.open_s, trimmed=False
    )
    found: list[Priced] = []
    for seed in seeds:
        tape = SymbolTape.of(_SYMBOL, made(world, 1, seed), settings)
        for size in (0, 1):
            tried = [trial for trial in trials(question, tape.days[0]) if isinstance(trial, Trial)]
            orders = sorted({trial.order.qty for trial in tried})
            mine = [trial for trial in tried if trial.order.qty == orders[size]]
            found += [dataclasses.replace(one.priced, day=str(seed)) for one in work(tape, settings, mine)]
    return found


def by_kind(found: Found) -> Mapping[str, list[Outcome]]:
    """Return the outcomes of each kind of window that there is."""
    kinds = {kind: [o for o in found.outcomes if kind in o.priced.windows] for kind in KINDS}
    return {kind: mine for kind, mine in kinds.items() if mine}


def main() -> None:
    """Print what the engine does where nothing is predictable, and where the profile is known."""
    parser = argparse.ArgumentParser(description="The engine on days whose liquidity is known.")
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--history", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--depth-share", type=float, nargs="*", default=[0.02, 0.1])
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.NAME=VALUE")
    parser.add_argument("--only", choices=("flat", "profile", "given"))
    parser.add_argument(
        "--first-days", type=int, default=0, metavar="N", help="Only flat first days of so many symbols."
    )
    asked = parser.parse_args()
    if asked.first_days:
        for acts, names in (("minute", (ENGINE, "twap")), ("slices", (SLICES, TWAP_SLICES))):
            orders = first_days(FLAT, NEW_YORK, acts, range(asked.first_days))
            over, low, high = difference(orders, names=names)
            print(f"{acts}: {len(orders)} orders, cost over TWAP's {over:+.2%} ({low:+.2%} to {high:+.2%})")  # noqa: T201
        return
    settings = for_backtest(session_settings(None, tuple(asked.set), None, None)[0])
    given = dataclasses.replace(settings, model=dataclasses.replace(settings.model, profile=truth(SHAPED)))
    cases = {
        "flat": ("flat, first days of a symbol", FLAT, settings, 0),
        "flat after history": ("flat, after its history", FLAT, settings, asked.history),
        "profile": ("a profile, after its history", SHAPED, settings, asked.history),
        "given": ("a profile that the settings give", SHAPED, given, 0),
    }
    for name, (title, world, own, history) in cases.items():
        if asked.only and not name.startswith(asked.only):
            continue
        question = Question(depth_shares=tuple(asked.depth_share))
        found = worked(
            world, own, days=asked.days, history=history, seed=asked.seed, question=question, workers=asked.workers
        )
        print(f"{title}: {asked.days} days judged, {history} of history")  # noqa: T201  (a command)
        print("\n".join(_said(found)), flush=True)  # noqa: T201  (a command)


def _said(found: Found) -> list[str]:
    said = []
    for kind, outcomes in by_kind(found).items():
        orders = [outcome.priced for outcome in outcomes]
        figures = pooled(orders, ("engine", "oracle", "hindsight"), 0)
        over, low, high = difference(orders)
        low_capture, high_capture = figures["engine"]["capture_ci90"] or (math.nan, math.nan)
        said.append(
            f"  {kind:8} {len(orders):3} orders: cost over TWAP's {over:+.2%} ({low:+.2%} to {high:+.2%}), captured"
            f" {figures['engine']['capture']:+.1%} ({low_capture:+.1%} to {high_capture:+.1%}), by an oracle"
            f" {figures['oracle']['capture']:.1%}, beats TWAP {figures['engine']['beat_twap']:.0%}"
        )
        for row in calibration(outcomes, [kind]):
            held = row["as_planned"]
            said.append(f"           bands: 80% held {held['band80']:.1%}, 95% held {held['band95']:.1%}")
    return said


if __name__ == "__main__":
    main()

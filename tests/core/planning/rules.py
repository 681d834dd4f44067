"""Random orders on random paths, judged by their instructions: ``python -m tests.core.planning.rules [N] [SEED]``.

Each order has any instructions that go together.  It is planned, partly filled, and planned again while prices, volumes
and time move on.  Every plan is judged by what the instructions say, written here once more and without the planner's
own bounds; what cannot be known yet (the volume of an interval to come) is taken from the forecast, as plans take it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from impactd.core.allocator.bounds import Int
from impactd.core.allocator.curve import Float
from impactd.core.allocator.solvers.base import SolveFailure
from impactd.core.base.instrument import UNDEFINED
from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import PlanSettings
from impactd.core.base.topics import Side
from impactd.core.inputs.terms import URGENCIES, Terms
from impactd.core.market.symbol import SideView
from impactd.core.model.curves import Curves
from impactd.core.orders.life import refusal
from impactd.core.orders.order import ApplyContext, Order
from impactd.core.planning.propose import Proposals, propose
from tests.core.builders import M, S, at, new

#: Minutes of a session, which has a break.
OPEN, CLOSE, BREAK = 0, 40, (18, 22)
SETTINGS: Final = PlanSettings(auction_open_cutoff_ns=2 * M, auction_close_cutoff_ns=5 * M)


@dataclass
class Path:
    """A market that moves: mid, books, volumes and auctions."""

    rng: np.random.Generator
    mid: float = 100.0
    depth: float = 400.0

    def __post_init__(self) -> None:
        self.slope = 10.0 ** self.rng.uniform(-6, -3)
        self.kind = str(self.rng.choice(["linear", "power"]))
        self.spread = np.exp(self.rng.normal(-4, 0.5, CLOSE + 5))
        self.volume = np.floor(np.exp(self.rng.normal(6, 1.0, CLOSE + 5))) * (self.rng.random() > 0.05)
        self.auction = {kind: float(self.rng.choice([0.0, 900.0, 30_000.0])) for kind in ("open", "close")}
        self.sigma2 = 10.0 ** self.rng.uniform(-5, -1)

    def move(self) -> None:
        self.mid *= float(np.exp(self.rng.normal(0, 0.002)))
        self.depth = float(self.rng.integers(0, 2_000))

    def is_open(self, starts: Int) -> Any:
        minute = (starts - at(0)) // M
        return (minute >= OPEN) & (minute < CLOSE) & ~((minute >= BREAK[0]) & (minute < BREAK[1]))

    def within(self, side: Side, price: float) -> tuple[float, float]:
        """Return the mid, and what a book of ten levels a cent apart shows at a price or better."""
        px = self.mid + side.sign * (0.01 + 0.01 * np.arange(10))
        return self.mid, float(np.sum(self.depth / 10 * (side.sign * (px - price) <= 0.0)))

    def expected(self, starts: Int) -> Float:
        return np.asarray(self.volume[np.clip((starts - at(0)) // M, 0, CLOSE + 4)])

    def auctions(self, begin: int, end: int) -> list[tuple[str, int, float | None]]:
        times = (("open", at(OPEN)), ("close", at(CLOSE)))
        return [(kind, when, self.auction[kind]) for kind, when in times if begin <= when <= end]

    def view(self, side: Side) -> SideView:
        def curves(starts: Int, _rate: float) -> Curves:
            spread = self.spread[np.clip((starts - at(0)) // M, 0, CLOSE + 4)]
            line = np.full(starts.size, self.slope)
            if self.kind == "power":
                return Curves(spread, None, None, line * 30, 0.6, False, True, at(0))
            return Curves(spread, line, None, None, 1.0, False, True, at(0))

        return SideView(
            kind=self.kind, curves=curves, volume=self.expected, sigma2=self.sigma2, fitted_to=None, mid=self.mid,
            depth=self.depth, bands=lambda _n, _rate: None, is_open=self.is_open, so_far=lambda _start: 0.0,  # type: ignore[arg-type]  # no band is asked for
            within=lambda price: self.within(side, price), auctions=self.auctions,
        )  # fmt: skip


def instructions(rng: np.random.Generator, path: Path, now: int, side: Side) -> dict[str, Any]:
    """Return random instructions of an order that is sent at `now`, ns; some do not go together."""
    start = now + int(rng.integers(-60, 240)) * S
    end = max(start, now) + int(rng.integers(20, 1_500)) * S
    if rng.random() < 0.3:
        end = max(at(CLOSE), start + M)
    lot = int(rng.choice([1, 1, 10, 100])) * QUANTA

    def price() -> float:
        return round(path.mid * (1 + side.sign * float(rng.normal(0.0005, 0.002))), 2)

    every: dict[str, Any] = {
        "participation_rate": float(rng.uniform(0.01, 0.5)),
        "min_participation_rate": float(rng.uniform(0.01, 0.2)),
        "target_participation_rate": float(rng.uniform(0.01, 0.3)),
        "max_interval_qty": int(rng.integers(1, 900)) * QUANTA,
        "min_clip_qty": int(rng.integers(1, 300)) * QUANTA,
        "must_complete": True,
        "blackouts": tuple(
            sorted((b, b + int(rng.integers(1, 200)) * S) for b in rng.integers(start, end, 2).tolist())
        ),
        "last_trade": int(rng.integers(start, end + 1)),
        "urgency": float(rng.choice([*URGENCIES.values(), 0.1])),
        "risk_aversion": 10.0 ** float(rng.uniform(-9, 0)),
        "limit_px": price(),
        "limit_offset_bps": float(rng.normal(5, 20)),
        "alpha": {"alpha_bps": float(rng.normal(0, 30)), "alpha_half_life_s": float(rng.integers(1, 4_000))},
        "would": {"would_px": price(), "would_rate": float(rng.uniform(0.01, 1.0))},
        "auctions": {
            "auctions": str(rng.choice(["open", "close", "both"])),
            "auction_rate": float(rng.uniform(0.01, 1.0)),
        },
    }
    found: dict[str, Any] = {"start": start, "end": end, "lot_size": lot}
    for name in rng.choice(sorted(every), int(rng.integers(0, 6)), replace=False).tolist():
        found |= every[name] if isinstance(every[name], dict) else {name: every[name]}
    return found


def faults(order: Order, path: Path, now: int, plan: Proposals) -> Iterator[str]:
    """Yield the instructions that a plan breaks."""
    terms, proposal = order.terms, plan.of(0)
    qty, starts, ends = proposal.qty.tolist(), proposal.intervals.start.tolist(), proposal.intervals.end.tolist()
    entered = sum(entry.left for entry in proposal.auctions)
    if sum(qty) + entered + proposal.shortfall_qty != order.leaves_qty or min(qty, default=0) < 0:
        yield "quantities do not sum"
    yield from _where(terms, path, zip(starts, ends, qty, strict=True))
    yield from _caps(order, path, now, starts, qty)
    yield from _band(order, path, starts, ends, qty)
    yield from _entries(order, path, now, plan)
    if terms.min_clip_qty is not None:
        # One smaller trade ends an order, and its odd remainder may be another.
        small = [q for q in qty[1:] if 0 < q < terms.min_clip_qty]
        if len(small) - any(q < terms.lot_size for q in small) > 1:
            yield "min_clip_qty"


def _where(terms: Terms, path: Path, intervals: Iterator[tuple[int, int, int]]) -> Iterator[str]:
    shut = [*terms.blackouts, *([] if terms.last_trade is None else [(terms.last_trade, terms.end)])]
    for start, end, q in intervals:
        if q and not terms.start <= start < end <= terms.end:
            yield "window"
        if q and not path.is_open(np.array([start // M * M]))[0]:
            yield "calendar"
        if q and any(begin < min(end, until) and until > start for begin, until in shut if begin < until):
            yield "blackouts or last_trade"


def _caps(order: Order, path: Path, now: int, starts: list[int], qty: list[int]) -> Iterator[str]:
    terms = order.terms
    if terms.max_interval_qty is not None and max(qty, default=0) > terms.max_interval_qty:
        yield "max_interval_qty"
    limit = order.limit(path.mid)
    if limit is not None and qty and starts[0] // M * M <= now and qty[0] > path.within(order.side, limit)[1] * QUANTA:
        yield "limit price"


def _band(order: Order, path: Path, starts: list[int], ends: list[int], qty: list[int]) -> Iterator[str]:
    terms, volume, done = order.terms, order.market_volume, order.cum_qty - order.auction_qty
    rate = terms.participation_rate if terms.participation_rate is not None else terms.target_participation_rate
    least, seen, whole = terms.least_rate, volume, done + sum(qty)
    # What else holds quantity back, or has done so, comes first: then the least share is made up later.
    others = (terms.max_interval_qty, terms.last_trade, terms.auctions, order.limit(path.mid), *terms.blackouts)
    free = all(other is None for other in others) and done + terms.lot_size >= (least or 0.0) * seen * QUANTA
    for start, end, q in zip(starts, ends, qty, strict=True):
        done += q
        minute, forecast = start // M * M, float(path.expected(np.array([start // M * M]))[0]) / M
        volume += forecast * (end - max(minute, terms.start))
        if rate is not None and not terms.must_complete and q and done > rate * volume * QUANTA + 1:
            yield "participation"
        if path.is_open(np.array([minute]))[0]:
            seen += forecast * max(end - max(minute, order.works_from), 0)
        if least is not None and free and done + terms.lot_size < min(least * seen * QUANTA, whole):
            yield "least share"


def _entries(order: Order, path: Path, now: int, plan: Proposals) -> Iterator[str]:
    terms = order.terms
    for entry in plan.auctions[0]:
        if entry.cutoff <= now:
            if not any(entry.at == known.at and entry.left <= known.left for known in order.auctions):
                yield "an entry after its cutoff"
            continue
        if not max(terms.start, now) <= entry.at <= terms.end or terms.auctions not in {entry.kind, "both"}:
            yield "auctions"
        if entry.qty > (terms.auction_rate or 0.0) * path.auction[entry.kind] * QUANTA:
            yield "auction_rate"
        if entry.qty % terms.lot_size and sum(one.left for one in plan.auctions[0]) != order.leaves_qty:
            yield "lot of an entry"


def judge(seed: int) -> tuple[int, str | None]:
    """Return how many plans one order had on its path, and what is wrong with the last, or None."""
    rng = np.random.default_rng(seed)
    path, side, now = (
        Path(rng),
        Side.BUY if rng.random() < 0.5 else Side.SELL,
        at(0) + int(rng.integers(-300, 2_100)) * S,
    )
    terms = instructions(rng, path, now, side)
    order = Order.open(new("A", float(rng.integers(1, 9_000)), now, side=side, **terms), now)
    if refusal(order.terms, side, ApplyContext(now, M, 3_000, 100), UNDEFINED) is not None:
        return 0, None
    for step in range(3):
        if order.leaves_qty == 0 or now >= order.terms.end:
            return step, None
        first = propose([order], now, path.view(side), SETTINGS, M, lambda _starts: None)
        again = propose([order], now, path.view(side), SETTINGS, M, lambda _starts: None)
        if isinstance(first, SolveFailure) or isinstance(again, SolveFailure):
            return step, str(first)
        wrong = next(faults(order, path, now, first), None)
        if wrong is None and not np.array_equal(first.qty, again.qty):
            wrong = "planned twice, two plans"
        if wrong is not None:
            return step, wrong
        order.auctions, (order.impact_scale,) = first.auctions[0], first.impact_scales
        rows = [k for k, end in enumerate(first.of(0).intervals.end.tolist()) if end <= now + M]
        traded = sum(int(rng.integers(0, int(first.of(0).qty[k]) + 1)) for k in rows)
        order.cum_qty += traded // order.terms.lot_size * order.terms.lot_size
        minute = now // M * M
        order.market_volume += float(path.expected(np.array([minute]))[0]) if now >= order.works_from else 0.0
        now = minute + M * int(rng.integers(1, 4))
        path.move()
    return 3, None


def main(n: int, seed: int) -> int:
    """Judge `n` orders from `seed` on; print what is wrong and return how many are."""
    wrong = plans = 0
    for k in range(seed, seed + n):
        made, found = judge(k)
        plans += made
        if found is not None:
            wrong += 1
            sys.stdout.write(f"{k} {found}\n")
        if (k - seed + 1) % 5_000 == 0:
            sys.stdout.write(f"{k - seed + 1} so far\n")
            sys.stdout.flush()
    sys.stdout.write(f"{n} orders from seed {seed}, {plans} plans: {wrong} at fault\n")
    return wrong


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    sys.exit(main(*(numbers + [100_000, 0][len(numbers) :])) > 0)

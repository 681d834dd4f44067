"""Generated order books: for demos and load tests, never as evidence of accuracy.

One symbol is a queue of levels a side that events change one at a time:

- Events form a Poisson process, conditioned on their number: uniform draws
  through the inverse of an intensity that is high at the open and the close.
- A *print* takes from the best level; its size has a Pareto tail (exponent 2).
  An emptied level goes, and a new one comes in at the far end.
- A *size change* pulls a level toward its target depth with some noise, so that
  depth comes back after a print and never runs away.  Targets rise away from
  the touch, and over the session.
- A *quote change* works on the spread: one wider than its target is improved
  upon, one narrower loses its best level.  Targets are wide at the open and
  fall within the first half hour.
- The side of events leans against the distance from the day's base price,
  so that prices wander but stay.

Prices are whole ticks and sizes whole lots.  Only uniform draws, arithmetic
and square roots enter, all of which IEEE 754 fixes to the bit, so that a seed gives
the same day on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import kernel
from impactd.core.inputs.ticks import BOOK, TRADE, Float, Int, TickBatch

SESSION_S: Final = 23_400
SESSION_OPEN: Final = time(9, 30)
MARKET_ZONE: Final = ZoneInfo("America/New_York")

#: Draws an event takes.
_N_DRAWS: Final = 5
#: Time slices a day is made in, which bounds memory; what is made does not depend on it.
_SLICES: Final = 26
#: Points of the intensity's cumulative table.
_N_CDF: Final = 391
#: A level never exceeds its target by more than this factor.  A noise of 1 stays below a third of it.
_MOST_DEPTH: Final = 10.0
#: Share of events that are prints, about what Nasdaq's feed shows for a mid-cap.
_PRINT_SHARE: Final = 0.1

_BID: Final = 0
_ASK: Final = 1


@dataclass(frozen=True, slots=True)
class GeneratorSpec:
    """What to make."""

    #: Books a symbol and day.
    snapshots: int = 23_400
    #: Levels a side, 1 to 100.
    levels: int = 10
    #: Named DEMO1, DEMO2, ...; each has its own price, depth and chance.
    symbols: int = 1
    #: Trading days (weekends are left out), from `first_day` on.
    days: int = 1
    seed: int = 0
    first_day: date = date(2025, 6, 2)
    base_price: float = 30.0
    tick_size: float = 0.01
    lot_size: float = 10.0
    #: Typical size of a level near the touch at midday.
    depth_qty: float = 200.0
    #: How strongly spread and depth change over the session (at most 1), and a level's size from one update to the next
    #: (any factor); 0 is not at all, 1 as on real days.
    profile: float = 1.0
    noise: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        bounds = {"snapshots": (1, 10**8), "levels": (1, 100), "symbols": (1, 5_000), "days": (1, 1_000)}
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name}: {value} is not in {low}..{high}")
        if self.seed < 0:
            raise ValueError(f"seed: {self.seed} is negative; choose 0 or more")
        if not (self.tick_size > 0 and self.lot_size > 0 and self.depth_qty >= self.lot_size):
            raise ValueError("tick_size, lot_size: must be positive, and depth_qty at least a lot")
        if not 0.0 <= self.profile <= 1.0:
            raise ValueError(f"profile: {self.profile} is not in 0..1")
        if not 0.0 <= self.noise < np.inf:
            raise ValueError(f"noise: {self.noise} is not a finite number of at least 0")
        if self.base_price < 200 * self.tick_size:
            raise ValueError(f"base_price: {self.base_price} is below 200 ticks, where levels would reach zero")

    def symbol_names(self) -> tuple[str, ...]:
        """Return the symbols' names."""
        return tuple(f"DEMO{i + 1}" for i in range(self.symbols))


def trading_days(first: date, n: int) -> list[date]:
    """Return `n` days from `first` on, without weekends."""
    days: list[date] = []
    day = first
    while len(days) < n:
        if day.weekday() < 5:
            days.append(day)
        day += timedelta(days=1)
    return days


def session_open_ns(day: date) -> int:
    """Return the session's opening, UTC ns."""
    return int(datetime.combine(day, SESSION_OPEN, MARKET_ZONE).timestamp()) * 1_000_000_000


def generate(spec: GeneratorSpec) -> Iterator[TickBatch]:
    """Yield all days of all symbols in the order of time.

    Yields
    ------
    TickBatch
        Books and prints; a print precedes the book that it left.  Offsets count rows
        from 0 on.
    """
    offset = 0
    for number, day in enumerate(trading_days(spec.first_day, spec.days)):
        for batch in _generate_day(spec, number, session_open_ns(day)):
            n = len(batch)
            yield replace(batch, offset=np.arange(offset, offset + n))
            offset += n


def _generate_day(spec: GeneratorSpec, number: int, open_ns: int) -> Iterator[TickBatch]:
    books = [_Symbol(spec, i, number) for i in range(spec.symbols)]
    names = spec.symbol_names()
    for k in range(_SLICES):
        parts = [book.advance((k + 1) / _SLICES, name, open_ns) for book, name in zip(books, names, strict=True)]
        batch = TickBatch.concat([part for part in parts if len(part)])
        if len(batch):
            yield batch.take(np.argsort(batch.ts_event, kind="stable"))


def regular_snapshots(spec: GeneratorSpec) -> tuple[Int, TickBatch]:
    """Return one symbol's day as snapshots at equal times.

    Parameters
    ----------
    spec : GeneratorSpec
        `snapshots` of them; `symbols` and `days` are taken as 1.

    Returns
    -------
    ts : ndarray of int64, shape (snapshots,)
        Ends of equal parts of the session, ns.
    books : TickBatch
        The book that prevailed at each, `ts` as its time.
    """
    busy = replace(spec, snapshots=max(2_000, 50 * spec.snapshots), symbols=1, days=1)
    open_ns = session_open_ns(trading_days(spec.first_day, 1)[0])
    ts = open_ns + np.arange(1, spec.snapshots + 1) * (SESSION_S * 1_000_000_000) // spec.snapshots
    # One part of the day at a time, with the book that prevailed at its start: the whole day is fifty times as large.
    standing, chosen, done = TickBatch.empty(), [], 0
    for batch in generate(busy):
        books = TickBatch.concat([standing, batch.take(batch.kind == BOOK)])
        if not len(books):
            continue
        end = int(np.searchsorted(ts, books.ts_event[-1], side="left"))
        rows = np.searchsorted(books.ts_event, ts[done:end], side="right") - 1
        chosen.append(books.take(np.maximum(rows, 0)))
        standing, done = books.take(slice(len(books) - 1, None)), end
    chosen.append(standing.take(np.zeros(len(ts) - done, np.int64)))
    books = TickBatch.concat(chosen)
    return ts, replace(books, ts_event=ts, ts_record=ts // 1_000_000 * 1_000_000, offset=np.arange(len(ts)))


class _Symbol:
    """One symbol's day in progress."""

    def __init__(self, spec: GeneratorSpec, index: int, day: int) -> None:
        self._spec = spec
        self._rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([spec.seed, index, day])))
        # Symbols differ: the price by up to a factor 8, the depth by up to 4, in a fixed pattern.
        base = spec.base_price * (1.0, 2.5, 0.5, 4.0)[index % 4] * (1.0 + 0.1 * (index // 4 % 10))
        depth = spec.depth_qty * (1.0, 0.5, 2.0)[index % 3]
        self._base_ticks = max(100, round(base / spec.tick_size))
        self._depth_lots = max(1.0, depth / spec.lot_size)
        self._u = _event_times(np.sort(self._rng.random(spec.snapshots)))
        self._next = 0
        k = np.arange(spec.levels)
        self._px = np.stack([self._base_ticks - 2 - k, self._base_ticks + 2 + k]).astype(np.int64)
        self._sz = np.ones((2, spec.levels), np.int64) * max(1, int(self._depth_lots / 2))

    def advance(self, until: float, name: str, open_ns: int) -> TickBatch:
        """Return the rows of the events up to `until`, in parts of the session."""
        stop = int(np.searchsorted(self._u, until, side="right"))
        u = self._u[self._next : stop]
        self._next = stop
        draws = self._rng.random((len(u), _N_DRAWS))
        capacity = 2 * len(u)
        px = np.empty((2, capacity, self._spec.levels), np.int64)
        sz = np.empty((2, capacity, self._spec.levels), np.int64)
        event = np.empty(capacity, np.int64)
        prints = np.zeros((capacity, 3), np.int64)
        spec = self._spec
        n = _evolve(
            u,
            draws,
            self._base_ticks,
            self._depth_lots,
            spec.profile,
            spec.noise,
            self._px,
            self._sz,
            px,
            sz,
            event,
            prints,
        )
        return self._batch(n, name, open_ns, u, px, sz, event, prints)

    def _batch(self, n: int, name: str, open_ns: int, u: Float, px: Int, sz: Int, event: Int, prints: Int) -> TickBatch:
        tick, lot, levels = self._spec.tick_size, self._spec.lot_size, self._spec.levels
        qty = prints[:n, 1]
        is_print = qty > 0
        batch = TickBatch.empty(n, levels, (name,))
        # Whole nanoseconds; times of events never run back.
        batch.ts_event[:] = open_ns + (u[event[:n]] * (SESSION_S * 1e9)).astype(np.int64)
        batch.ts_record[:] = batch.ts_event // 1_000_000 * 1_000_000
        batch.kind[:] = np.where(is_print, TRADE, BOOK)
        for out, ints, unit in (
            (batch.bid_px, px[_BID], tick),
            (batch.ask_px, px[_ASK], tick),
            (batch.bid_sz, sz[_BID], lot),
            (batch.ask_sz, sz[_ASK], lot),
        ):
            out[:] = _in_units(ints[:n], unit)
            out[is_print] = np.nan
        batch.n_bid[:] = batch.n_ask[:] = np.where(is_print, 0, levels)
        batch.px[:] = np.where(is_print, _in_units(prints[:n, 0], tick), np.nan)
        batch.qty[:] = np.where(is_print, _in_units(qty, lot), np.nan)
        batch.aggressor[:] = np.where(is_print, prints[:n, 2], 0)
        return batch


def _in_units(count: Int, unit: float) -> Float:
    """Return `count` ticks or lots, as the floats nearest to their decimals where the unit is a decimal fraction."""
    per_one = round(1 / unit)
    return np.asarray(count / per_one if per_one > 1 and 1 / per_one == unit else count * unit, np.float64)


def _event_times(draws: Float) -> Float:
    """Return uniform draws as parts of the session, by the inverse of the events' cumulative intensity.

    A U: four times midday's at the open, three and a half at the close.  Element by element,
    products rather than powers: `np.interp` and `**` may round differently elsewhere.
    """
    u = np.arange(_N_CDF) / (_N_CDF - 1)
    early, late = (1.0 - u) * (1.0 - u), u * u
    intensity = 0.6 + 1.8 * early * early * early + 1.5 * late * late * late
    cumulative = np.concatenate([[0.0], np.cumsum(0.5 * (intensity[1:] + intensity[:-1]))])
    cumulative = cumulative / cumulative[-1]
    k = np.clip(np.searchsorted(cumulative, draws, side="right") - 1, 0, _N_CDF - 2)
    part = (draws - cumulative[k]) / (cumulative[k + 1] - cumulative[k])
    return np.asarray((k + part) / (_N_CDF - 1), np.float64)


@kernel
def _shift_in(px: Int, sz: Int, side: int, gap: int, size: int) -> None:
    """Drop the best level; a new one comes in behind the last."""
    last = px.shape[1] - 1
    step = -gap if side == _BID else gap
    new = px[side, last] + step
    for k in range(last):
        px[side, k] = px[side, k + 1]
        sz[side, k] = sz[side, k + 1]
    px[side, last] = max(new, 1)
    sz[side, last] = size


@kernel
def _shift_out(px: Int, sz: Int, side: int, best: int, size: int) -> None:
    """Put a new best level in front; the last one goes."""
    for k in range(px.shape[1] - 1, 0, -1):
        px[side, k] = px[side, k - 1]
        sz[side, k] = sz[side, k - 1]
    px[side, 0] = best
    sz[side, 0] = size


@kernel
def _record(px: Int, sz: Int, out_px: Int, out_sz: Int, row: int) -> None:
    for side in range(2):
        for k in range(px.shape[1]):
            out_px[side, row, k] = px[side, k]
            out_sz[side, row, k] = sz[side, k]


@kernel
def _evolve(
    u: Float,
    draws: npt.NDArray[np.float64],
    base: int,
    depth: float,
    profile: float,
    noise: float,
    px: Int,
    sz: Int,
    out_px: Int,
    out_sz: Int,
    event: Int,
    prints: Int,
) -> int:
    """Apply one event after another to `px` and `sz`, and write each book and print; return the number of rows."""
    levels = px.shape[1]
    n = 0
    for i in range(u.shape[0]):
        at, early = u[i], 1.0 - u[i]
        early4, late4 = early * early * early * early, at * at * at * at
        target_spread = 2.0 + profile * 10.0 * early4 * early4 * early4
        target_depth = depth * (1.0 + profile * (0.5 * at + 0.8 * late4 * late4 - 0.4))
        mid = 0.5 * (px[_BID, 0] + px[_ASK, 0])
        lean = min(0.2, max(-0.2, 5.0 * (base - mid) / base))
        kind, towards, place, amount, chance = draws[i]
        most = _MOST_DEPTH * target_depth
        size = max(1, int(min(target_depth * (0.8 + noise * (amount - 0.5)), most)))
        if kind < _PRINT_SHARE:
            side = _ASK if towards < 0.5 + lean else _BID
            busy = 0.7 + early4 + late4
            wanted = int(0.25 * depth * busy / np.sqrt(1.0 - 0.995 * amount)) + 1
            qty = min(wanted, sz[side, 0])
            event[n] = i
            prints[n, 0] = px[side, 0]
            prints[n, 1] = qty
            prints[n, 2] = 1 if side == _ASK else -1
            n += 1
            sz[side, 0] -= qty
            if sz[side, 0] == 0:
                _shift_in(px, sz, side, 1 + int(2.0 * chance), size)
        else:
            spread = px[_ASK, 0] - px[_BID, 0]
            side = _BID if towards < 0.5 + lean else _ASK
            if place < 0.25 and spread > target_spread * (0.5 + chance) and spread > 1:
                inside = 1 + int(chance * 0.5 * (spread - 1))
                best = px[side, 0] + inside if side == _BID else px[side, 0] - inside
                _shift_out(px, sz, side, best, max(1, size // 2))
            elif place < 0.25 and spread < target_spread * (0.4 + 0.8 * chance):
                # The other side backs off from where the pressure comes.
                _shift_in(px, sz, 1 - side, 1 + int(2.0 * chance), size)
            else:
                k = int(levels * place * place)
                target = target_depth * (0.6 + 0.8 * min(k, 10) / 10.0)
                pulled = sz[side, k] + 0.35 * (target - sz[side, k]) + noise * 0.6 * target * (amount - 0.5)
                sz[side, k] = max(1, int(min(pulled, most) + 0.5))
        _record(px, sz, out_px, out_sz, n)
        event[n] = i
        prints[n, 1] = 0
        n += 1
    return n

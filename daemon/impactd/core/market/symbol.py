"""Per-symbol market state: impact models of both sides, volume, volatility, bands and guard.

Each closed minute updates it (`SymbolMarket.close`); plans read their forecasts
from it (`SymbolMarket.view`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from impactd.core.allocator.curve import added_cost
from impactd.core.allocator.optionality import plain
from impactd.core.base.quick import quick_dataclass
from impactd.core.base.session import Session
from impactd.core.base.settings import CoreSettings
from impactd.core.base.stateful import Lasting
from impactd.core.base.topics import SIDES, Side
from impactd.core.books.aggregator import MinuteAggregator
from impactd.core.books.checks import Book
from impactd.core.books.minute import MinuteStats
from impactd.core.market.bands import HORIZONS, NO_BOOK_BPS, CostBands, Known, LogBands
from impactd.core.market.champion import Champion
from impactd.core.market.guard import Guard
from impactd.core.model.auction import AuctionForecast
from impactd.core.model.curves import BookCurve, Curves
from impactd.core.model.forecaster import REACH, SideModel
from impactd.core.model.learned.forecaster import LearnedSide, around
from impactd.core.model.profile.profile import Profile
from impactd.core.model.volatility import Volatility
from impactd.core.model.volume import VolumeForecast
from impactd.core.outputs.counts import Counts
from impactd.core.outputs.messages import DEFAULT, LEARNED, Model

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Basis:
    """What an expected cost rests on.

    Attributes
    ----------
    history_minutes : float
        Minutes of this symbol and side that the model has learned from, older ones counting less.
    trial_plans : float
        Trial plans of a similar length that have ended, older ones counting less.
    level, coverage : tuple of float
        Of each band: its nominal coverage, and the share of those plans whose cost it held; None before any.
    regime_at : int or None
        When the impact level shifted last, ns.
    """

    history_minutes: float
    trial_plans: float
    level: tuple[float, ...]
    coverage: tuple[float, ...] | None
    regime_at: int | None


@quick_dataclass(frozen=True, slots=True)
class SideView:
    """The market forecast that one side's plans are made with.

    Attributes
    ----------
    curves : callable
        From starts of intervals (int64 ns, shape (N,)) and the shares that a plan trades in an interval to the
        forecast `Curves`, shrunk by the guard at that rate.
    volume : callable
        From starts of intervals to the forecast continuous volume of whole
        intervals, shares, shape (N,); None before the first trade.
    so_far : callable
        From the start of an interval to its continuous volume until now, shares; 0 where it is not in progress.
    is_open : callable
        From starts of intervals to whether the market trades all through each.
    sigma2 : float
        Variance of the mid's change over one interval, currency^2 / share^2.
    fitted_to : float or None
        Largest size in an interval that the model has been fitted to, shares.
    mid : float or None
        Mid at the end of the last minute that had one, or else of the
        prevailing book.
    depth : float or None
        Visible depth of the prevailing book on this side, shares; None without one.
    bands : callable
        From a plan's number of intervals, and the shares that it asks of each on average, to the bands of its cost.
    within : callable
        From a price to the mid of the prevailing book and what it shows at that price or a better one, shares; None
        without a book.
    auctions : callable
        From a begin and an end, ns, to the auctions in [begin, end]: ``open`` or ``close``, when it is held (ns) and
        its expected volume, shares, None if unknown.
    basis : callable
        From a plan's number of intervals to what its expected cost rests on.
    forecaster : str
        Which forecast `curves` are.
    session : callable
        From an instant, ns, to its session's deviation of the mid (price), forecast continuous volume (shares) and
        number of intervals; None while the volume is not known.
    """

    kind: str
    curves: Callable[[Int, float], Curves]
    volume: Callable[[Int], Float | None]
    so_far: Callable[[int], float]
    is_open: Callable[[Int], Bools]
    sigma2: float
    fitted_to: float | None
    mid: float | None
    depth: float | None
    bands: Callable[[int, float], LogBands]
    within: Callable[[float], tuple[float, float] | None] = lambda _price: None
    auctions: Callable[[int, int], list[tuple[str, int, float | None]]] = lambda _begin, _end: []
    basis: Callable[[int], Basis | None] = lambda _n: None
    session: Callable[[int], tuple[float, float, int] | None] = lambda _at: None
    forecaster: str = DEFAULT


class SymbolMarket:
    """Models of both sides, volume and volatility of one symbol.

    Parameters
    ----------
    profile : Profile
        Of spread, excess and volume over the session.
    """

    def __init__(
        self,
        symbol: str,
        settings: CoreSettings,
        session: Session,
        profile: Profile,
        books: MinuteAggregator,
    ) -> None:
        self.symbol = symbol
        self._mid: float | None = None
        self._kind = settings.model.kind
        self._books = books
        interval = settings.books.interval_ns
        self._session, self._interval_ns = session, interval
        self._sides: dict[Side, SideModel | LearnedSide] = {
            side: around(
                SideModel(
                    symbol,
                    side,
                    settings.model,
                    session,
                    profile,
                    interval_ns=interval,
                    min_coverage=settings.books.min_coverage,
                ),
                row,
                settings,
                session,
            )
            for row, side in enumerate(SIDES)
        }
        self._interval = interval
        self._slices = settings.plans.child_slices
        self._bands = {
            side: CostBands(
                row, session, interval, settings.plans.band_level, self._slices, acts=settings.plans.act == "slices"
            )
            for row, side in enumerate(SIDES)
        }
        self._guards = {side: Guard(row, session, interval, self._slices) for row, side in enumerate(SIDES)}
        self._guarded = settings.model.guard
        #: Decides which forecast makes the plans; None without a trained file, or where that always does.
        learned, earns = settings.model.learned, settings.model.learned_use == "earned"
        self._champion = Champion(learned, session, interval, self._slices) if learned and earns else None
        self._leads(learned=bool(learned) and self._champion is None)
        #: By name and side: what seldom changes and is saved under keys of its own.
        self.lasting: dict[str, list[Lasting]] = {
            "trials": [self._guards[side] for side in SIDES],
            "bands": [self._bands[side] for side in SIDES],
        }
        for k, n in enumerate(HORIZONS):
            self.lasting[f"shadows_{n}"] = [self._bands[side].shadows[k] for side in SIDES]
        days = [found for side in SIDES if (found := self._sides[side].lasting) is not None]
        if days:
            self.lasting["days"] = [*days]
        #: Whether estimates and models are published and bands updated. No planned quantity depends on any, so a study
        #: of what is traded may turn them off.
        self.publishes = True
        #: Sides whose impact level shifted in the minute closed last.
        self.shifted: set[Side] = set()
        #: Factor on the expected costs of each side that corrects a persistent bias of fills.
        self.bias: dict[Side, float] = dict.fromkeys(SIDES, 1.0)
        #: Whether another forecast makes the plans since the minute closed last.
        self.switched = False
        #: Start of the minute in which the impact level of each side shifted last, ns.
        self._shifted_at: dict[Side, int | None] = dict.fromkeys(SIDES)
        #: The book that was walked last, whole, and its walks.
        self._asked: tuple[Any, ...] = ()
        self._walks: dict[Side, BookCurve] = {}
        self._volume = VolumeForecast(settings.model, session, profile, interval)
        #: Volume of its auctions.
        self.auctions = AuctionForecast(settings.plans, session, self._volume, interval)
        self._volatility = Volatility(settings.model, interval)

    def close(
        self,
        stats: MinuteStats,
        interval_ns: int,
        counts: Counts,
        paid: tuple[float, ...] | None = None,
    ) -> list[Model]:
        """Update with a closed minute and return the models that it has refitted.

        `paid` is what slices have paid, where orders act so (`impactd.core.slices.watch.Slicer.paid`).
        """
        if stats.mid_close is not None:
            self._mid = stats.mid_close
        self._volatility.update(stats.minute, stats.mid_close)
        self.auctions.update(stats.minute, stats.volume_auction)
        if not stats.halted:
            self._volume.update(stats.minute, stats.volume_continuous)
        models = []
        self.shifted = set()
        champion = self._champion
        self.switched = champion is not None and champion.begin(self._session.day_of(stats.minute))
        if champion is not None and self.switched:
            self._leads(learned=champion.leads)
        end = stats.minute + interval_ns
        prevailing = self._books.prevailing(self.symbol, end)
        for side in SIDES:
            changes = self._sides[side].changes
            refitted = self._sides[side].update(stats.minute, stats)
            if self._sides[side].changes > changes:
                self.shifted.add(side)
                self._shifted_at[side] = stats.minute
            if refitted and prevailing is not None:
                self._sides[side].see(self._walked(prevailing)[side])
            self._judge(side, stats, counts)
            self._compare(side, stats, prevailing)
            if not self.publishes:
                continue
            record = self._sides[side].record(end) if refitted else None
            known = self._known(side, end, prevailing)
            self._score(side, stats, counts, known, paid)
            if record is not None:
                models.append(self._published(record))
        return models

    def _published(self, record: Model) -> Model:
        """Return a side's record as plans use it: corrected for the bias of fills, with the coverage of its bands."""
        ratio, guard = self.bias[record.side], self._guards[record.side]
        record = dataclasses.replace(
            record,
            bands=self._bands[record.side].record(),
            trust=self._trust(record.side, 0.0),
            capture=guard.capture,
            forecaster=LEARNED if self.learned else DEFAULT,
            learned_lead=None if self._champion is None else self._champion.lead,
        )
        if ratio == 1.0:
            return record
        beta, alpha, eta = (None if term is None else term * ratio for term in (record.beta, record.alpha, record.eta))
        return dataclasses.replace(
            record,
            half_spread=record.half_spread * ratio,
            beta=beta,
            alpha=alpha,
            eta=eta,
            se={name: error * ratio for name, error in record.se.items()},
            bias=ratio,
            forecast=None if record.forecast is None else record.forecast.corrected(ratio),
        )

    def _score(
        self, side: Side, stats: MinuteStats, counts: Counts, known: Known, paid: tuple[float, ...] | None = None
    ) -> None:
        """Update the side's bands with the minute, and count the shadow plans that ended in it."""
        bands, longest = self._bands[side], dict[float, Curves]()

        def forecast(starts: Int, rate: float) -> Curves:
            # All begin together: what is forecast for the longest is the shorter ones' too.
            if rate not in longest or len(longest[rate].half_spread) < starts.size:
                longest[rate] = self._sides[side].forecast(starts, rate / self._slices)
            return longest[rate].first(starts.size).shrunk(self._trust(side, rate))

        for n, held in bands.update(stats, forecast, known, paid):
            counts.shadows[n] += 1
            for level, holds in zip(bands.levels, held, strict=True):
                counts.shadows_held[n, level] += holds

    def _known(self, side: Side, at: int, book: Book | BookCurve | None) -> Known:
        """Return how well the level of `side` is known at event time `at` (ns), when `book` prevails."""
        spread_bps = NO_BOOK_BPS
        if book is not None and book.mid > 0.0:  # at or below zero a spread is no part of the price
            spread_bps = 1e4 * book.half_spread / book.mid
        return Known(self._sides[side].minutes, self._sides[side].seen_today(at), spread_bps)

    def _judge(self, side: Side, stats: MinuteStats, counts: Counts) -> None:
        """Update the side's guard with the minute, and count the results of its trials, bps of TWAP's cost."""
        model = self._sides[side]
        for result in self._guards[side].update(
            stats, model.fitted, lambda starts, rate: model.forecast(starts, rate / self._slices)
        ):
            counts.trials += 1
            counts.trials_saved_bps += round(max(result.saved, 0.0) * 1e4)
            counts.trials_lost_bps += round(max(-result.saved, 0.0) * 1e4)
            counts.trials_possible_bps += round(result.possible * 1e4)

    def _compare(self, side: Side, stats: MinuteStats, book: Book | None) -> None:
        """Update the comparison of the default forecast with the learned one, where there is one."""
        model = self._sides[side]
        if self._champion is None or not isinstance(model, LearnedSide):
            return
        curve = None if book is None else self._walked(book)[side]
        self._champion.update(
            SIDES.index(side),
            stats,
            lambda learned, starts, rate: model.forecast_by(learned, starts, rate / self._slices, curve),
        )

    def _curves(self, side: Side, starts: Int, rate: float, book: BookCurve | None = None) -> Curves:
        """Return the forecast of `side`, shrunk by its guard for plans at `rate` (shares an interval)."""
        return self._sides[side].forecast(starts, rate / self._slices, book).shrunk(self._trust(side, rate))

    def _trust(self, side: Side, rate: float) -> float:
        return self._guards[side].trust(rate) if self._guarded else 1.0

    def _leads(self, *, learned: bool) -> None:
        """Make the learned forecast that of plans, or the default one."""
        #: Whether plans are made with the learned forecast.
        self.learned = learned
        for model in self._sides.values():
            if isinstance(model, LearnedSide):
                model.leads = learned

    def forecast(self, side: Side, at: int, starts: Int) -> Curves:
        """Return the forecast of `side` at event time `at` (ns), before its guard and the bias of fills."""
        return self._sides[side].forecast(starts, 0.0, self.prevailing(side, at))

    def forecaster(self, side: Side) -> SideModel | LearnedSide:
        """Return the live model of a side, for a study to read."""
        return self._sides[side]

    @property
    def learned_lead(self) -> float:
        """How clearly the learned forecast is better than the default one, in standard errors; 0 without one."""
        return 0.0 if self._champion is None else self._champion.lead

    @property
    def sigma(self) -> float:
        """Deviation of the mid over one interval, price."""
        return math.sqrt(self._volatility.sigma2)

    @property
    def blind(self) -> bool:
        """Whether the symbol has had no tick yet."""
        return self._books.last_ts(self.symbol) is None

    def _within(self, side: Side, at: int, price: float) -> tuple[float, float] | None:
        book = self._books.prevailing(self.symbol, at)
        if book is None:
            return None
        px, sz = book.offers(side)
        return book.mid, float(np.sum(sz[side.sign * (px - price) <= 0.0]))

    def prevailing(self, side: Side, at: int) -> BookCurve | None:
        """Return the cost curve of the book that prevails at event time `at` (ns); None without one."""
        book = self._books.prevailing(self.symbol, at)
        return None if book is None else self._walked(book)[side]

    def _walked(self, book: Book) -> dict[Side, BookCurve]:
        """Return the walks of a book; those of the last one are kept, as both sides and all plans of a minute ask."""
        sizes = self._books.sizes(self.symbol)
        levels = (book.bid_px, book.bid_sz, book.ask_px, book.ask_sz)
        asked = (book.ts_event, sizes, *(level.tobytes() for level in levels))
        if asked != self._asked:
            self._asked, self._walks = asked, BookCurve.of(book, sizes)
        return self._walks

    def quote(self, at: int) -> tuple[float, float] | None:
        """Return mid and half-spread of the book that prevails at event time `at` (ns); None without one."""
        book = self._books.prevailing(self.symbol, at)
        return None if book is None else (book.mid, book.half_spread)

    def mid_at(self, at: int) -> float | None:
        """Return the mid at event time `at` (ns), or else that of the last closed minute that had one."""
        quote = self.quote(at)
        return self._mid if quote is None else quote[0]

    def expected_cost(
        self, side: Side, at: int, interval: int, before: float, qty: float, child_slices: int
    ) -> float | None:
        """Return the expected cost over mid of `qty` shares, after `before` in the same interval.

        Parameters
        ----------
        at : int
            Event time, ns: the book that prevails then prices them before the first closed minute.
        interval : int
            Start of the interval, ns.
        before, qty : float
            Shares.

        Returns
        -------
        float or None
            Currency; None before the first book.
        """
        # Through the cost of the size itself, which a line drawn for a larger one would miss.
        curves = self.view(side, at).curves(np.array([interval], dtype=np.int64), (before + qty) / REACH)
        p = plain(curves, child_slices=child_slices)
        if not curves.scaled:
            return None
        return float(added_cost(before, qty, p.curve.s[0], p.curve.b[0], p.curve.a[0], p.curve.e[0], p.curve.delta))

    def view(self, side: Side, at: int) -> SideView:
        """Return the forecast for plans of `side` at event time `at` (ns)."""
        book = self.prevailing(side, at)
        return SideView(
            kind=self._kind,
            curves=lambda starts, rate: self._curves(side, starts, rate, book).corrected(self.bias[side]),
            volume=self._volume.forecast,
            so_far=lambda start: self._books.volume_since(self.symbol, start),
            is_open=lambda starts: self._session.open_at(starts, self._interval_ns),
            sigma2=self._volatility.sigma2,
            fitted_to=self._sides[side].fitted_to,
            mid=book.mid if self._mid is None and book is not None else self._mid,
            depth=None if book is None else book.depth,
            bands=lambda n, rate: self._bands[side].of(n, rate, self._known(side, at, book)),
            auctions=self.auctions.between,
            within=lambda price: self._within(side, at, price),
            basis=lambda n: self._basis(side, n),
            session=self._of_session,
            forecaster=LEARNED if self.learned else DEFAULT,
        )

    def _of_session(self, at: int) -> tuple[float, float, int] | None:
        """Return deviation of the mid, volume and number of intervals of the session of `at`; see `SideView`."""
        parts = self._session.segments_on(self._session.day_of(at))
        starts = np.array([at for begin, end in parts for at in range(begin, end, self._interval_ns)], np.int64)
        volume = self._volume.forecast(starts)
        total = 0.0 if volume is None else float(np.sum(volume))
        return (self.sigma * math.sqrt(starts.size), total, starts.size) if total > 0.0 else None

    def _basis(self, side: Side, n: int) -> Basis:
        """Return what the expected cost of a plan of `n` intervals rests on."""
        records = self._bands[side].record()
        near = min(records, key=lambda one: abs(math.log(one.intervals / max(n, 1))), default=None)
        return Basis(
            history_minutes=self._sides[side].minutes,
            trial_plans=0.0 if near is None else near.n_eff,
            level=self._bands[side].levels,
            coverage=None if near is None else near.coverage,
            regime_at=self._shifted_at[side],
        )

    def save(self) -> dict[str, Any]:
        """Return the state as JSON-ready values."""
        return {
            "mid": self._mid,
            "volume": self._volume.save(),
            "auctions": self.auctions.save(),
            "volatility": self._volatility.save(),
            "sides": {str(side): self._sides[side].save() for side in SIDES},
            "bands": {str(side): self._bands[side].save() for side in SIDES},
            "bias": [self.bias[side] for side in SIDES],
            "shifted_at": [self._shifted_at[side] for side in SIDES],
            "guards": {str(side): self._guards[side].save() for side in SIDES},
            **({} if self._champion is None else {"champion": self._champion.save()}),
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        """Continue from what `save` returned, after what is lasting was loaded."""
        self._mid = saved["mid"]
        self._volume.load(saved["volume"])
        self.auctions.load(saved["auctions"])
        self._volatility.load(saved["volatility"])
        for side in SIDES:
            self._sides[side].load(saved["sides"][str(side)])
            self._bands[side].load(saved["bands"][str(side)])
            self._guards[side].load(saved["guards"][str(side)])
        if self._champion is not None:
            self._champion.load(saved.get("champion"))
            self._leads(learned=self._champion.leads)
        self.bias = dict(zip(SIDES, saved["bias"], strict=True))
        self._shifted_at = dict(zip(SIDES, saved["shifted_at"], strict=True))

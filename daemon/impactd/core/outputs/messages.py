"""Published messages of the core: one frozen dataclass per message.

Fields are in the order in which they are published.  A field's type gives its
form and unit (`impactd.core.outputs.units`), the text its meaning; the encoder
(`impactd.wire.records`), AsyncAPI and the reference are generated from them.
``SCHEMA`` is the record's `schema` header: its version rises when a field
changes its meaning, not when one is added.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Final

from impactd.core.base.quick import quick_dataclass
from impactd.core.base.topics import Side, Topic
from impactd.core.outputs.units import (
    Bps,
    Count,
    Currency,
    PerShare,
    Price,
    Quanta,
    Seconds,
    Share,
    Size,
    Time,
    Urgency,
    WholeSeconds,
)

ClOrdId = Annotated[str, "The parent order."]
Symbol = Annotated[str, "The instrument."]
BuyOrSell = Annotated[Side, "`buy` or `sell`."]
AsOf = Annotated[Time, "Event time of the decision."]
CurveKind = Annotated[str, "Shape of the impact curve."]
CurveUnit = Annotated[str, "Unit of the curve."]
Interval = Annotated[WholeSeconds, "Length of an interval."]
CostReason = Annotated[str, "`fill`, `correct` or `bust`."]
Arrival = Annotated[Price | None, "Mid when the order began to work."]
AvgPx = Annotated[Price | None, "Average price of the fills."]
Fills = Annotated[Count, "Number of fills."]
MarketVolume = Annotated[Size, "Continuous volume over which `market_vwap` is taken."]
MarketVwap = Annotated[Price | None, "VWAP of the market's continuous volume while the order worked."]
SlippageBps = Annotated[Bps | None, "Average price against mid."]
PredictedBps = Annotated[Bps | None, "Cost that the model predicted."]
ArrivalBps = Annotated[Bps | None, "Average price against the arrival price; positive is a loss."]
VwapBps = Annotated[Bps | None, "Average price against the market's VWAP."]
SpreadCost = Annotated[Currency | None, "Cost of the half-spread."]
ImpactCost = Annotated[Currency | None, "Cost of walking the book beyond the half-spread."]
TimingCost = Annotated[Currency | None, "Cost of the mid's move since the arrival."]
OpportunityCost = Annotated[Currency | None, "Cost of what was not traded."]
Shortfall = Annotated[Currency | None, "Implementation shortfall: the sum of its four parts."]
CostCurrency = Annotated[str | None, "Currency of the costs, of the instrument's definition; null without one."]
Multiplier = Annotated[
    float, "Currency that one unit of quantity gains when the price rises by 1; costs are already multiplied by it."
]
SlippageTicks = Annotated[float | None, "Average price against mid, in ticks; null where the tick size is not known."]
Forecaster = Annotated[
    str,
    "Forecast that plans are made with: `default`, which is left out, or `learned`, that of the trained file "
    "(`model.learned`).",
]

#: The forecasters.
DEFAULT: Final = "default"
LEARNED: Final = "learned"

#: Marks a field that is not published while it has its default.
LEFT_OUT: Final = {"left_out": True}


@quick_dataclass(frozen=True, slots=True)
class Estimate:
    """Slippage of one symbol and side over one closed minute.

    ``slippage[k]``, ``coverage[k]`` and ``lower_bound[k]`` belong to ``sizes[k]``.
    """

    SCHEMA: ClassVar = "impactd.estimate/1"

    symbol: Symbol
    side: BuyOrSell
    minute: Annotated[Time, "Start of the minute."]
    interval_s: Interval
    n_books: Annotated[Count, "Usable books."]
    n_rejected: Annotated[Count, "Rejected ticks; see [errors](errors.md#rejected-rows)."]
    n_late: Annotated[Count, "Ticks that arrived after their minute had closed."]
    covered_s: Annotated[Seconds, "Time in the minute during which a usable book was in force."]
    mid: Annotated[Price | None, "Time-weighted mid."]
    half_spread: Annotated[PerShare | None, "Time-weighted half-spread."]
    volume_continuous: Annotated[Size | None, "Continuous volume; null where no trade was seen."]
    volume_auction: Annotated[Size | None, "Auction volume; null where no trade was seen."]
    sizes: Annotated[tuple[Size, ...], "The grid of sizes."]
    slippage: Annotated[
        tuple[PerShare | None, ...],
        "Average fill price of each size against mid over the time that the book held it; positive is adverse, null "
        "if the book never held it.",
    ]
    coverage: Annotated[tuple[Share, ...], "Share of `covered_s` for which the book held each size."]
    lower_bound: Annotated[
        tuple[PerShare | None, ...],
        "Average over all of `covered_s`; what the visible depth does not hold is priced at the last visible level.",
    ]
    venue: Annotated[
        str | None,
        "Its venue; left out for the symbol itself, merged from the venues that ticks name.",
    ] = field(default=None, metadata=LEFT_OUT)


@quick_dataclass(frozen=True, slots=True)
class BandRecord:
    """Recent coverage of plan cost bands for one number of intervals (`impactd.core.market.bands`).

    ``level``, ``log_width`` and ``coverage`` have one entry per band.
    """

    intervals: Annotated[Count, "Number of intervals that the band is for."]
    n_eff: Annotated[float, "Disjoint shadow plans, discounted."]
    level: Annotated[tuple[Share, ...], "Nominal coverage of each band."]
    log_middle: Annotated[float, "Centre of log(realised / expected) for the next plan."]
    log_width: Annotated[tuple[float, ...], "Half-width of log(realised / expected) about the centre, one a band."]
    coverage: Annotated[tuple[Share, ...], "Discounted share of shadow plans whose cost each band held."]


@quick_dataclass(frozen=True, slots=True)
class ForecastRecord:
    """Coefficients of the intervals that begin ``intervals[k]`` intervals after a model's `as_of`.

    None where the kind has no such term; the exponent is the model's.
    """

    intervals: Annotated[tuple[Count, ...], "How many intervals ahead."]
    half_spread: Annotated[tuple[PerShare, ...], "Half-spread."]
    beta: Annotated[tuple[float, ...] | None, "Slope: rise of the curve per share."]
    alpha: Annotated[tuple[float, ...] | None, "Coefficient of q squared."]
    eta: Annotated[tuple[float, ...] | None, "Coefficient of q to the power of `delta`."]

    def corrected(self, ratio: float) -> ForecastRecord:
        """Return it with every coefficient multiplied by `ratio`."""
        half_spread = tuple(value * ratio for value in self.half_spread)
        terms = (self.beta, self.alpha, self.eta)
        beta, alpha, eta = (None if term is None else tuple(value * ratio for value in term) for term in terms)
        return ForecastRecord(self.intervals, half_spread, beta, alpha, eta)


@quick_dataclass(frozen=True, slots=True)
class Model:
    """Summary of one (symbol, side) model after a closed minute; g in price per share."""

    SCHEMA: ClassVar = "impactd.model/1"

    symbol: Symbol
    side: BuyOrSell
    as_of: AsOf
    kind: CurveKind
    unit: CurveUnit
    intercept: Annotated[bool, "Whether the half-spread was fitted."]
    half_spread: Annotated[PerShare, "Half-spread of the curve."]
    beta: Annotated[float | None, "Slope: rise of the curve per share."]
    alpha: Annotated[float | None, "Coefficient of q squared."]
    eta: Annotated[float | None, "Coefficient of q to the power of `delta`."]
    delta: Annotated[float | None, "Exponent of the power model."]
    se: Annotated[dict[str, float], "Standard errors of the coefficients, by name."]
    n_eff: Annotated[float, "Observations, discounted."]
    r2: Annotated[float | None, "R2 of the minute's fit."]
    prior: Annotated[bool, "Whether the model rests on the generic session profile."]
    regime: Annotated[Count, "Changes of regime so far."]
    fitted_range: Annotated[tuple[Size, Size] | None, "Smallest and largest size that the model was fitted on."] = None
    bands: Annotated[tuple[BandRecord, ...], "Recent coverage of plan cost bands, by number of intervals."] = ()
    bias: Annotated[
        float, "Ratio by which expected costs are corrected for a persistent bias of taker fills; 1: no correction."
    ] = 1.0
    forecast: Annotated[
        ForecastRecord | None, "Forecast coefficients of the coming intervals; null where there is no forecast."
    ] = None
    trust: Annotated[Share, "How far plans follow the forecast: 0 = TWAP, 1 = unchanged."] = 1.0
    capture: Annotated[
        float | None, "Share of the possible saving that recent trials of the forecast captured; null before any ended."
    ] = None
    forecaster: Forecaster = field(default=DEFAULT, metadata=LEFT_OUT)
    learned_lead: Annotated[
        float | None,
        "How clearly the learned forecast has saved more than the default one on recent days, standard errors; "
        "left out where they are not compared.",
    ] = field(default=None, metadata=LEFT_OUT)


@quick_dataclass(frozen=True, slots=True)
class ModelRef:
    """The model that a plan was made with."""

    kind: CurveKind
    unit: CurveUnit
    as_of: Annotated[Time | None, "End of the minute that the model rests on."]
    prior: Annotated[bool, "Whether the model rests on the generic session profile."]
    transient_share: Annotated[Share, "Part of the measured linear impact that outlasts its interval and decays."] = 0.0
    resilience_half_life_s: Annotated[Seconds | None, "Half-life of that part; null where there is none."] = None
    forecaster: Forecaster = field(default=DEFAULT, metadata=LEFT_OUT)


@quick_dataclass(frozen=True, slots=True)
class Certificate:
    """Proof of optimality that comes with a plan."""

    solver: Annotated[str, "Solver of the schedule."]
    multiplier: Annotated[PerShare | None, "Marginal cost at the optimum."]
    kkt_residual: Annotated[float | None, "Relative residual of the optimality conditions."]
    gap: Annotated[
        Currency | None,
        "Upper bound of the plan's cost above the best one in whole lots; null where it is the best one.",
    ] = None


@dataclass(frozen=True, slots=True)
class AuctionEntry:
    """An order's entry in one auction, in addition to its schedule."""

    kind: Annotated[str, "`auction_open` or `auction_close`."]
    at: Annotated[Time, "When the auction is held."]
    cutoff: Annotated[Time, "Deadline of the entry; from then on it cannot be changed."]
    qty: Annotated[Quanta, "What to enter; of an auction under way, what it has not filled."]
    limit_px: Annotated[Price | None, "Limit of the entry; null: at the auction's price."]
    expected_volume: Annotated[Size | None, "Expected volume of the auction; null if unknown."]
    rate: Annotated[Share, "Largest share of the auction's volume that the entry is for: `auction_rate`."]
    expected_cost: Annotated[
        Currency | None,
        "Expected cost of the entry, above the price that the auction would have without it; no part of the plan's "
        "`expected_cost`; null if unknown.",
    ] = None


@dataclass(frozen=True, slots=True)
class VenuePart:
    """What the interval under way is to take at one venue (`impactd.core.planning.venues`)."""

    venue: Annotated[str, "The venue."]
    qty: Annotated[Quanta, "What to take there."]
    limit_px: Annotated[Price, "Worst price that it takes there."]
    avg_px: Annotated[Price, "Average price by the book that prevails there, without the fee."]
    fee: Annotated[Currency, "Fee; negative is a rebate."]


@quick_dataclass(frozen=True, slots=True)
class SupplyPoint:
    """What a plan's first interval trades at one marginal price."""

    px: Annotated[PerShare, "Marginal cost over mid of a unit of quantity."]
    qty: Annotated[Quanta, "Quantity that the interval's forecast curve offers at this price or less."]


@quick_dataclass(frozen=True, slots=True)
class Plan:
    """The schedule of what is left of one parent order."""

    SCHEMA: ClassVar = "impactd.plan/1"

    cl_ord_id: ClOrdId
    symbol: Symbol
    side: BuyOrSell
    plan_version: Annotated[Count, "Counts the plans of an order from 1."]
    as_of: AsOf
    reason: Annotated[
        str,
        "What caused the plan: `new`, `replace`, `cancel`, `fill`, `correct`, `bust`, `minute`, `price`, `control`, "
        "`group`, `done` or `expired`.",
    ]
    status: Annotated[str, "Status of the order."]
    text: Annotated[str | None, "Why it is halted, rejected or ended; null otherwise."]
    group_id: Annotated[str | None, "Names the orders that were planned together; null for one planned by itself."]
    order_qty: Annotated[Quanta, "Quantity of the parent."]
    cum_qty: Annotated[Quanta, "Quantity filled so far."]
    leaves_qty: Annotated[Quanta, "Quantity left: `order_qty - cum_qty`."]
    shortfall_qty: Annotated[Quanta, "Part of `leaves_qty` that caps and window cannot hold."]
    interval_s: Interval
    child_slices: Annotated[Count, "Slices that an interval is priced in, full resilience between them assumed."]
    extrapolated_qty: Annotated[Quanta, "Quantity planned beyond the sizes that the model was fitted on."]
    start: Annotated[tuple[Time, ...], "Start of each interval."]
    qty: Annotated[tuple[Quanta, ...], "What to trade in each interval."]
    cap: Annotated[
        tuple[Quanta | None, ...],
        "Most that each interval may trade if those before it trade as planned; null: no limit.",
    ]
    expected_cost: Annotated[
        Currency | None,
        "Expected cost of the schedule above mid; where slices act, times what they have paid lately over equal ones. "
        "Entries in auctions state their own.",
    ]
    expected_cost_bps: Annotated[Bps | None, "`expected_cost` relative to mid."]
    twap_cost: Annotated[Currency | None, "Expected cost of equal quantities by the same model."]
    saving_bps: Annotated[Bps | None, "`twap_cost - expected_cost` relative to mid."]
    cost_band: Annotated[
        tuple[Currency, Currency] | None, "Lowest and highest cost of the whole plan, at `plans.band_level`."
    ]
    model: Annotated[ModelRef | None, "The model that the plan was made with; null without a schedule."]
    certificate: Annotated[Certificate | None, "Proof of optimality; null without a schedule."]
    cost_band_95: Annotated[tuple[Currency, Currency] | None, "The same at 0.95."] = None
    lifted_qty: Annotated[
        Quanta, "Part of the plan above what `participation_rate` allows, planned because of `must_complete`."
    ] = 0
    blind: Annotated[bool, "True: the symbol has had no tick, so neither price nor volume is known."] = False
    cl_ord_ids: Annotated[tuple[str, ...], "Every id of the order's chain, oldest first."] = ()
    mid: Annotated[Price | None, "Mid that the costs are above; null if unknown, or without a schedule."] = None
    limit_px: Annotated[Price | None, "Limit price of the order: trade at no worse price; null without one."] = None
    expected_shortfall_qty: Annotated[
        Quanta | None,
        "Quantity that the limit price is expected to leave untraded, `shortfall_qty` included; null without a "
        "limit price.",
    ] = None
    end: Annotated[Time | None, "When the last interval ends; null without a schedule."] = None
    window: Annotated[
        tuple[Time, Time] | None,
        "When the order may trade: from its start, or from its arrival if that is later, to its end.",
    ] = None
    participation_rate: Annotated[
        Share | None, "Largest share of the continuous volume in force, the target included; null without one."
    ] = None
    min_participation_rate: Annotated[
        Share | None, "Least share of the continuous volume in force, the target included; null without one."
    ] = None
    min_clip_qty: Annotated[Quanta | None, "Least that an interval trades if it trades; null without one."] = None
    urgency: Annotated[Urgency, "How much cost is worth less risk; 0: none."] = 0.0
    currency: CostCurrency = None
    multiplier: Multiplier = 1.0
    expected_cost_ticks: Annotated[
        float | None, "`expected_cost` of a unit of quantity, in ticks; null where the tick size is not known."
    ] = None
    auctions: Annotated[
        tuple[AuctionEntry, ...],
        "Entries in auctions, in order of time: `qty`, these and `shortfall_qty` sum to `leaves_qty`.",
    ] = ()
    avg_px: Annotated[
        Price | None,
        "Average price of the reported fills; null without one. Where quantity counts as executed without a fill, "
        "`cum_qty` is more than these.",
    ] = None
    would_px: Annotated[
        Price | None, "Price at which the order trades at once, or a better one; null without a would price."
    ] = None
    would_qty: Annotated[
        Quanta | None,
        "Part of the first interval to take at once, at `would_px` or better: what the order may take of "
        "the book that prevails; null without a would price.",
    ] = None
    venues: Annotated[
        tuple[VenuePart, ...],
        "Cheapest split of the first interval, where it is under way, by the books that prevail, with fees, in whole "
        "lots; left out where ticks name no venue.",
    ] = field(default=(), metadata=LEFT_OUT)
    venues_left_qty: Annotated[
        Quanta | None, "Part of that interval that those books do not hold; left out where ticks name no venue."
    ] = field(default=None, metadata=LEFT_OUT)
    venues_cost: Annotated[
        Currency | None, "Cost of the split over the mid, fees included; left out where ticks name no venue."
    ] = field(default=None, metadata=LEFT_OUT)
    venues_gap: Annotated[
        Currency | None,
        "Upper bound of its cost above the best split; 0: it is the best one. Left out where ticks name no venue.",
    ] = field(default=None, metadata=LEFT_OUT)
    shortfall_limits: Annotated[
        tuple[str, ...],
        "Which limits leave `shortfall_qty`: fields of the order, `session` where the market is shut, or `window`; "
        "left out where nothing is left.",
    ] = field(default=(), metadata=LEFT_OUT)
    metaorder_cost: Annotated[
        Currency | None,
        "Part of `expected_cost` that is not measured: what the law of `plans.metaorder`, taken from the literature, "
        "adds for quantity beyond what books show. Left out where that is off, or volume or price is unknown.",
    ] = field(default=None, metadata=LEFT_OUT)
    supply: Annotated[
        tuple[SupplyPoint, ...],
        "Supply curve of the first interval about the reservation price, `certificate.multiplier`, before its limits "
        "and for all orders planned together; left out unless `plans.act` is slices.",
    ] = field(default=(), metadata=LEFT_OUT)


@dataclass(frozen=True, slots=True)
class Slice:
    """What an order takes of the prevailing book now (`impactd.core.slices.watch`)."""

    SCHEMA: ClassVar = "impactd.slice/1"

    cl_ord_id: ClOrdId
    symbol: Symbol
    side: BuyOrSell
    slice: Annotated[Count, "Counts the slices of an order from 1."]
    plan_version: Annotated[Count, "The plan that is in force."]
    as_of: AsOf
    valid_until: Annotated[Time, "Take nothing after this time; the next slice replaces this one."]
    reason: Annotated[
        str,
        "`cheap`: the book is below the reservation price. `schedule`: a part of the plan's interval. `catch_up`: more "
        "is left than minutes have offered. `deadline`: a part of what later intervals cannot hold. `would`: the book "
        "is at the order's would price or better.",
    ]
    qty: Annotated[Quanta, "What to take."]
    limit_px: Annotated[Price, "Worst price to accept."]
    reservation: Annotated[
        PerShare | None,
        "Marginal cost over mid, net of the expected move, up to which the order takes; null under another reason.",
    ]
    expected_move: Annotated[
        PerShare,
        "Move of the mid over the next minute that the microprice and the last move predict; positive is up.",
    ]
    mid: Annotated[Price, "Mid of the decision's book."]


@dataclass(frozen=True, slots=True)
class FillCost:
    """Cost of one fill against the market and the model (`impactd.core.orders.costs`).

    Published when the fill's interval has closed, and again when the fill is corrected
    or busted.  Basis points are relative to the price that each compares with; costs
    are positive where money was lost, and `cost` is
    ``spread_cost + impact_cost + timing_cost`` to the last bit.
    """

    SCHEMA: ClassVar = "impactd.fill_cost/1"

    cl_ord_id: ClOrdId
    exec_id: Annotated[str, "The fill."]
    symbol: Symbol
    side: BuyOrSell
    as_of: AsOf
    reason: CostReason
    ts_event: Annotated[Time, "Time of the fill."]
    qty: Annotated[Quanta, "Quantity filled; 0 once busted."]
    px: Annotated[Price, "Price of the fill."]
    liquidity: Annotated[str | None, "`taker`, `maker`, `auction`, or null if the fill does not state it."]
    mid: Annotated[Price | None, "Mid at the fill."]
    half_spread: Annotated[PerShare | None, "Half-spread at the fill."]
    arrival_px: Arrival
    interval_vwap: Annotated[Price | None, "VWAP of the market's continuous volume in the fill's interval."]
    slippage_bps: Annotated[Bps | None, "Price against mid."]
    predicted_bps: PredictedBps
    arrival_bps: Annotated[Bps | None, "Price against the order's arrival price; positive is a loss."]
    vwap_bps: Annotated[Bps | None, "Price against `interval_vwap`."]
    spread_cost: SpreadCost
    impact_cost: ImpactCost
    timing_cost: TimingCost
    cost: Annotated[Currency | None, "`spread_cost + impact_cost + timing_cost`."]
    currency: CostCurrency = None
    multiplier: Multiplier = 1.0
    slippage_ticks: Annotated[float | None, "Price against mid, in ticks; null where the tick size is not known."] = (
        None
    )
    venue: Annotated[str | None, "Where it traded; left out where the fill does not state it."] = field(
        default=None, metadata=LEFT_OUT
    )


@dataclass(frozen=True, slots=True)
class OrderCost:
    """Implementation shortfall of an order that has ended, and its parts.

    Published when the order ends, and again at each revision.  `shortfall` is
    ``spread_cost + impact_cost + timing_cost + opportunity_cost`` to the last bit.
    Costs are null where quantity counts as executed without a reported fill
    (``plans.fills = "scheduled"``), and the first three where a fill had no mid.
    """

    SCHEMA: ClassVar = "impactd.order_cost/1"

    cl_ord_id: ClOrdId
    symbol: Symbol
    side: BuyOrSell
    as_of: AsOf
    reason: Annotated[str, "What caused the record: the end of the order, or a revision."]
    status: Annotated[str, "How the order ended."]
    order_qty: Annotated[Quanta, "Quantity of the parent."]
    cum_qty: Annotated[Quanta, "Quantity filled."]
    fills: Fills
    avg_px: AvgPx
    arrival_px: Arrival
    market_vwap: MarketVwap
    end_px: Annotated[Price | None, "Mid when the order ended."]
    slippage_bps: SlippageBps
    predicted_bps: PredictedBps
    arrival_bps: ArrivalBps
    vwap_bps: VwapBps
    spread_cost: SpreadCost
    impact_cost: ImpactCost
    timing_cost: TimingCost
    opportunity_cost: OpportunityCost
    shortfall: Shortfall
    shortfall_bps: Annotated[Bps | None, "`shortfall` relative to the arrival price."]
    market_volume: MarketVolume
    currency: CostCurrency = None
    multiplier: Multiplier = 1.0
    slippage_ticks: SlippageTicks = None
    shortfall_ticks: Annotated[
        float | None, "`shortfall` of a unit of `order_qty`, in ticks; null where the tick size is not known."
    ] = None


@dataclass(frozen=True, slots=True)
class DayCost:
    """Cost of one side of a symbol in one session, over all orders.

    Published after the session's close, and again at each revision.  Costs are
    null as those of orders are.
    """

    SCHEMA: ClassVar = "impactd.day_cost/1"

    symbol: Symbol
    side: BuyOrSell
    day: Annotated[Time, "When the session opened."]
    as_of: AsOf
    reason: Annotated[str, "What caused the record: the session's close, or a revision."]
    orders: Annotated[Count, "Orders that ended in the session."]
    fills: Fills
    qty: Annotated[Quanta, "Quantity of the session's reported fills."]
    avg_px: AvgPx
    market_vwap: MarketVwap
    slippage_bps: SlippageBps
    predicted_bps: PredictedBps
    arrival_bps: ArrivalBps
    vwap_bps: VwapBps
    spread_cost: SpreadCost
    impact_cost: ImpactCost
    timing_cost: TimingCost
    opportunity_cost: OpportunityCost
    shortfall: Shortfall
    bias: Annotated[float, "Ratio by which expected costs are corrected from here on."]
    currency: CostCurrency = None
    multiplier: Multiplier = 1.0
    slippage_ticks: SlippageTicks = None


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a person should see."""

    SCHEMA: ClassVar = "impactd.alert/1"

    kind: Annotated[str, "See [errors](errors.md#alerts)."]
    symbol: Annotated[str | None, "The instrument, or null where the alert concerns none or many."]
    cl_ord_id: Annotated[str | None, "The order, or null."]
    as_of: AsOf
    text: Annotated[str, "For people."]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be used: its original bytes with the reason.

    All but `raw` and `key` travel as headers.
    """

    SCHEMA: ClassVar = "impactd.dlq/1"

    topic: Topic
    offset: int
    reason: str
    detail: str
    codec: str
    raw: bytes
    key: bytes | None


#: Messages that are published as JSON.
Encoded = Estimate | Model | Plan | Slice | FillCost | OrderCost | DayCost | Alert

#: All messages.
Message = Encoded | DeadLetter


@quick_dataclass(frozen=True, slots=True)
class Output:
    """One message to publish."""

    topic: Topic
    #: Record key: the symbol, or ``cl_ord_id`` for `Topic.PLANS_LATEST`.
    key: str | None
    message: Message
    #: Event time of the partition at the decision, ns.  A replay over several partitions merges their outputs by it.
    clock: int
    #: Topic and offset of the input that caused it, for the headers; None for an idle move.
    trigger: tuple[Topic, int] | None

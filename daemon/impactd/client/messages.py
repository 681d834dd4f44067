# Made by python -m tests.write_reference.
"""Messages as the client's types: what orders may say, and what the service publishes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NotRequired, Required, TypedDict

#: A number, or a decimal string where it has to be exact.
Quantity = int | float | str

#: ns since the epoch, UTC, or a datetime with a zone.
Time = int | datetime


class Instructions(TypedDict, total=False):
    """Terms that an order may do without; None clears one."""

    #: Largest share of the continuous volume since the order began, at any time; in whole lots of the sum.
    participation_rate: float | None
    #: Most that one interval may trade.
    max_interval_qty: Quantity | None
    #: `[start, end)` windows without trading ([start, end) pairs of ns since the epoch, UTC).
    blackouts: Sequence[tuple[Time, Time]] | None
    #: Planned quantities are multiples of it, except for one odd remainder; the instrument's where none is given.
    lot_size: Quantity | None
    #: Weight of the inventory's variance (1/currency).
    risk_aversion: float | None
    #: Least that an interval trades if it trades at all; a smaller remainder of the order may trade.
    min_clip_qty: Quantity | None
    #: Whether to lift the limit of `participation_rate`, as late as possible, if it would leave a shortfall;
    #: `max_interval_qty` and blackouts always hold (true or false).
    must_complete: bool | None
    #: No interval that ends after it trades; the window, which costs are measured over, still ends at `end`.
    last_trade: Time | None
    #: Least share of the continuous volume since the order began, at any time, as far as the other limits allow.
    min_participation_rate: float | None
    #: Share of volume to follow: the running sum is less than a lot behind it, and ahead of it only as far as
    #: `participation_rate` allows.
    target_participation_rate: float | None
    #: How early to trade, at a higher cost and a lower risk, the same for every symbol and size; `low` is 1,
    #: `normal` 2, `high` 4, `get_done` 8. Not with `risk_aversion` (low, normal, high, get_done, or a number from
    #: 0 to 10).
    urgency: float | Literal["low", "normal", "high", "get_done"] | None
    #: Never trade at a worse price: a buy not above it, a sell not below it. Not with `limit_offset_bps`.
    limit_px: float | None
    #: The same limit in basis points from the arrival price: 20 lets a buy pay 20 bps more than the mid when the
    #: order began; negative demands a better price (basis points).
    limit_offset_bps: float | None
    #: Expected total rise of the mid, in basis points; negative: a fall. Needs `alpha_half_life_s` (basis
    #: points).
    alpha_bps: float | None
    #: Time in which half of `alpha_bps` is expected to happen.
    alpha_half_life_s: float | None
    #: At this price or a better one trade at once, up to `would_rate` of what the book shows there, even where
    #: the plan would wait; other limits hold.
    would_px: float | None
    #: Share of the visible depth at `would_px` or better. With `would_px`.
    would_rate: float | None
    #: In which auctions of its window the order takes part: `open`, `close`, `both` or `none` (none, open, close
    #: or both).
    auctions: Literal["none", "open", "close", "both"] | None
    #: Largest share of an auction's expected volume that the order enters. With `auctions`.
    auction_rate: float | None
    #: Venues that it may be sent to: the split of a plan's interval is over these; null: all (names of venues).
    venues: Sequence[str] | None


class Terms(Instructions, total=False):
    """Terms of a new order."""

    #: Quantity of the parent.
    order_qty: Required[Quantity]
    #: Start of the execution window.
    start: Required[Time]
    #: End of the window, exclusive; after `start`.
    end: Required[Time]


class Amendments(Instructions, total=False):
    """Terms that a replace changes."""

    #: Quantity of the parent.
    order_qty: Quantity
    #: Start of the execution window.
    start: Time
    #: End of the window, exclusive; after `start`.
    end: Time


class ModelRef(TypedDict):
    """The model that a plan was made with."""

    #: Shape of the impact curve.
    kind: str
    #: Unit of the curve.
    unit: str
    #: End of the minute that the model rests on.
    as_of: int | None
    #: Whether the model rests on the generic session profile.
    prior: bool
    #: Part of the measured linear impact that outlasts its interval and decays.
    transient_share: float
    #: Half-life of that part; null where there is none.
    resilience_half_life_s: float | None
    #: Forecast that plans are made with: `default`, which is left out, or `learned`, that of the trained file
    #: (`model.learned`).
    forecaster: NotRequired[str]


class Certificate(TypedDict):
    """Proof of optimality that comes with a plan."""

    #: Solver of the schedule.
    solver: str
    #: Marginal cost at the optimum (price per share).
    multiplier: float | None
    #: Relative residual of the optimality conditions.
    kkt_residual: float | None
    #: Upper bound of the plan's cost above the best one in whole lots; null where it is the best one (currency).
    gap: float | None


class AuctionEntry(TypedDict):
    """An order's entry in one auction, in addition to its schedule."""

    #: `auction_open` or `auction_close`.
    kind: str
    #: When the auction is held.
    at: int
    #: Deadline of the entry; from then on it cannot be changed.
    cutoff: int
    #: What to enter; of an auction under way, what it has not filled.
    qty: float
    #: Limit of the entry; null: at the auction's price.
    limit_px: float | None
    #: Expected volume of the auction; null if unknown.
    expected_volume: float | None
    #: Largest share of the auction's volume that the entry is for: `auction_rate`.
    rate: float
    #: Expected cost of the entry, above the price that the auction would have without it; no part of the plan's
    #: `expected_cost`; null if unknown (currency).
    expected_cost: float | None


class VenuePart(TypedDict):
    """What the interval under way is to take at one venue (`impactd.core.planning.venues`)."""

    #: The venue.
    venue: str
    #: What to take there.
    qty: float
    #: Worst price that it takes there.
    limit_px: float
    #: Average price by the book that prevails there, without the fee.
    avg_px: float
    #: Fee; negative is a rebate (currency).
    fee: float


class SupplyPoint(TypedDict):
    """What a plan's first interval trades at one marginal price."""

    #: Marginal cost over mid of a unit of quantity (price per share).
    px: float
    #: Quantity that the interval's forecast curve offers at this price or less.
    qty: float


class Plan(TypedDict):
    """The schedule of what is left of one parent order."""

    type: Literal["plan"]
    #: The parent order.
    cl_ord_id: str
    #: The instrument.
    symbol: str
    #: `buy` or `sell`.
    side: Literal["buy", "sell"]
    #: Counts the plans of an order from 1.
    plan_version: int
    #: Event time of the decision.
    as_of: int
    #: What caused the plan: `new`, `replace`, `cancel`, `fill`, `correct`, `bust`, `minute`, `price`, `control`,
    #: `group`, `done` or `expired`.
    reason: str
    #: Status of the order.
    status: str
    #: Why it is halted, rejected or ended; null otherwise.
    text: str | None
    #: Names the orders that were planned together; null for one planned by itself.
    group_id: str | None
    #: Quantity of the parent.
    order_qty: float
    #: Quantity filled so far.
    cum_qty: float
    #: Quantity left: `order_qty - cum_qty`.
    leaves_qty: float
    #: Part of `leaves_qty` that caps and window cannot hold.
    shortfall_qty: float
    #: Length of an interval.
    interval_s: int
    #: Slices that an interval is priced in, full resilience between them assumed.
    child_slices: int
    #: Quantity planned beyond the sizes that the model was fitted on.
    extrapolated_qty: float
    #: Start of each interval.
    start: list[int]
    #: What to trade in each interval.
    qty: list[float]
    #: Most that each interval may trade if those before it trade as planned; null: no limit.
    cap: list[float | None]
    #: Expected cost of the schedule above mid; where slices act, times what they have paid lately over equal
    #: ones. Entries in auctions state their own (currency).
    expected_cost: float | None
    #: `expected_cost` relative to mid (basis points).
    expected_cost_bps: float | None
    #: Expected cost of equal quantities by the same model (currency).
    twap_cost: float | None
    #: `twap_cost - expected_cost` relative to mid (basis points).
    saving_bps: float | None
    #: Lowest and highest cost of the whole plan, at `plans.band_level` (currency).
    cost_band: list[float] | None
    #: The model that the plan was made with; null without a schedule.
    model: ModelRef | None
    #: Proof of optimality; null without a schedule.
    certificate: Certificate | None
    #: The same at 0.95 (currency).
    cost_band_95: list[float] | None
    #: Part of the plan above what `participation_rate` allows, planned because of `must_complete`.
    lifted_qty: float
    #: True: the symbol has had no tick, so neither price nor volume is known.
    blind: bool
    #: Every id of the order's chain, oldest first.
    cl_ord_ids: list[str]
    #: Mid that the costs are above; null if unknown, or without a schedule.
    mid: float | None
    #: Limit price of the order: trade at no worse price; null without one.
    limit_px: float | None
    #: Quantity that the limit price is expected to leave untraded, `shortfall_qty` included; null without a limit
    #: price.
    expected_shortfall_qty: float | None
    #: When the last interval ends; null without a schedule.
    end: int | None
    #: When the order may trade: from its start, or from its arrival if that is later, to its end.
    window: list[int] | None
    #: Largest share of the continuous volume in force, the target included; null without one.
    participation_rate: float | None
    #: Least share of the continuous volume in force, the target included; null without one.
    min_participation_rate: float | None
    #: Least that an interval trades if it trades; null without one.
    min_clip_qty: float | None
    #: How much cost is worth less risk; 0: none (low, normal, high, get_done, or a number from 0 to 10).
    urgency: float
    #: Currency of the costs, of the instrument's definition; null without one.
    currency: str | None
    #: Currency that one unit of quantity gains when the price rises by 1; costs are already multiplied by it.
    multiplier: float
    #: `expected_cost` of a unit of quantity, in ticks; null where the tick size is not known.
    expected_cost_ticks: float | None
    #: Entries in auctions, in order of time: `qty`, these and `shortfall_qty` sum to `leaves_qty`.
    auctions: list[AuctionEntry]
    #: Average price of the reported fills; null without one. Where quantity counts as executed without a fill,
    #: `cum_qty` is more than these.
    avg_px: float | None
    #: Price at which the order trades at once, or a better one; null without a would price.
    would_px: float | None
    #: Part of the first interval to take at once, at `would_px` or better: what the order may take of the book
    #: that prevails; null without a would price.
    would_qty: float | None
    #: Cheapest split of the first interval, where it is under way, by the books that prevail, with fees, in whole
    #: lots; left out where ticks name no venue.
    venues: NotRequired[list[VenuePart]]
    #: Part of that interval that those books do not hold; left out where ticks name no venue.
    venues_left_qty: NotRequired[float | None]
    #: Cost of the split over the mid, fees included; left out where ticks name no venue (currency).
    venues_cost: NotRequired[float | None]
    #: Upper bound of its cost above the best split; 0: it is the best one. Left out where ticks name no venue
    #: (currency).
    venues_gap: NotRequired[float | None]
    #: Which limits leave `shortfall_qty`: fields of the order, `session` where the market is shut, or `window`;
    #: left out where nothing is left.
    shortfall_limits: NotRequired[list[str]]
    #: Part of `expected_cost` that is not measured: what the law of `plans.metaorder`, taken from the literature,
    #: adds for quantity beyond what books show. Left out where that is off, or volume or price is unknown
    #: (currency).
    metaorder_cost: NotRequired[float | None]
    #: Supply curve of the first interval about the reservation price, `certificate.multiplier`, before its limits
    #: and for all orders planned together; left out unless `plans.act` is slices.
    supply: NotRequired[list[SupplyPoint]]


class Slice(TypedDict):
    """What an order takes of the prevailing book now (`impactd.core.slices.watch`)."""

    type: Literal["slice"]
    #: The parent order.
    cl_ord_id: str
    #: The instrument.
    symbol: str
    #: `buy` or `sell`.
    side: Literal["buy", "sell"]
    #: Counts the slices of an order from 1.
    slice: int
    #: The plan that is in force.
    plan_version: int
    #: Event time of the decision.
    as_of: int
    #: Take nothing after this time; the next slice replaces this one.
    valid_until: int
    #: `cheap`: the book is below the reservation price. `schedule`: a part of the plan's interval. `catch_up`:
    #: more is left than minutes have offered. `deadline`: a part of what later intervals cannot hold. `would`:
    #: the book is at the order's would price or better.
    reason: str
    #: What to take.
    qty: float
    #: Worst price to accept.
    limit_px: float
    #: Marginal cost over mid, net of the expected move, up to which the order takes; null under another reason
    #: (price per share).
    reservation: float | None
    #: Move of the mid over the next minute that the microprice and the last move predict; positive is up (price
    #: per share).
    expected_move: float
    #: Mid of the decision's book.
    mid: float


class Alert(TypedDict):
    """Something that a person should see."""

    type: Literal["alert"]
    #: See [errors](errors.md#alerts).
    kind: str
    #: The instrument, or null where the alert concerns none or many.
    symbol: str | None
    #: The order, or null.
    cl_ord_id: str | None
    #: Event time of the decision.
    as_of: int
    #: For people.
    text: str


class FillCost(TypedDict):
    """Cost of one fill against the market and the model (`impactd.core.orders.costs`)."""

    type: Literal["fill_cost"]
    #: The parent order.
    cl_ord_id: str
    #: The fill.
    exec_id: str
    #: The instrument.
    symbol: str
    #: `buy` or `sell`.
    side: Literal["buy", "sell"]
    #: Event time of the decision.
    as_of: int
    #: `fill`, `correct` or `bust`.
    reason: str
    #: Time of the fill.
    ts_event: int
    #: Quantity filled; 0 once busted.
    qty: float
    #: Price of the fill.
    px: float
    #: `taker`, `maker`, `auction`, or null if the fill does not state it.
    liquidity: str | None
    #: Mid at the fill.
    mid: float | None
    #: Half-spread at the fill (price per share).
    half_spread: float | None
    #: Mid when the order began to work.
    arrival_px: float | None
    #: VWAP of the market's continuous volume in the fill's interval.
    interval_vwap: float | None
    #: Price against mid (basis points).
    slippage_bps: float | None
    #: Cost that the model predicted (basis points).
    predicted_bps: float | None
    #: Price against the order's arrival price; positive is a loss (basis points).
    arrival_bps: float | None
    #: Price against `interval_vwap` (basis points).
    vwap_bps: float | None
    #: Cost of the half-spread (currency).
    spread_cost: float | None
    #: Cost of walking the book beyond the half-spread (currency).
    impact_cost: float | None
    #: Cost of the mid's move since the arrival (currency).
    timing_cost: float | None
    #: `spread_cost + impact_cost + timing_cost` (currency).
    cost: float | None
    #: Currency of the costs, of the instrument's definition; null without one.
    currency: str | None
    #: Currency that one unit of quantity gains when the price rises by 1; costs are already multiplied by it.
    multiplier: float
    #: Price against mid, in ticks; null where the tick size is not known.
    slippage_ticks: float | None
    #: Where it traded; left out where the fill does not state it.
    venue: NotRequired[str | None]


class OrderCost(TypedDict):
    """Implementation shortfall of an order that has ended, and its parts."""

    type: Literal["order_cost"]
    #: The parent order.
    cl_ord_id: str
    #: The instrument.
    symbol: str
    #: `buy` or `sell`.
    side: Literal["buy", "sell"]
    #: Event time of the decision.
    as_of: int
    #: What caused the record: the end of the order, or a revision.
    reason: str
    #: How the order ended.
    status: str
    #: Quantity of the parent.
    order_qty: float
    #: Quantity filled.
    cum_qty: float
    #: Number of fills.
    fills: int
    #: Average price of the fills.
    avg_px: float | None
    #: Mid when the order began to work.
    arrival_px: float | None
    #: VWAP of the market's continuous volume while the order worked.
    market_vwap: float | None
    #: Mid when the order ended.
    end_px: float | None
    #: Average price against mid (basis points).
    slippage_bps: float | None
    #: Cost that the model predicted (basis points).
    predicted_bps: float | None
    #: Average price against the arrival price; positive is a loss (basis points).
    arrival_bps: float | None
    #: Average price against the market's VWAP (basis points).
    vwap_bps: float | None
    #: Cost of the half-spread (currency).
    spread_cost: float | None
    #: Cost of walking the book beyond the half-spread (currency).
    impact_cost: float | None
    #: Cost of the mid's move since the arrival (currency).
    timing_cost: float | None
    #: Cost of what was not traded (currency).
    opportunity_cost: float | None
    #: Implementation shortfall: the sum of its four parts (currency).
    shortfall: float | None
    #: `shortfall` relative to the arrival price (basis points).
    shortfall_bps: float | None
    #: Continuous volume over which `market_vwap` is taken.
    market_volume: float
    #: Currency of the costs, of the instrument's definition; null without one.
    currency: str | None
    #: Currency that one unit of quantity gains when the price rises by 1; costs are already multiplied by it.
    multiplier: float
    #: Average price against mid, in ticks; null where the tick size is not known.
    slippage_ticks: float | None
    #: `shortfall` of a unit of `order_qty`, in ticks; null where the tick size is not known.
    shortfall_ticks: float | None


class DayCost(TypedDict):
    """Cost of one side of a symbol in one session, over all orders."""

    type: Literal["day_cost"]
    #: The instrument.
    symbol: str
    #: `buy` or `sell`.
    side: Literal["buy", "sell"]
    #: When the session opened.
    day: int
    #: Event time of the decision.
    as_of: int
    #: What caused the record: the session's close, or a revision.
    reason: str
    #: Orders that ended in the session.
    orders: int
    #: Number of fills.
    fills: int
    #: Quantity of the session's reported fills.
    qty: float
    #: Average price of the fills.
    avg_px: float | None
    #: VWAP of the market's continuous volume while the order worked.
    market_vwap: float | None
    #: Average price against mid (basis points).
    slippage_bps: float | None
    #: Cost that the model predicted (basis points).
    predicted_bps: float | None
    #: Average price against the arrival price; positive is a loss (basis points).
    arrival_bps: float | None
    #: Average price against the market's VWAP (basis points).
    vwap_bps: float | None
    #: Cost of the half-spread (currency).
    spread_cost: float | None
    #: Cost of walking the book beyond the half-spread (currency).
    impact_cost: float | None
    #: Cost of the mid's move since the arrival (currency).
    timing_cost: float | None
    #: Cost of what was not traded (currency).
    opportunity_cost: float | None
    #: Implementation shortfall: the sum of its four parts (currency).
    shortfall: float | None
    #: Ratio by which expected costs are corrected from here on.
    bias: float
    #: Currency of the costs, of the instrument's definition; null without one.
    currency: str | None
    #: Currency that one unit of quantity gains when the price rises by 1; costs are already multiplied by it.
    multiplier: float
    #: Average price against mid, in ticks; null where the tick size is not known.
    slippage_ticks: float | None

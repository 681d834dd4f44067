"""What the core says: one frozen dataclass a published message.

Fields stand in the order in which they are published.  `impactd.wire.records`
turns them into bytes; positions and durations are in none of them.
Quantities are quanta here and numbers on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass

from impactd.core.base.topics import Side, Topic


@dataclass(frozen=True, slots=True)
class Estimate:
    """Slippage of one symbol and side over one closed minute.

    ``slippage[k]`` is the time-weighted average over the time that the book
    held ``sizes[k]``, in price per share (None if it never did);
    ``coverage[k]`` the share of `covered_s` for which it did;
    ``lower_bound[k]`` the average over all of `covered_s` with the censored
    part priced at the last visible level.
    """

    symbol: str
    side: Side
    minute: int
    interval_s: int
    n_books: int
    n_rejected: int
    n_late: int
    covered_s: float
    mid: float | None
    half_spread: float | None
    volume_continuous: float | None
    volume_auction: float | None
    sizes: tuple[float, ...]
    slippage: tuple[float | None, ...]
    coverage: tuple[float, ...]
    lower_bound: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class BandRecord:
    """How bands of plan cost over one number of intervals have done lately (`impactd.core.market.bands`).

    ``level``, ``log_width`` and ``coverage`` have one entry a band: nominal
    coverage, half-width of log(realised / expected) about `log_middle` for the next
    plan, and the discounted share of shadow plans that their bands held.  `n_eff`
    counts disjoint shadows, discounted.
    """

    intervals: int
    n_eff: float
    level: tuple[float, ...]
    log_middle: float
    log_width: tuple[float, ...]
    coverage: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ForecastRecord:
    """Coefficients of the intervals that begin ``intervals[k]`` of them after a model's `as_of`.

    None where the kind has no such term; the exponent is the model's.
    """

    intervals: tuple[int, ...]
    half_spread: tuple[float, ...]
    beta: tuple[float, ...] | None
    alpha: tuple[float, ...] | None
    eta: tuple[float, ...] | None

    def corrected(self, ratio: float) -> ForecastRecord:
        """Return it with every coefficient multiplied by `ratio`."""
        half_spread = tuple(value * ratio for value in self.half_spread)
        terms = (self.beta, self.alpha, self.eta)
        beta, alpha, eta = (None if term is None else tuple(value * ratio for value in term) for term in terms)
        return ForecastRecord(self.intervals, half_spread, beta, alpha, eta)


@dataclass(frozen=True, slots=True)
class Model:
    """Summary of one (symbol, side) model after a closed minute; g in price per share."""

    symbol: str
    side: Side
    as_of: int
    kind: str
    unit: str
    intercept: bool
    half_spread: float
    beta: float | None
    alpha: float | None
    eta: float | None
    delta: float | None
    se: dict[str, float]
    n_eff: float
    r2: float | None
    prior: bool
    regime: int
    fitted_range: tuple[float, float] | None = None
    bands: tuple[BandRecord, ...] = ()
    bias: float = 1.0
    forecast: ForecastRecord | None = None
    followed: float = 1.0
    capture: float | None = None


@dataclass(frozen=True, slots=True)
class ModelRef:
    """The model that a plan was made with."""

    kind: str
    unit: str
    as_of: int | None
    prior: bool
    transient_share: float = 0.0
    resilience_half_life_s: float | None = None


@dataclass(frozen=True, slots=True)
class Certificate:
    """Proof that comes with a plan: multiplier (price per share) and relative KKT residual.

    `gap` bounds what the plan may cost above the best one in whole lots,
    currency; None where it is the best one.
    """

    solver: str
    multiplier: float | None
    kkt_residual: float | None
    gap: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The schedule of what is left of one parent order. Quantities in quanta."""

    cl_ord_id: str
    symbol: str
    side: Side
    plan_version: int
    as_of: int
    reason: str
    status: str
    text: str | None
    group_id: str | None
    order_qty: int
    cum_qty: int
    leaves_qty: int
    shortfall_qty: int
    interval_s: int
    child_slices: int
    extrapolated_qty: int
    start: tuple[int, ...]
    qty: tuple[int, ...]
    cap: tuple[int | None, ...]
    expected_cost: float | None
    expected_cost_bps: float | None
    twap_cost: float | None
    saving_bps: float | None
    cost_band: tuple[float, float] | None
    model: ModelRef | None
    certificate: Certificate | None
    cost_band_95: tuple[float, float] | None = None
    lifted_qty: int = 0


@dataclass(frozen=True, slots=True)
class FillCost:
    """One fill against where the market stood and what the model expected (`impactd.core.orders.costs`).

    Published when the fill's interval has closed, and again when it is corrected
    or busted.  Basis points are of the price that each compares with; costs
    are currency, positive where money was lost, and `cost` is
    ``spread_cost + impact_cost + timing_cost`` to the last bit.
    """

    cl_ord_id: str
    exec_id: str
    symbol: str
    side: Side
    as_of: int
    reason: str
    ts_event: int
    qty: int
    px: float
    liquidity: str | None
    mid: float | None
    half_spread: float | None
    arrival_px: float | None
    interval_vwap: float | None
    slippage_bps: float | None
    predicted_bps: float | None
    arrival_bps: float | None
    vwap_bps: float | None
    spread_cost: float | None
    impact_cost: float | None
    timing_cost: float | None
    cost: float | None


@dataclass(frozen=True, slots=True)
class OrderCost:
    """The implementation shortfall of an order that has ended, and its parts.

    Published when it ends, and again whatever revises it.  `shortfall` is
    ``spread_cost + impact_cost + timing_cost + opportunity_cost`` to the last bit.
    """

    cl_ord_id: str
    symbol: str
    side: Side
    as_of: int
    reason: str
    status: str
    order_qty: int
    cum_qty: int
    fills: int
    avg_px: float | None
    arrival_px: float | None
    market_vwap: float | None
    end_px: float | None
    slippage_bps: float | None
    predicted_bps: float | None
    arrival_bps: float | None
    vwap_bps: float | None
    spread_cost: float | None
    impact_cost: float | None
    timing_cost: float | None
    opportunity_cost: float | None
    shortfall: float | None
    shortfall_bps: float | None


@dataclass(frozen=True, slots=True)
class DayCost:
    """What a side of a symbol has cost in one session, over all orders.

    Published after the session's close, and again whatever revises it.  `day` is
    when it opened; `orders` counts those that ended in it; `bias` is the ratio that
    expected costs are multiplied by from here on.
    """

    symbol: str
    side: Side
    day: int
    as_of: int
    reason: str
    orders: int
    fills: int
    qty: int
    avg_px: float | None
    market_vwap: float | None
    slippage_bps: float | None
    predicted_bps: float | None
    arrival_bps: float | None
    vwap_bps: float | None
    spread_cost: float | None
    impact_cost: float | None
    timing_cost: float | None
    opportunity_cost: float | None
    shortfall: float | None
    bias: float


@dataclass(frozen=True, slots=True)
class Alert:
    """Something a person should see."""

    kind: str
    symbol: str | None
    cl_ord_id: str | None
    as_of: int
    text: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be used: its original bytes with the reason.

    `topic` and `offset` say where it stood; they travel as headers.
    """

    topic: Topic
    offset: int
    reason: str
    detail: str
    codec: str
    raw: bytes
    key: bytes | None


#: All that the core says.
Message = Estimate | Model | Plan | FillCost | OrderCost | DayCost | Alert | DeadLetter


@dataclass(frozen=True, slots=True)
class Output:
    """One message to publish.

    Attributes
    ----------
    key : str or None
        Record key: the symbol, or ``cl_ord_id`` for `Topic.PLANS_LATEST`.
    clock : int
        Event time of the partition when it was said, ns.  A replay over
        several partitions merges their outputs by it.
    trigger : tuple of (Topic, int) or None
        Topic and offset of the input that made the core say it, for the
        headers; None for an idle move.
    """

    topic: Topic
    key: str | None
    message: Message
    clock: int
    trigger: tuple[Topic, int] | None

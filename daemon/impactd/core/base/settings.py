"""Settings of the core: everything that can change a published byte.

The shell reads files and the environment; what it hands to the core is this
one frozen value.  Its hash is part of the state and the journal, so that a
state never continues under settings it was not made with.

Each setting is stated once, here, by `setting`: default, range, unit and
meaning.  The sections of `impactd.config` and the reference take them from
here; what a section states itself has another form there.

Durations are integer nanoseconds and named ``_ns``; a section gives them in
seconds, named ``_s``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal

from impactd.core.base.instrument import Instrument
from impactd.core.base.setting import setting
from impactd.core.base.topics import INPUT_TOPICS
from impactd.core.base.venue import VenueRule

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS

_DAY_S: Final = 86_400
_DAY_NS: Final = _DAY_S * SECOND_NS
_YEAR_NS: Final = 366 * _DAY_NS


@dataclass(frozen=True, slots=True)
class SessionRule:
    """Trading hours as data, so that the core needs no time zone database and no calendar.

    Local days are days since 1970-01-01, local times seconds after midnight of the date on which the session opens.
    """

    open_s: int = setting(0, "Local seconds after midnight.", fixed="deviations are from that session's profile")
    close_s: int = setting(
        86_400,
        "Local seconds after midnight; a close 86,400 s after the open leaves no gap between two sessions.",
        fixed="deviations are from that session's profile",
    )
    offsets: tuple[tuple[int, int], ...] = setting(
        ((0, 0),),
        "UTC offsets: (from UTC ns, offset in seconds), ascending; the first also applies before its own time.",
    )
    days: tuple[int, ...] = setting(
        (0, 1, 2, 3, 4, 5, 6), "Weekdays on which it opens, 0 for Monday, by the local date of the open."
    )
    holidays: tuple[int, ...] = setting((), "Local days on which it does not open.")
    breaks: tuple[tuple[int, int], ...] = setting(
        (),
        "Breaks of every session: (from, to) in local seconds, ascending; a lunch break.",
        fixed="deviations are from that session's profile",
    )
    special: tuple[tuple[int, int, int, int], ...] = setting(
        (),
        "Days with other hours: (first, last local day, open, close in local seconds), ascending; an early close, or "
        "the hours of former years.",
    )
    through: int | None = setting(None, "Last local day whose holidays are known; None: no end.")
    calendar: str = setting("", "Name of the calendar that the hours are from; empty for hours set by hand.")

    def check(self) -> None:
        """Refuse hours that cannot be used.

        Raises
        ------
        ValueError
            If hours are empty or longer than a day, offsets, breaks or
            special days do not ascend or overlap, no weekday is one, or
            breaks leave nothing of a session.
        """
        if not self.offsets:
            raise ValueError("session.offsets: needs at least one (from UTC ns, offset in seconds)")
        if any(later[0] <= earlier[0] for earlier, later in pairwise(self.offsets)):
            raise ValueError("session.offsets: their times must ascend")
        if not self.days or not all(0 <= day < 7 for day in self.days):
            raise ValueError(f"session.days: needs weekdays from 0, Monday, to 6, not {self.days}")
        if any(later <= earlier for earlier, later in pairwise(edge for pair in self.breaks for edge in pair)):
            raise ValueError("session.breaks: must ascend and not overlap")
        if any(first > last for first, last, _, _ in self.special) or any(
            later[0] <= earlier[1] for earlier, later in pairwise(self.special)
        ):
            raise ValueError("session.special: the days must ascend and not overlap")
        regular = "close_s", self.open_s, self.close_s
        for name, opens, closes in (regular, *(("special", *item[2:]) for item in self.special)):
            if not 0 < closes - opens <= _DAY_S:
                raise ValueError(f"session.{name}: must lie within a day after open_s, not {closes - opens} s after it")
            if not 0 <= opens < _DAY_S:
                raise ValueError(f"session.{name}: needs an open from 0 s to 86,399 s after midnight, not {opens}")
            closed = sum(max(min(end, closes) - max(begin, opens), 0) for begin, end in self.breaks)
            if closed >= closes - opens:
                raise ValueError(f"session.breaks: leave nothing of the session from {opens} s to {closes} s")


@dataclass(frozen=True, slots=True)
class BookSettings:
    """Which books are usable, and for how long they prevail.

    Raises
    ------
    ValueError
        If the interval does not divide a day, or sizes do not ascend.
    """

    interval_ns: int = setting(
        MINUTE_NS,
        "Length of an execution interval; divides a day.",
        fixed="open minutes, schedules and models use that interval",
        ge=SECOND_NS,
        le=_DAY_NS,
        multiple_of=SECOND_NS,
    )
    grace_ns: int = setting(
        1 * SECOND_NS, "How long a minute stays open for late ticks after its end.", ge=0, le=_YEAR_NS
    )
    max_clock_skew_ns: int = setting(
        60 * SECOND_NS, "How far ts_event may be ahead of its record's timestamp.", ge=0, le=_YEAR_NS
    )
    max_book_age_ns: int | None = setting(
        None,
        "On polled feeds, the age beyond which a book no longer prevails; unset on event-driven ones, where silence "
        "means unchanged.",
        gt=0,
        le=_YEAR_NS,
    )
    max_silence_ns: int = setting(
        3600 * SECOND_NS, "A feed silent for longer than this is treated as lost.", ge=0, le=_YEAR_NS
    )
    allow_locked: bool = setting(True, "Whether a book whose best bid equals its best ask is usable.")
    max_levels: int = setting(100, "Levels per side; a record with more is refused.", ge=1, le=1_000)
    n_sizes: int = setting(16, "Sizes on the slippage grid.", ge=2, le=256)
    sizes: tuple[float, ...] = setting(
        (),
        "Fixed grid of sizes; empty: chosen from the visible depth and the plans.",
        unit="shares",
        fixed="the accumulators of open minutes use that grid",
        each={"gt": 0},
        max_length=256,
    )
    min_coverage: float = setting(0.95, "Share of the covered time from which a size enters a fit.", gt=0, le=1)

    def __post_init__(self) -> None:
        if self.interval_ns < 1 or _DAY_NS % self.interval_ns:
            raise ValueError("interval_s must divide a day of 86,400 s; give 60, 300 or another divisor")
        if any(b <= a for a, b in zip(self.sizes, self.sizes[1:], strict=False)):
            raise ValueError("sizes must ascend; give each of them once, the smallest first")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The impact model and its forecast."""

    kind: str = setting("linear", "Shape of the impact curve.", fixed="the fitted coefficients belong to that kind")
    intercept: bool = setting(
        True,
        "Whether curves begin at the half-spread; off for curves through the origin.",
        fixed="the fitted coefficients have that form",
    )
    mean_half_life_minutes: float = setting(60.0, "Half-life of the mean that forecasts return to.", gt=0)
    guard: bool = setting(True, "Shrink forecasts while shadow plans lose to TWAP.")
    fill_bias_limit: float = setting(
        0.25,
        "How far a persistent bias of taker fills may correct expected costs: 0.25 is up to a quarter; 0: never.",
        ge=0,
        le=3,
    )
    prior_profile: bool = setting(
        True,
        "Whether a cold start assumes the generic intraday profile, where the session has the hours of an exchange.",
        fixed="deviations are from that profile",
    )
    learn_profile: bool = setting(
        True, "Whether the intraday profile of spread and depth is learned from each symbol's own days."
    )
    #: Profile of the session to start from, the columns of `Profile`; empty: the prior, or none.
    profile: tuple[tuple[float, ...], ...] = field(default=(), metadata={"fixed": "deviations are from that profile"})
    deltas: tuple[float, ...] = setting(
        (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5),
        "Exponents that the power model chooses from.",
        fixed="each exponent has a loss of its own",
        each={"gt": 0, "le": 1.5},
        min_length=1,
        max_length=64,
    )
    #: Hash of the trained file that corrects the forecast, a `TrainedFile`; empty for none.
    learned: str = ""
    learned_use: Literal["earned", "always"] = setting(
        "earned",
        "Which plans use the trained file. earned: those of symbols on which its trial plans have saved more than the "
        "default forecast's on recent days. always: all.",
    )


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """How plans are made and when they are replaced."""

    child_slices: int = setting(1, "Equal slices per interval, with full resilience between them.", ge=1, le=1_000)
    replan_threshold_bps: float = setting(
        0.0, "A plan is replaced only for more than this, unless something forces it.", ge=0
    )
    fills: Literal["reported", "scheduled"] = setting(
        "reported",
        "reported: only fills count. scheduled: each interval's quantity counts as filled at its end, less what was "
        "reported for it.",
        fixed="filled quantities are counted by that rule",
    )
    act: Literal["minute", "slices"] = setting(
        "minute",
        "minute: plans only. slices: also what to take now, when the book is cheap compared with the plan.",
        fixed="slices that are out are counted by that rule",
    )
    slice_interval_ns: int = setting(
        15 * SECOND_NS, "Time between decisions on slices; divides books.interval_s.", ge=SECOND_NS
    )
    slice_latency_ns: int = setting(
        3 * SECOND_NS,
        "From a decision on slices to its execution. Whether slices pay is judged at that book; for so long after a "
        "slice's end its fills may still be reported.",
        ge=0,
        le=_DAY_NS,
    )
    price_check_ns: int = setting(
        2 * SECOND_NS,
        "How often the market is compared with limit and would prices; an order is planned again when it has touched "
        "or left one, at most so often.",
        ge=SECOND_NS,
        le=_DAY_NS,
    )
    auction_open_cutoff_ns: int = setting(
        120 * SECOND_NS, "How long before the open an entry in its auction must be there.", ge=0, le=_DAY_NS
    )
    auction_close_cutoff_ns: int = setting(
        600 * SECOND_NS, "How long before the close an entry in its auction must be there.", ge=0, le=_DAY_NS
    )
    auction_report_ns: int = setting(
        60 * SECOND_NS,
        "How long after an auction its fills may be reported; then what it has not filled returns to the plan.",
        ge=0,
        le=_DAY_NS,
    )
    auction_open_share: float | None = setting(
        None,
        "Expected volume of the opening auction as a part of the session's continuous volume, where the feed has never "
        "flagged an auction print; unset: unknown.",
        ge=0,
        le=10,
    )
    auction_close_share: float | None = setting(None, "The same of the closing auction.", ge=0, le=10)
    solvers: tuple[str, ...] = setting(
        ("exact", "clarabel", "slsqp"), "Solvers in the order in which they are tried.", min_length=1
    )
    band_level: float = setting(
        0.8, "Nominal coverage of a plan's cost_band: 0.8 is a band that four of five plans should end in.", gt=0, lt=1
    )
    max_group: int = setting(
        10_000,
        "Safety limit: more orders than this on one symbol and side (1: any) are planned one by one, each charged "
        "for the others' plans, instead of as one problem.",
        ge=1,
        le=100_000,
    )
    group_risk: bool = setting(
        False, "Whether orders with risk aversion are planned with the others, which can take some seconds."
    )
    transient_share: float = setting(
        0.0,
        "Part of the measured linear impact that lasts beyond its interval and decays (not with a power model).",
        ge=0,
        le=1,
    )
    resilience_half_life_ns: int = setting(300 * SECOND_NS, "Half-life of that part.", gt=0, le=30 * _DAY_NS)
    metaorder: Literal["off", "square_root", "sato_kanazawa", "almgren"] = setting(
        "off",
        "Law of the literature for the cost of quantity beyond what books show, in plans, estimates and backtests; "
        "off: the curve's own rise goes on.",
    )
    metaorder_coefficient: float | None = setting(
        None, "Its coefficient Y, where your own fills have shown it; unset: that of the literature.", ge=0, le=100
    )
    max_orders: int = setting(10_000, "Largest number of orders per partition.", ge=1)
    max_executions: int = setting(
        50_000, "Largest number of executions per order; the next one becomes a dead letter and halts the order.", ge=1
    )
    max_horizon_intervals: int = setting(3_000, "Longest execution window, in intervals.", ge=1, le=1_000_000)
    hold_ns: int = setting(300 * SECOND_NS, "How long a fill or amendment waits for its order.", ge=0, le=_YEAR_NS)
    max_held: int = setting(10_000, "Largest number of such waiting events per partition.", ge=0)
    keep_ended_ns: int = setting(
        24 * 3600 * SECOND_NS,
        "How long an ended order is remembered, for late executions and repeated orders.",
        ge=0,
        le=_YEAR_NS,
    )
    missing_ticks_ns: int = setting(
        120 * SECOND_NS, "Alert when a symbol with an open order has had no tick for this long.", ge=0, le=_YEAR_NS
    )
    alert_drift_bps: float | None = setting(
        None, "Alert when the mid is so far from an order's arrival price, either way; unset: never.", gt=0
    )


@dataclass(frozen=True, slots=True)
class GateSettings:
    """Limits for published plans; a plan that cannot be compared with them is withheld. Unset: no limit."""

    max_order_qty: float | None = setting(None, "Largest order_qty.", unit="shares", gt=0)
    max_order_notional: float | None = setting(
        None, "Largest order_qty times mid and multiplier.", unit="currency", gt=0
    )
    max_interval_depth: float | None = setting(
        None, "Most that one interval trades, as a multiple of the visible depth.", gt=0
    )
    max_plans_per_second: int | None = setting(
        None,
        "Largest number of active plans per second of event time in a partition. Set it above the number of "
        "orders: all orders of a symbol are planned at once, as a minute closes.",
        ge=1,
        le=1_000_000_000,
    )


@dataclass(frozen=True, slots=True)
class InvalidSettings:
    """How much of the input may be unusable before an alert is raised and the process is not ready."""

    max_ratio: float | None = setting(
        0.1, "Largest share of refused messages; 1 and unset disable the alert.", ge=0, le=1
    )
    min_messages: int = setting(100, "With fewer messages in the window no alert is raised.", ge=1, le=1_000_000_000)
    window_intervals: int = setting(5, "Window in minutes (books.interval_s) of event time.", ge=1, le=86_400)


@dataclass(frozen=True, slots=True)
class WireSettings:
    """How bytes become events, and messages bytes.

    The core does not read it. It is part of the settings because a journal
    without it cannot be followed to the same bytes.
    """

    codec: str = setting("json", "Codec of tick records whose header names none.")
    format: Literal["json", "avro", "protobuf"] = setting(
        "json", "Format in which outputs are published; avro and protobuf need registry.url. Inputs may be of any."
    )
    time_unit: Literal["ns", "us", "ms", "s"] = setting(
        "ns", "Unit of times that are whole numbers in ticks, orders, executions and control; others are refused."
    )
    timestamps: Literal["int", "string"] = setting(
        "int", "How JSON publishes times: as integers, or as strings for JavaScript readers."
    )
    max_message_bytes: int = setting(1_000_000, "Largest record accepted or published.", ge=1_000, le=1_000_000_000)
    #: Dead letters keep that much of the original bytes.
    max_dead_letter_bytes: int = 512 * 1024
    #: Role and name of each input topic: headers hold them, and positions refer to them.
    inputs: tuple[tuple[str, str], ...] = field(
        default=tuple((topic.value, f"impactd.{topic.value}") for topic in INPUT_TOPICS),
        metadata={"fixed": "positions refer to those topics"},
    )


@dataclass(frozen=True, slots=True)
class CoreSettings:
    """The settings of the core.

    Raises
    ------
    ValueError
        If orders act by slices whose time does not divide an interval.
    """

    books: BookSettings = field(default_factory=BookSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    plans: PlanSettings = field(default_factory=PlanSettings)
    session: SessionRule = field(default_factory=SessionRule)
    apply: Literal["on_arrival", "in_event_time"] = setting(
        "on_arrival",
        "When orders, executions and control apply: at once, or when ticks have passed their time (recorded days).",
        fixed="held events and applied events could not be told apart",
    )
    max_symbols: int = setting(5_000, "Largest number of symbols per partition.", ge=1, le=1_000_000)
    gate: GateSettings = field(default_factory=GateSettings)
    invalid: InvalidSettings = field(default_factory=InvalidSettings)
    wire: WireSettings = field(default_factory=WireSettings)
    #: Hours of some symbols: a pattern such as BTC* and its hours. The first pattern that fits a symbol decides.
    sessions: tuple[tuple[str, SessionRule], ...] = field(
        default=(), metadata={"fixed": "deviations are from those sessions' profiles"}
    )
    #: Definitions of some symbols: a pattern such as ES* and its definition. The first pattern that fits decides.
    instruments: tuple[tuple[str, Instrument], ...] = ()
    #: What is stated of venues. The first entry that names a venue and matches a symbol decides.
    venues: tuple[VenueRule, ...] = ()

    def __post_init__(self) -> None:
        if self.plans.act == "slices" and self.books.interval_ns % self.plans.slice_interval_ns:
            raise ValueError("plans.slice_interval_s must divide books.interval_s; give 15 s where that is a minute")

"""Settings of the core: everything that can change a published byte.

The shell reads files and the environment; what it hands to the core is this
one frozen value.  Its hash stands in the state and in the journal, so that a
state is never continued under settings it was not made with.

Durations are integer nanoseconds and named ``_ns``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from impactd.core.base.topics import INPUT_TOPICS

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS


@dataclass(frozen=True, slots=True)
class SessionRule:
    """Trading hours as data, so that the core needs no time zone database.

    Attributes
    ----------
    open_s, close_s : int
        Local seconds after midnight; ``close_s - open_s = 86_400`` is a
        market that never closes.
    offsets : tuple of (int, int)
        UTC offset in force: (from UTC ns, offset in seconds), ascending; the
        first entry applies before its own time too.
    days : tuple of int
        Weekdays on which it opens, 0 for Monday, by the local date of the open.
    holidays : tuple of int
        Local dates on which it does not open, in days since 1970-01-01.
    """

    open_s: int = 0
    close_s: int = 86_400
    offsets: tuple[tuple[int, int], ...] = ((0, 0),)
    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    holidays: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class BookSettings:
    """Which books are usable and how long they stand."""

    interval_ns: int = MINUTE_NS
    grace_ns: int = 1 * SECOND_NS
    max_clock_skew_ns: int = 60 * SECOND_NS
    #: None on event-driven feeds, where silence means unchanged.
    max_book_age_ns: int | None = None
    #: A feed silent for longer than this is taken as lost, whatever its kind.
    max_silence_ns: int = 3600 * SECOND_NS
    allow_locked: bool = True
    max_levels: int = 100
    n_sizes: int = 16
    #: Fixed grid of sizes in shares; empty: chosen from the visible depth and the plans.
    sizes: tuple[float, ...] = ()
    #: Share of covered time from which a cell enters a fit.
    min_coverage: float = 0.95


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The impact model and its forecast.

    The half-lives and the gain are round numbers, fixed before they meet a new
    day.  A gain near 1 would believe each minute, and after an expensive open
    everything looks cheap.
    """

    kind: str = "linear"
    intercept: bool = True
    mean_half_life_minutes: float = 60.0
    gain: float = 0.1
    reversion_half_life_minutes: float = 15.0
    #: Whether gain and reversion follow what a symbol shows, from these on.
    adaptive: bool = True
    #: Whether plans follow a forecast less, the less such plans have earned.
    guard: bool = True
    huber: float = 2.5
    #: A persistent bias of taker fills multiplies expected costs by up to 1 and this, or its inverse; 0 never.
    fill_bias_limit: float = 0.25
    prior_profile: bool = True
    #: Whether the profile is learned from each symbol's own days, from the one to start from on.
    learn_profile: bool = True
    #: Profile of the session to start from, the columns of `Profile`; empty: the prior, or none.
    profile: tuple[tuple[float, ...], ...] = ()
    #: Grid of exponents of the power model.
    deltas: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5)
    #: Hash of the trained file that corrects the forecast, a `TrainedFile`; empty for none.
    learned: str = ""


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """How plans are made and when they are replaced."""

    child_slices: int = 1
    replan_threshold_bps: float = 0.0
    #: "scheduled": each interval's quantity counts as filled at its end, less what was reported for it;
    #: "reported": only fills count.
    fills: str = "reported"
    solvers: tuple[str, ...] = ("exact", "clarabel", "slsqp")
    #: Nominal coverage of a plan's `cost_band`.
    band_level: float = 0.8
    #: Orders on one symbol and side that are planned together at most; more, or 1: each by itself.
    max_group: int = 20
    #: Whether orders with risk aversion join them, which takes up to a second a plan.
    group_risk: bool = False
    #: Part of the measured linear impact that lasts beyond its interval and decays; 0: books recover in between.
    transient_share: float = 0.0
    #: In which that part falls to a half.
    resilience_half_life_ns: int = 300 * SECOND_NS
    max_orders: int = 10_000
    #: Executions that an order has; one more halts it, since what is filled and not counted would be traded twice.
    max_executions: int = 50_000
    max_horizon_intervals: int = 3_000
    #: Events whose order has not come are held so long and so many an order book partition.
    hold_ns: int = 300 * SECOND_NS
    max_held: int = 10_000
    #: How long an ended order is remembered, for late executions and repeated news.
    keep_ended_ns: int = 24 * 3600 * SECOND_NS
    #: Alert when a symbol with an open order has no tick for so long.
    missing_ticks_ns: int = 120 * SECOND_NS


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What a plan must not exceed to be published (`impactd.core.planning.gate`); None sets no limit."""

    #: Shares.
    max_order_qty: float | None = None
    #: order_qty times mid, currency.
    max_order_notional: float | None = None
    #: What one interval trades, as a multiple of the visible depth.
    max_interval_depth: float | None = None
    #: Of event time, in a partition; all orders of a symbol are planned at one time, the close of a minute.
    max_plans_per_second: int | None = None


@dataclass(frozen=True, slots=True)
class InvalidSettings:
    """How much of the input may be unusable before somebody is told (`impactd.core.inputs.reject_rate`)."""

    #: Refused messages among all; None never tells.
    max_ratio: float | None = 0.1
    #: Fewer in the window say nothing.
    min_messages: int = 100
    window_intervals: int = 5


@dataclass(frozen=True, slots=True)
class WireSettings:
    """How bytes become events, and messages bytes.

    Nothing in the core reads it. It stands here because a journal that does
    not say it cannot be followed to the same bytes.
    """

    #: Codec of tick records that name none.
    codec: str = "json"
    timestamps: str = "int"
    max_message_bytes: int = 1_000_000
    max_dead_letter_bytes: int = 512 * 1024
    #: Role and name of each input topic: headers hold them, and positions are of these.
    inputs: tuple[tuple[str, str], ...] = tuple((topic.value, f"impactd.{topic.value}") for topic in INPUT_TOPICS)


@dataclass(frozen=True, slots=True)
class CoreSettings:
    """All that the core is told at its start."""

    books: BookSettings = field(default_factory=BookSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    plans: PlanSettings = field(default_factory=PlanSettings)
    session: SessionRule = field(default_factory=SessionRule)
    #: When orders, executions and control apply: "on_arrival" or "in_event_time".
    apply: str = "on_arrival"
    max_symbols: int = 5_000
    gate: GateSettings = field(default_factory=GateSettings)
    invalid: InvalidSettings = field(default_factory=InvalidSettings)
    wire: WireSettings = field(default_factory=WireSettings)

"""Every setting, its type, its range, its default and one line about it.

Times are in the unit that the name ends with.  What the core is told is
derived from these values by `Settings.core`; the Kafka client's by the
composition root, since no layer here knows of the shell.
"""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from impactd.config.base import DAY_S, Bytes, ClockTime, LocalDate, Positive, Seconds, Section, Zone
from impactd.config.cluster import JournalSection, KafkaSection, TopicsSection
from impactd.config.controls import ControlsSection, GateSection, InvalidSection
from impactd.config.hours import WEEKDAYS, session_rule
from impactd.config.operation import HealthSection, HttpSection, SelftestSection
from impactd.core.base.settings import (
    SECOND_NS,
    BookSettings,
    CoreSettings,
    GateSettings,
    InvalidSettings,
    ModelSettings,
    PlanSettings,
    SessionRule,
    WireSettings,
)
from impactd.core.base.topics import INPUT_TOPICS
from impactd.wire.registry import CODECS, DEFAULT_CODEC

Column = Annotated[tuple[float, ...], Field(strict=False, min_length=1, max_length=1_500)]

Codec = Annotated[
    str,
    AfterValidator(CODECS.check),
    Field(json_schema_extra=lambda schema: schema.update(enum=list(CODECS.names()))),
]

_BOOKS: Final = BookSettings()
_MODEL: Final = ModelSettings()
_PLANS: Final = PlanSettings()
_CORE: Final = CoreSettings()


def _seconds(ns: int | None) -> float:
    return 0.0 if ns is None else ns / SECOND_NS


class WireSection(Section):
    """Formats of records."""

    codec: Codec = DEFAULT_CODEC
    """Codec of tick records whose header names none."""
    timestamps: Literal["int", "string"] = "int"
    """How times are published: as integers, or as strings for JavaScript readers."""
    max_message_bytes: Bytes = 1_000_000
    """Largest record accepted or published."""


class BooksSection(Section):
    """Which books are usable and how long they stand."""

    interval_s: Annotated[int, Field(ge=1, le=DAY_S)] = _BOOKS.interval_ns // SECOND_NS
    """Length of an execution interval; divides a day."""
    grace_s: Seconds = _seconds(_BOOKS.grace_ns)
    """How long after its end a minute stays open for late ticks."""
    max_clock_skew_s: Seconds = _seconds(_BOOKS.max_clock_skew_ns)
    """How far ts_event may lie ahead of its record's timestamp."""
    max_book_age_s: Annotated[float, Field(gt=0, le=366 * DAY_S)] | None = None
    """On polled feeds, age beyond which a book no longer stands; unset on event-driven ones."""
    max_silence_s: Seconds = _seconds(_BOOKS.max_silence_ns)
    """A feed silent for longer than this is taken as lost."""
    allow_locked: bool = _BOOKS.allow_locked
    """Whether a book whose best bid equals its best ask is usable."""
    max_levels: Annotated[int, Field(ge=1, le=1_000)] = _BOOKS.max_levels
    """Levels a side; a record with more is refused."""
    n_sizes: Annotated[int, Field(ge=2, le=256)] = _BOOKS.n_sizes
    """Sizes on the slippage grid."""
    sizes: Annotated[tuple[Positive, ...], Field(strict=False, max_length=256)] = _BOOKS.sizes
    """Fixed grid of sizes in shares; empty: chosen from the visible depth and the plans."""
    min_coverage: Annotated[float, Field(gt=0, le=1)] = _BOOKS.min_coverage
    """Share of the covered time from which a size enters a fit."""
    max_symbols: Annotated[int, Field(ge=1, le=1_000_000)] = _CORE.max_symbols
    """Symbols a partition holds at most."""

    @model_validator(mode="after")
    def _sane(self) -> Self:
        if DAY_S % self.interval_s:
            raise ValueError(f"interval_s must divide a day of {DAY_S} s")
        if any(b <= a for a, b in zip(self.sizes, self.sizes[1:], strict=False)):
            raise ValueError("sizes must ascend")
        return self


class ProfileSection(Section):
    """A profile of the session, in columns: logs of each series at knots from the open (0) to the close (1)."""

    knots: Column
    """Positions in the session, strictly ascending in 0..1."""
    spread: Column
    """Log half-spread; only differences matter."""
    excess: Column
    """Log of the impact beyond the half-spread."""
    volume: Column
    """Log volume."""
    weight: Column
    """Days of the symbol that each knot was learned from; 0 for a prior."""

    @model_validator(mode="after")
    def _is_a_profile(self) -> Self:
        from impactd.core.model.profile.profile import from_columns  # noqa: PLC0415  # loads the compiler, for those who need it

        from_columns(self.columns())
        return self

    def columns(self) -> tuple[tuple[float, ...], ...]:
        """Return the columns in the core's order."""
        return self.knots, self.spread, self.excess, self.volume, self.weight


class ModelSection(Section):
    """The impact model and its forecast."""

    kind: Literal["linear", "quadratic", "power"] = "linear"
    """Shape of the impact curve."""
    intercept: bool = _MODEL.intercept
    """Whether the half-spread is fitted; off for curves through the origin."""
    mean_half_life_minutes: Positive = _MODEL.mean_half_life_minutes
    """Half-life of the filtered mean."""
    gain: Annotated[float, Field(ge=0, lt=1)] = _MODEL.gain
    """Weight of the latest deviation in a forecast."""
    reversion_half_life_minutes: Positive = _MODEL.reversion_half_life_minutes
    """Half-life with which a deviation dies out."""
    adaptive: bool = _MODEL.adaptive
    """Whether gain and reversion half-life follow what each symbol shows, from these on; off: these for all."""
    guard: bool = _MODEL.guard
    """Whether plans follow the forecast less, down to TWAP, the less such plans have earned."""
    huber: Positive = _MODEL.huber
    """Standardised residual beyond which a minute loses weight."""
    fill_bias_limit: Annotated[float, Field(ge=0, le=3)] = _MODEL.fill_bias_limit
    """How far a persistent bias of taker fills may correct expected costs: 0.25 is up to a quarter; 0: never."""
    prior_profile: bool = _MODEL.prior_profile
    """Whether a cold start assumes the generic intraday profile."""
    learn_profile: bool = _MODEL.learn_profile
    """Whether the day's shape of spread and depth is learned from each symbol's own days."""
    profile: ProfileSection | None = None
    """Profile of the session to start from, as `impactd replay --profile-out` writes it; none: see prior_profile."""
    deltas: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1.5)], ...], Field(strict=False, min_length=1, max_length=64)
    ] = _MODEL.deltas
    """Exponents that the power model chooses from."""
    learned: str = _MODEL.learned
    """Trained file, as `impactd train` writes it, that corrects the forecast; empty: none does."""

    def trained(self) -> str:
        """Return the hash of the trained file with its trees beside it; empty where none is named.

        Raises
        ------
        ValueError
            If the file cannot be read, or is none.
        """
        if not self.learned:
            return ""
        from impactd.core.model.learned.trees import TrainedFile  # noqa: PLC0415  # loads the compiler, for those who need it

        try:
            return TrainedFile.of(Path(self.learned).read_bytes())
        except OSError as error:
            raise ValueError(f"{self.learned} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"{self.learned} {error}") from error


class PlansSection(Section):
    """How plans are made and when they are replaced."""

    apply: Literal["on_arrival", "in_event_time"] = "on_arrival"
    """When orders, executions and control apply: at once, or when ticks have passed their time (recorded days)."""
    child_slices: Annotated[int, Field(ge=1, le=1_000)] = _PLANS.child_slices
    """Equal slices an interval, full resilience between them."""
    replan_threshold_bps: Annotated[float, Field(ge=0)] = _PLANS.replan_threshold_bps
    """A plan is replaced only for more than this, unless something forces it."""
    fills: Literal["reported", "scheduled"] = "reported"
    """Whether only reported fills count, or each interval's quantity counts as filled at its end."""
    solvers: Annotated[
        tuple[Literal["exact", "clarabel", "osqp", "scs", "slsqp", "trust-constr"], ...],
        Field(strict=False, min_length=1),
    ] = ("exact", "clarabel", "slsqp")
    """Solvers in the order in which they are tried."""
    band_level: Annotated[float, Field(gt=0, lt=1)] = _PLANS.band_level
    """Nominal coverage of a plan's cost_band; 0.8 is a band that four of five plans should end in."""
    max_group: Annotated[int, Field(ge=1, le=100)] = _PLANS.max_group
    """Orders on one symbol and side planned together at most; of more, and at 1, each is planned by itself."""
    group_risk: bool = _PLANS.group_risk
    """Whether orders with risk aversion are planned with the others, which takes up to a second."""
    transient_share: Annotated[float, Field(ge=0, le=1)] = _PLANS.transient_share
    """Part of the measured linear impact that lasts beyond its interval and decays (not with a power model)."""
    resilience_half_life_s: Annotated[float, Field(gt=0, le=30 * DAY_S)] = _seconds(_PLANS.resilience_half_life_ns)
    """Time in which that part falls to a half."""
    max_orders: Annotated[int, Field(ge=1)] = _PLANS.max_orders
    """Orders a partition holds at most."""
    max_executions: Annotated[int, Field(ge=1)] = _PLANS.max_executions
    """Executions an order has at most; one more goes to the dead letters, and halts it."""
    max_horizon_intervals: Annotated[int, Field(ge=1, le=1_000_000)] = _PLANS.max_horizon_intervals
    """Longest execution window, in intervals."""
    hold_s: Seconds = _seconds(_PLANS.hold_ns)
    """How long a fill or amendment waits for its order."""
    max_held: Annotated[int, Field(ge=0)] = _PLANS.max_held
    """How many of them wait at most."""
    keep_ended_s: Seconds = _seconds(_PLANS.keep_ended_ns)
    """How long an ended order is remembered, for late executions and repeated orders."""
    missing_ticks_s: Seconds = _seconds(_PLANS.missing_ticks_ns)
    """Alert when a symbol with an open order has no tick for so long."""


class SessionSection(Section):
    """Trading hours; the default is a market that never closes."""

    timezone: Zone = "UTC"
    """Time zone of open and close, by its IANA name."""
    open: ClockTime = "00:00"
    """Local time at which the session opens."""
    close: ClockTime = "24:00"
    """Local time at which it closes; at or before open: on the next day."""
    days: Annotated[
        tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...], Field(strict=False, min_length=1)
    ] = WEEKDAYS
    """Days of the week on which it opens, by the local date of the open."""
    holidays: Annotated[tuple[LocalDate, ...], Field(strict=False, max_length=10_000)] = ()
    """Local dates on which it does not open, such as 2026-12-25."""


class ReplaySection(Section):
    """How `impactd replay` works through files."""

    batch_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 5_000
    """Records decoded together; changes no byte of the result."""
    partitions: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Partitions to spread the symbols over, as the topics do."""
    fills: Literal["auto", "reported", "scheduled"] = "auto"
    """auto: reported where executions are given, else scheduled."""


class LogSection(Section):
    """What the process says about itself, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is written."""
    format: Literal["auto", "json", "console"] = "auto"
    """auto: for people on a terminal, JSON otherwise."""
    per_minute: Annotated[int, Field(ge=0, le=1_000_000)] = 60
    """Lines of the same event and partition a minute, the others are counted; 0: all."""


class Settings(Section):
    """Everything that can be set."""

    kafka: KafkaSection = KafkaSection()
    """The cluster, and how this service behaves on it."""
    topics: TopicsSection = TopicsSection()
    """Names and properties of the topics."""
    journal: JournalSection = JournalSection()
    """Snapshots in the journal, and changes of settings."""
    wire: WireSection = WireSection()
    """Formats of records."""
    books: BooksSection = BooksSection()
    """Which books are usable and how long they stand."""
    model: ModelSection = ModelSection()
    """The impact model and its forecast."""
    plans: PlansSection = PlansSection()
    """How plans are made and when they are replaced."""
    gate: GateSection = GateSection()
    """Limits that a plan must hold to be published."""
    invalid: InvalidSection = InvalidSection()
    """How much of the input may be unusable."""
    controls: ControlsSection = ControlsSection()
    """What stops plans from outside."""
    session: SessionSection = SessionSection()
    """Trading hours."""
    replay: ReplaySection = ReplaySection()
    """How files are replayed."""
    http: HttpSection = HttpSection()
    """Where /livez, /readyz and /metrics are served."""
    health: HealthSection = HealthSection()
    """When the process is not ready, and when it gives itself up."""
    selftest: SelftestSection = SelftestSection()
    """What the daily check calls healthy."""
    log: LogSection = LogSection()
    """What the process says about itself."""

    @model_validator(mode="after")
    def _transient_is_linear(self) -> Self:
        if self.plans.transient_share > 0 and self.model.kind == "power":
            raise ValueError(
                "plans.transient_share: a power model has no linear term that could last; "
                "set it to 0, or model.kind to linear or quadratic"
            )
        return self

    def _model(self) -> dict[str, Any]:
        profile = () if self.model.profile is None else self.model.profile.columns()
        return {"profile": profile, "learned": self.model.trained()}

    def _wire(self) -> WireSettings:
        names = self.topics.names
        return WireSettings(
            self.wire.codec,
            self.wire.timestamps,
            self.wire.max_message_bytes,
            self.kafka.max_dead_letter_bytes,
            tuple(
                (topic.value, getattr(names, topic.value) or self.topics.prefix + topic.value) for topic in INPUT_TOPICS
            ),
        )

    def _session(self) -> SessionRule:
        hours = self.session
        return session_rule(hours.timezone, hours.open, hours.close, hours.days, hours.holidays)

    def core(self) -> CoreSettings:
        """Return what the core is told: all that can change a published byte."""
        return CoreSettings(
            books=BookSettings(**_in_ns(self.books, BookSettings)),
            model=ModelSettings(**_in_ns(self.model, ModelSettings) | self._model()),
            plans=PlanSettings(**_in_ns(self.plans, PlanSettings)),
            session=self._session(),
            apply=self.plans.apply,
            max_symbols=self.books.max_symbols,
            gate=GateSettings(**self.gate.model_dump()),
            invalid=InvalidSettings(**self.invalid.model_dump()),
            wire=self._wire(),
        )


def _in_ns(section: Section, of: type[BookSettings | ModelSettings | PlanSettings]) -> dict[str, Any]:
    """Return the values of the fields of `of`, with ``_s`` in seconds made ``_ns``."""
    values: dict[str, Any] = {}
    for item in fields(of):
        if item.name.endswith("_ns"):
            seconds = getattr(section, f"{item.name[:-3]}_s")
            values[item.name] = None if seconds is None else round(Decimal(str(seconds)) * SECOND_NS)
        else:
            values[item.name] = getattr(section, item.name)
    return values

"""Every setting, its type, its range, its default and one line about it.

Times are in the unit that the name ends with.  What can change a published byte
is stated in the core (`impactd.core.base.settings`), and its sections take it from
there; `Settings.core` turns their values into the core's.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from impactd.config.base import (
    ClockSpan,
    ClockTime,
    CoreSection,
    LocalDate,
    Section,
    SpecialDay,
    Zone,
    core_values,
    derived,
)
from impactd.config.calendars import calendar
from impactd.config.cluster import JournalSection, KafkaSection, TopicsSection
from impactd.config.controls import ControlsSection
from impactd.config.hours import WEEKDAYS, as_clock, parse_date, session_rule, special_days
from impactd.config.operation import FixSection, HealthSection, HttpSection, SelftestSection, TelemetrySection
from impactd.config.registry import RegistrySection
from impactd.core.allocator.solvers.registry import SOLVERS
from impactd.core.base.instrument import Instrument
from impactd.core.base.settings import (
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
from impactd.core.base.venue import VenueRule
from impactd.core.model.kinds.registry import MODEL_KINDS, impact_model
from impactd.wire.registry import CODECS

Column = Annotated[tuple[float, ...], Field(strict=False, min_length=1, max_length=1_500)]


@derived(WireSettings, names={"codec": CODECS})
class WireSection(CoreSection):
    """Formats of records."""


@derived(CoreSettings, "max_symbols")
@derived(BookSettings)
class BooksSection(CoreSection):
    """Which books are usable, and for how long they prevail."""


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


@derived(ModelSettings, names={"kind": MODEL_KINDS})
class ModelSection(CoreSection):
    """The impact model and its forecast."""

    profile: ProfileSection | None = None
    """Profile of the session to start from, as `impactd replay --profile-out` writes it; none: see prior_profile."""
    learned: str = ""
    """File written by `impactd train` that corrects the forecast; empty: none."""

    def trained(self) -> str:
        """Return the hash of the trained file with what it holds next to it; empty where none is named.

        Raises
        ------
        ValueError
            If the file cannot be read, or is none.
        """
        if not self.learned:
            return ""
        from impactd.core.model.learned.trained import TrainedFile  # noqa: PLC0415  # loads the compiler, for those who need it

        try:
            return TrainedFile.of(Path(self.learned).read_bytes())
        except OSError as error:
            raise ValueError(f"{self.learned} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"{self.learned} {error}") from error


@derived(PlanSettings, names={"solvers": SOLVERS})
@derived(CoreSettings, "apply")
class PlansSection(CoreSection):
    """How plans are made and when they are replaced."""


@derived(GateSettings)
class GateSection(CoreSection):
    """Limits for published plans; a plan that cannot be compared with them is withheld. Unset: no limit."""


@derived(InvalidSettings)
class InvalidSection(CoreSection):
    """How much of the input may be unusable before an alert is raised and the process is not ready."""


class HoursSection(Section):
    """Trading hours: an exchange's calendar, or set by hand; the default is a market that never closes."""

    calendar: str = ""
    """Calendar of an exchange by its MIC, such as XNYS, or a file that `impactd calendar` made; empty: none. Set
    together with it, open, close, days and breaks replace the calendar's, and holidays and special add to them."""
    timezone: Zone = "UTC"
    """Time zone of open and close, by its IANA name; a calendar has its own."""
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
    breaks: Annotated[tuple[ClockSpan, ...], Field(strict=False, max_length=10)] = ()
    """Breaks of every session in local time, such as "11:30-12:30"."""
    special: Annotated[tuple[SpecialDay, ...], Field(strict=False, max_length=10_000)] = ()
    """Days with other hours, such as "2025-11-28 09:30-13:00"; several are FIRST..LAST."""

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        self.rule()
        return self

    @property
    def zone(self) -> str:
        """Time zone of the hours, by its IANA name."""
        return calendar(self.calendar).timezone if self.calendar else self.timezone

    def rule(self) -> SessionRule:
        """Return the hours as data.

        Raises
        ------
        ValueError
            If the calendar cannot be used, or settings contradict each other.
        """
        given = self.model_fields_set
        if not self.calendar:
            rule = session_rule(
                self.timezone, self.open, self.close, self.days, self.holidays, self.breaks, self.special
            )
        else:
            base = calendar(self.calendar).rule
            if "timezone" in given:
                raise ValueError("timezone: the calendar has its own; leave one of them out")
            # The one that is not given is the calendar's; a close before the open is on the next day.
            opens = self.open if "open" in given else as_clock(base.open_s)
            closes = self.close if "close" in given else as_clock(base.close_s)
            by_hand = session_rule("UTC", opens, closes, self.days, (), self.breaks)
            clock = by_hand if {"open", "close"} & given else base
            special = special_days(self.special, base.special)
            reopened = {day for first, last, _, _ in special_days(self.special) for day in range(first, last + 1)}
            rule = replace(
                base,
                open_s=clock.open_s,
                close_s=clock.close_s,
                days=by_hand.days if "days" in given else base.days,
                breaks=by_hand.breaks if "breaks" in given else base.breaks,
                special=special,
                holidays=tuple(sorted({*base.holidays, *map(parse_date, self.holidays)} - reopened)),
            )
        both = [day for day in self.holidays if any(day == text.split(" ")[0] for text in self.special)]
        if both:
            raise ValueError(f"special: {both[0]} is one of holidays too; keep one of them")
        rule.check()
        return rule


class SymbolHours(HoursSection):
    """Hours of the symbols that a pattern names."""

    symbols: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, min_length=1)]
    """Symbols, or patterns of them such as BTC* (* any text, ? one character); the first entry that matches applies."""


class SessionSection(HoursSection):
    """Trading hours: an exchange's calendar, or set by hand; the default is a market that never closes."""

    by_symbol: Annotated[tuple[SymbolHours, ...], Field(strict=False, max_length=1_000)] = ()
    """Hours of some symbols: tables [[session.by_symbol]] with symbols and the keys of [session]."""


@derived(Instrument)
class InstrumentSection(CoreSection):
    """Definition of the symbols that match a pattern; fields that it does not set come from the topic or the feed."""

    symbols: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, min_length=1)]
    """Symbols, or patterns of them such as ES* (* any text, ? one character); the first entry that matches applies."""


@derived(VenueRule)
class VenueSection(CoreSection):
    """What is stated of one venue; the first entry that names a venue and matches a symbol applies."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]
    """The venue, as ticks, fills and orders name it, such as XNAS."""
    symbols: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, min_length=1)] = ("*",)
    """Symbols, or patterns of them such as BTC*, that it is about."""


class ReplaySection(Section):
    """How `impactd replay` works through files."""

    batch_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 5_000
    """Records decoded together; changes no byte of the result."""
    partitions: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Partitions to spread the symbols over, as the topics do."""
    fills: Literal["auto", "reported", "scheduled"] = "auto"
    """auto: reported where executions are given, else scheduled."""


class LogSection(Section):
    """Logging, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is written."""
    libraries: Literal["debug", "info", "warning", "error"] = "warning"
    """Lowest level of other libraries; at debug numba alone writes megabytes while it compiles."""
    format: Literal["auto", "json", "console"] = "auto"
    """auto: for people on a terminal, JSON otherwise."""
    per_minute: Annotated[int, Field(ge=0, le=1_000_000)] = 60
    """Lines of the same event and partition a minute, the others are counted; 0: all."""


class Settings(Section):
    """All settings; a section's own docstring states what it is for."""

    kafka: KafkaSection = KafkaSection()
    topics: TopicsSection = TopicsSection()
    journal: JournalSection = JournalSection()
    wire: WireSection = WireSection()
    books: BooksSection = BooksSection()
    model: ModelSection = ModelSection()
    plans: PlansSection = PlansSection()
    gate: GateSection = GateSection()
    invalid: InvalidSection = InvalidSection()
    controls: ControlsSection = ControlsSection()
    session: SessionSection = SessionSection()
    instruments: Annotated[tuple[InstrumentSection, ...], Field(strict=False, max_length=10_000)] = ()
    """Definitions of instruments: tables [[instruments]] with symbols, tick, lot, multiplier and the like."""
    venues: Annotated[tuple[VenueSection, ...], Field(strict=False, max_length=10_000)] = ()
    """Venues: tables [[venues]] with name, fees, lot, age and the publishers of files."""
    replay: ReplaySection = ReplaySection()
    http: HttpSection = HttpSection()
    health: HealthSection = HealthSection()
    telemetry: TelemetrySection = TelemetrySection()
    fix: FixSection = FixSection()
    selftest: SelftestSection = SelftestSection()
    log: LogSection = LogSection()
    registry: RegistrySection = RegistrySection()

    @model_validator(mode="after")
    def _format_has_a_registry(self) -> Self:
        if self.wire.format != "json" and self.registry.url is None:
            raise ValueError(f"wire.format: {self.wire.format} needs a schema registry; set registry.url")
        if self.wire.format != "json" and self.wire.timestamps == "string":
            raise ValueError(f"wire.timestamps: {self.wire.format} has times as integers alone; set it to int")
        return self

    @model_validator(mode="after")
    def _transient_is_linear(self) -> Self:
        if self.plans.transient_share > 0 and not impact_model(core_values(self.model, ModelSettings)).has_linear_term:
            raise ValueError(
                f"plans.transient_share: a {self.model.kind} model has no linear term that could last; "
                "set it to 0, or choose another model.kind"
            )
        return self

    def core(self) -> CoreSettings:
        """Return what the core is told: all that can change a published byte."""
        hours, profile = self.session, self.model.profile
        return CoreSettings(
            books=core_values(self.books, BookSettings),
            model=core_values(
                self.model,
                ModelSettings,
                profile=() if profile is None else profile.columns(),
                learned=self.model.trained(),
            ),
            plans=core_values(self.plans, PlanSettings),
            session=hours.rule(),
            sessions=(
                *((pattern, its.rule()) for its in hours.by_symbol for pattern in its.symbols),
                *(
                    (pattern, HoursSection(calendar=its.calendar).rule())
                    for its in self.instruments
                    if its.calendar is not None
                    for pattern in its.symbols
                ),
            ),
            instruments=tuple(
                (pattern, core_values(its, Instrument)) for its in self.instruments for pattern in its.symbols
            ),
            venues=tuple(core_values(its, VenueRule, name=its.name, symbols=its.symbols) for its in self.venues),
            apply=self.plans.apply,
            max_symbols=self.books.max_symbols,
            gate=core_values(self.gate, GateSettings),
            invalid=core_values(self.invalid, InvalidSettings),
            wire=self.formats(),
        )

    def formats(self) -> WireSettings:
        """Return the formats of records, and the names of the inputs."""
        return core_values(
            self.wire,
            WireSettings,
            max_dead_letter_bytes=self.kafka.max_dead_letter_bytes,
            inputs=tuple((topic.value, self.topics.name(topic)) for topic in INPUT_TOPICS),
        )

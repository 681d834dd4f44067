"""What commands on orders share: options made from the terms, local times, and the record that they become.

The options of an order's instructions are made from `impactd.core.inputs.terms.Terms`, so that a new term has its
option at once.  What is sent is decoded first with the service's own decoder: a record that it would refuse is
never sent.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from impactd.cli.common import Data, InputError, NothingUsableError, in_order, settings_options, translated
from impactd.cli.hours import Hours, hours, is_clock

if TYPE_CHECKING:
    from impactd.config import Loaded, Settings
    from impactd.core.base.session import Session
    from impactd.core.inputs.events import NewOrder

#: Options that are shorter than the terms' names.
_SHORT: Final = {
    "order_qty": "--qty",
    "start": "--from",
    "end": "--to",
    "participation_rate": "--participation",
    "lot_size": "--lot",
    "limit_px": "--limit",
}
_NONE: Final = "none"
_THOUSANDS: Final = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?%?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Ticket:
    """Options that all of new, replace and cancel have."""

    symbol: str | None
    day: str | None
    tz: str | None
    session: str | None
    file: Path | None
    dry_run: bool
    config: Path | None
    sets: tuple[str, ...]

    @classmethod
    def of(cls, options: dict[str, Any]) -> Ticket:
        """Take the ticket's options out of all options."""
        return cls(**{item.name: options.pop(item.name) for item in dataclasses.fields(cls)})


TICKET: Final = frozenset(item.name for item in dataclasses.fields(Ticket))


time_options = in_order(
    click.option(
        "--date", "day", metavar="YYYY-MM-DD", help="Local day of the times.  [default: today, or the data's]"
    ),
    click.option("--tz", metavar="ZONE", help="Zone of local times.  [default: that of the symbol's session]"),
    click.option("--session", metavar="OPEN-CLOSE|CALENDAR", help="Trading hours that open and close refer to."),
)
ticket_options = in_order(
    settings_options,
    time_options,
    click.option("--file", type=click.Path(dir_okay=False, path_type=Path), help="Append to this file; send nothing."),
    click.option("--dry-run", is_flag=True, help="Show the record; send nothing."),
)


def term_options(*, new: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds an option for each term."""
    from impactd.core.inputs.terms import Terms
    from impactd.core.outputs.units import Unit
    from impactd.wire.message_types import field_type, message_fields

    hints = message_fields(Terms)
    forms = {
        Unit.TIME: "HH:MM|open|close|TIME",
        Unit.SHARE: "10%",
        Unit.FLAG: "yes|no",
        Unit.WINDOWS: "HH:MM-HH:MM,...",
        Unit.VENUES: "NAME,...",
        Unit.QUANTA: "QTY",
        Unit.AUCTIONS: "none|open|close|both",
        Unit.URGENCY: "low|normal|high|get_done|NUMBER",
    }

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for name, hint in reversed(list(hints.items())):
            found = field_type(hint)
            text = found.meaning.replace("`", "")
            option = _SHORT.get(name, f"--{name.replace('_', '-')}")
            required = new and name == "order_qty"
            metavar = forms.get(found.unit, "NUMBER") if found.unit else "VALUE"
            function = click.option(option, name, metavar=metavar, required=required, help=text)(function)
        return function

    return decorate


def new_order(
    side: str, cl_ord_id: str | None, ticket: Ticket, loaded: Loaded, data: Data | None, given: dict[str, Any]
) -> tuple[dict[str, Any], Clock, Hours, int]:
    """Return the record of a new order, its clock, the hours, and in how many segments its day trades."""
    traded = hours(loaded, session_zone(ticket, loaded), ticket.session, data)
    symbol, first_ns = of_data(data, ticket.symbol, loaded)
    now = now_ns() if first_ns is None else first_ns
    session = session_of(traded, loaded, symbol)
    clock = Clock(session, ticket.tz or zone_of(traded, loaded, symbol), ticket.day, now)
    if given["start"] is None and data is not None:
        given["start"] = "open"
    given["end"] = given["end"] or "close"
    values = values_of(given, clock)
    start = values.setdefault("start", now)
    entered = now if data is None else start
    head = {"type": "new", "cl_ord_id": cl_ord_id or "new", "symbol": symbol, "side": side, "ts_event": entered}
    if values["end"] <= start:
        first, last = (f"{local_time(ns, clock.zone):%Y-%m-%d %H:%M:%S}" for ns in (start, values["end"]))
        if given["start"] is None:
            raise InputError(f"--to: {last} {clock.zone} is over; give --from, or a later --to or --date")
        raise InputError(f"--to: {last} is not after --from {first} {clock.zone}; give a later time")
    record = head | values
    check_record(record, loaded.settings)
    return record, clock, traded, len(session.segments_on(clock.day))


def session_zone(ticket: Ticket, loaded: Loaded) -> str | None:
    """Return the zone that ``--tz`` gives the session: none where a calendar or the settings have named its own."""
    if ticket.session is not None:
        return ticket.tz if is_clock(ticket.session) else None
    named = loaded.file is not None or any(
        path.startswith("session.") and by != "default" for path, by in loaded.origins.items()
    )
    return None if named else ticket.tz


@dataclass(frozen=True, slots=True)
class Clock:
    """Local times of one day."""

    session: Session
    zone: str
    text: str | None
    #: UTC ns: the wall clock, or the first row of the data.
    now: int

    @property
    def day(self) -> int:
        """Local day since 1970-01-01."""
        from datetime import UTC, date, datetime
        from zoneinfo import ZoneInfo

        if self.text is None:
            found = datetime.fromtimestamp(self.now // 1_000_000_000, UTC).astimezone(ZoneInfo(self.zone)).date()
        else:
            try:
                found = date.fromisoformat(self.text)
            except ValueError as error:
                raise InputError(f"--date: needs a local date such as 2025-04-03, not {self.text!r}") from error
        return (found - date(1970, 1, 1)).days

    def at(self, text: str, option: str) -> int:
        """Return the UTC ns of a local time, ``open``, ``close``, or a time with its zone."""
        from datetime import UTC, date, datetime, timedelta
        from zoneinfo import ZoneInfo

        from impactd.cli.times import parse_when
        from impactd.config.hours import parse_clock

        if text in {"open", "close"}:
            segments = self.session.segments_on(self.day)
            if not segments:
                day = date(1970, 1, 1) + timedelta(self.day)
                raise InputError(f"{option} {text}: there is no session on {day}; give --date, or a time")
            return segments[0][0] if text == "open" else segments[-1][1]
        if text == "now":
            return self.now
        try:
            second = parse_clock(text)
        except ValueError:
            try:
                return parse_when(text, option, self.now)
            except InputError as error:
                raise InputError(f"{error.message}; or a local one such as 10:00, open or close") from None
        midnight = datetime(1970, 1, 1) + timedelta(self.day)  # noqa: DTZ001  # the zone follows
        local = (midnight + timedelta(seconds=second)).replace(tzinfo=ZoneInfo(self.zone))
        found = int(local.astimezone(UTC).timestamp()) * 1_000_000_000
        if (there := local_time(found, self.zone)).time() != local.time():
            raise InputError(
                f"{option} {text}: clocks go forward over it on {local:%Y-%m-%d} in {self.zone}; give {there:%H:%M}"
            )
        return found


def values_of(given: dict[str, Any], clock: Clock) -> dict[str, Any]:
    """Return the terms that were given, as a record has them."""
    from impactd.core.inputs.terms import Terms
    from impactd.wire.message_types import field_type, message_fields

    out: dict[str, Any] = {}
    for name, hint in message_fields(Terms).items():
        text = given.get(name)
        if text is not None:
            option = _SHORT.get(name, f"--{name.replace('_', '-')}")
            out[name] = None if text == _NONE else _value(text, field_type(hint).unit, option, clock)
    return out


def _value(text: str, unit: Any, option: str, clock: Clock) -> Any:
    from impactd.core.outputs.units import Unit

    match unit:
        case Unit.TIME:
            return clock.at(text, option)
        case Unit.WINDOWS:
            pairs = [part.partition("-") for part in text.split(",")]
            return [[clock.at(begin.strip(), option), clock.at(end.strip(), option)] for begin, _, end in pairs]
        case Unit.VENUES:
            return [part.strip() for part in text.split(",")]
        case Unit.FLAG:
            if text not in {"yes", "no", "true", "false"}:
                raise InputError(f"{option}: needs yes or no, not {text!r}")
            return text in {"yes", "true"}
        case _:
            if "," in text and not _THOUSANDS.fullmatch(text):
                raise InputError(f"{option}: {text!r}: a comma separates thousands, as in 20,000; a point decimals")
            number = text.replace(",", "").replace("_", "")
            percent = number.endswith("%")
            if percent and unit is not Unit.SHARE:
                raise InputError(f"{option}: {text!r} is a percentage, and it is no share; give a plain number")
            try:
                value = float(number.removesuffix("%"))
            except ValueError:
                return text  # a word, which the decoder knows or refuses by name
            if not math.isfinite(value):
                raise InputError(f"{option}: needs a finite number, not {text!r}")
            if percent:
                return round(value / 100, 12)
            return int(value) if value == int(value) and abs(value) < 2**63 else value


def check_record(record: dict[str, Any], settings: Settings) -> None:
    """Refuse a record that the service would refuse, or a new order that it would reject for its terms."""
    from impactd.cli.compose import limits
    from impactd.core.base.topics import Topic
    from impactd.core.inputs.events import NewOrder
    from impactd.wire.codec import FROM_DATA
    from impactd.wire.json_orders import decode_events

    decoded = decode_events(Topic.ORDERS, [encoded(record, settings)], [0], [FROM_DATA], None, limits(settings))
    why = decoded.refused[0].detail if decoded.refused else None
    for received in decoded.events:
        if isinstance(received.event, NewOrder):
            why = _rejection(received.event, settings)
    if why is not None:
        raise InputError(f"the service would refuse this: {why}")


def _rejection(order: NewOrder, settings: Settings) -> str | None:
    """Return why the service would reject an order for its terms, or None; what the symbol allows is not known here."""
    from impactd.core.base.instrument import Instrument
    from impactd.core.orders.life import refusal
    from impactd.core.orders.order import ApplyContext

    terms, core = order.terms, settings.core()
    prices = [px for px in (terms.limit_px, terms.would_px) if px is not None]
    instrument = Instrument(negative_px=True if any(px <= 0.0 for px in prices) else None)
    most = core.plans.max_horizon_intervals
    at = ApplyContext(terms.start, core.books.interval_ns, most, core.plans.max_executions, venues=terms.venues)
    return refusal(terms, order.side, at, instrument)


def encoded(record: dict[str, Any], settings: Settings) -> bytes:
    """Return a record's bytes, its times in the unit that the settings name."""
    import orjson

    from impactd.wire.json_orders import TIME_FIELDS
    from impactd.wire.times import UNITS

    unit = UNITS[settings.wire.time_unit]

    def converted(value: Any) -> Any:
        return [converted(item) for item in value] if isinstance(value, list) else value // unit

    times = {name: converted(record[name]) for name in TIME_FIELDS if record.get(name) is not None}
    return orjson.dumps(record | times)


def of_data(data: Data | None, symbol: str | None, loaded: Loaded) -> tuple[str, int | None]:
    """Return the order's symbol, and the time of the data's first row."""
    if data is None:
        if symbol is None:
            raise InputError("--symbol: is needed")
        return symbol, None

    from impactd.cli.compose import limits
    from impactd.core.base.venue import whole_of
    from impactd.shell.files import FileReport
    from impactd.shell.recorded import read_ticks

    with translated():
        reports = []
        for path in data.paths:
            reports.append(FileReport(path))
            for decoded in read_ticks(path, data.codec, data.symbol, limits=limits(loaded.settings)):
                reports[-1].add(0, decoded.refused, decoded.skipped_unknown)
                if not len(decoded.batch):
                    continue
                # An order is for a symbol, not for the symbol at one venue.
                names = list(dict.fromkeys(map(whole_of, decoded.batch.symbols)))
                if symbol is None and len(names) > 1:
                    raise InputError(f"--symbol: the data have {', '.join(names[:5])}; name one")
                return symbol or names[0], int(decoded.batch.ts_event[0])
    raise NothingUsableError("\n".join(f"--data: {report.unusable()}" for report in reports))


def session_of(traded: Hours, loaded: Loaded, symbol: str) -> Session:
    """Return the session of a symbol under the hours in force."""
    from impactd.core.base.session import Sessions

    return Sessions(traded.applied(loaded.settings.core())).of(symbol)


def zone_of(traded: Hours, loaded: Loaded, symbol: str) -> str:
    """Return the zone of a symbol's session."""
    from fnmatch import fnmatchcase

    if traded.sessions:
        for its in loaded.settings.session.by_symbol:
            if any(fnmatchcase(symbol, pattern) for pattern in its.symbols):
                return its.zone
    return traded.zone


def now_ns() -> int:
    """Return the time of the wall clock, UTC ns."""
    import time

    return time.time_ns()


def clock_on(ns: int, zone: str, day_ns: int) -> str:
    """Return the local time of day of `ns`, with its date where it is another day than that of `day_ns`."""
    at, other = local_time(ns, zone), local_time(day_ns, zone)
    form = "%H:%M" if at.date() == other.date() else "%Y-%m-%d %H:%M"
    return str(at.strftime(form if at.second == 0 else f"{form}:%S"))


def local_time(ns: int, zone: str) -> Any:
    """Return a time as a datetime of `zone`, in whole seconds."""
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).astimezone(ZoneInfo(zone))

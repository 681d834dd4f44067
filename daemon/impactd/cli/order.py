"""``impactd order``: parent orders by hand, against a broker, into a file, or on recorded days.

The options of an order's instructions are made from `impactd.core.inputs.terms.Terms`, so that a new term has its
option at once.  What is sent is decoded first with the service's own decoder: a record that it would refuse is
never sent.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from impactd.cli.common import (
    EXISTING,
    Data,
    Failure,
    InputError,
    example,
    load_settings,
    progress_line,
    settings_options,
    translated,
)
from impactd.cli.hours import Hours, hours

if TYPE_CHECKING:
    from impactd.config import Loaded, Settings
    from impactd.core.base.session import Session

#: Options that are shorter than the terms' names.
_SHORT: Final = {
    "order_qty": "--qty",
    "start": "--from",
    "end": "--to",
    "participation_rate": "--participation",
    "lot_size": "--lot",
}
_NONE: Final = "none"


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


_TICKET: Final = frozenset(item.name for item in dataclasses.fields(Ticket))


def _ticket(function: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option(
            "--date", "day", metavar="YYYY-MM-DD", help="Local day of the times.  [default: today, or the data's]"
        ),
        click.option("--tz", metavar="ZONE", help="Zone of local times.  [default: that of the symbol's session]"),
        click.option("--session", metavar="OPEN-CLOSE|CALENDAR", help="Hours that open and close mean."),
        click.option(
            "--file", type=click.Path(dir_okay=False, path_type=Path), help="Append to this file; send nothing."
        ),
        click.option("--dry-run", is_flag=True, help="Show the record; send nothing."),
    )
    for option in reversed(options):
        function = option(function)
    return settings_options(function)


def _terms(*, new: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
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
        Unit.QUANTA: "QTY",
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


@click.group(
    "order",
    epilog=example(
        "impactd order new --symbol FROG --side buy --qty 20000 --from 10:00 --to 16:00 --data FROG.csv.gz",
        "impactd order new --symbol FROG --side buy --qty 20,000 --to close --participation 10% --dry-run",
        "impactd order replace O1 --symbol FROG --qty 26000 --participation none",
    ),
)
def command() -> None:
    """Enter, change, cancel and follow parent orders by hand."""


@command.command(
    "new",
    epilog=example(
        "impactd order new --side buy --qty 20000 --from 10:00 --to 16:00 --data FROG.csv.gz --out result",
        "impactd order new --symbol FROG --side sell --qty 5000 --from open --to close --tz America/New_York --lot 100",
    ),
)
@click.option("--symbol", help="Symbol.  [default: the data's, where they have one]")
@click.option("--side", type=click.Choice(["buy", "sell"]), required=True)
@click.option("--id", "cl_ord_id", metavar="ID", help="cl_ord_id.  [default: made up, unique]")
@_terms(new=True)
@click.option(
    "--data", "paths", type=EXISTING, multiple=True, metavar="FILE", help="Work it on recorded days; repeatable."
)
@click.option("--codec", help="Format of the data; recognised from each file by default.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Of a replay.  [default: ./ID]"
)
@_ticket
def new(
    *, side: str, cl_ord_id: str | None, paths: tuple[Path, ...], codec: str | None, out: Path | None, **given: Any
) -> None:
    """Enter an order: to the service's broker, into a file, or on recorded days.

    Times are local to the symbol's session; open and close are the session's own. Without --from an order
    begins at once (on recorded days: at the open), without --to it ends at the close.
    """
    import secrets

    ticket = Ticket.of(given)
    loaded = load_settings(ticket.config, ticket.sets)
    data = Data(paths, (), None, codec) if paths else None
    record, clock, traded, segments = _order(side, cl_ord_id, ticket, loaded, data, given)
    if cl_ord_id is None:
        record["cl_ord_id"] = f"{record['symbol']}-{secrets.token_hex(4)}"
    click.echo(_shown(record, clock, f"{segments} trading segments" if segments > 1 else ""), err=True)
    if ticket.dry_run:
        _send(record, ticket, loaded.settings)
        try:
            _write_estimate(_estimated(record, None, data, loaded, traded, None), clock.zone)
        except click.ClickException as error:
            click.echo(f"no estimate: {error.format_message()}", err=True)
        return
    if data is not None and ticket.file is None:
        _replay(record, data, loaded, traded, out or Path(record["cl_ord_id"]), clock)
        return
    _send(record, ticket, loaded.settings)


@click.command(
    "estimate",
    epilog=example(
        "impactd estimate --symbol FROG --side buy --qty 20000 --from 10:00 --to 16:00 --data FROG.csv.gz",
        "impactd estimate --symbol FROG --side buy --qty 20000 --to close --url http://impactd:8080 --max-cost 5",
    ),
)
@click.option("--symbol", help="Symbol.  [default: the data's, where they have one]")
@click.option("--side", type=click.Choice(["buy", "sell"]), required=True)
@_terms(new=True)
@click.option("--data", "paths", type=EXISTING, multiple=True, metavar="FILE", help="Recorded days, used up to --from.")
@click.option("--codec", help="Format of the data; recognised from each file by default.")
@click.option("--url", metavar="URL", help="Of the service.  [default: http.host and http.port of the settings]")
@click.option("--max-cost", type=float, metavar="BPS", help="Also find the largest quantity within this cost.")
@click.option("--date", "day", metavar="YYYY-MM-DD", help="Day of the times.  [default: today, or the data's]")
@click.option("--tz", metavar="ZONE", help="Zone of local times.  [default: that of the symbol's session]")
@click.option("--session", metavar="OPEN-CLOSE|CALENDAR", help="Hours that open and close mean.")
@click.option("--json", "as_json", is_flag=True, help="Write the estimate as JSON.")
@settings_options
def estimate(
    *,
    side: str,
    paths: tuple[Path, ...],
    codec: str | None,
    url: str | None,
    max_cost: float | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Say what an order would cost, before it exists.

    Prices impactd's plan, TWAP, VWAP and POV with the forecast that plans are made with: of the running service, or on
    recorded days as known when the order begins. Nothing is published.
    """
    if paths and url is not None:
        raise InputError("--data, --url: exclude each other; give one")
    ticket = Ticket.of(given | {"file": None, "dry_run": True})
    given = {name: value for name, value in given.items() if name not in _TICKET}
    loaded = load_settings(ticket.config, ticket.sets)
    data = Data(paths, (), None, codec) if paths else None
    record, clock, traded, _ = _order(side, "estimate", ticket, loaded, data, given)
    found = _estimated(record, url, data, loaded, traded, max_cost)
    if as_json:
        from impactd.cli.common import write_json

        write_json(found)
        return
    _write_estimate(found, clock.zone)


@command.command("replace", epilog=example("impactd order replace O1 --symbol FROG --to 15:30 --participation none"))
@click.argument("cl_ord_id", metavar="ID")
@click.option("--symbol", help="Symbol.  [default: asked of the service]")
@_terms(new=False)
@_ticket
def replace(*, cl_ord_id: str, **given: Any) -> None:
    """Change an order: only what is named changes; none clears a limit."""
    _amend("replace", cl_ord_id, given)


@command.command("cancel", epilog=example("impactd order cancel O1 --symbol FROG"))
@click.argument("cl_ord_id", metavar="ID")
@click.option("--symbol", help="Symbol.  [default: asked of the service]")
@_ticket
def cancel(*, cl_ord_id: str, **given: Any) -> None:
    """Cancel what is left of an order."""
    _amend("cancel", cl_ord_id, given)


def _order(
    side: str, cl_ord_id: str | None, ticket: Ticket, loaded: Loaded, data: Data | None, given: dict[str, Any]
) -> tuple[dict[str, Any], _Clock, Hours, int]:
    """Return the record of a new order, its clock, the hours, and in how many segments its day trades."""
    traded = hours(loaded, ticket.tz, ticket.session, data)
    symbol, first_ns = _of_data(data, ticket.symbol)
    now = _now() if first_ns is None else first_ns
    session = _session_of(traded, loaded, symbol)
    clock = _Clock(session, ticket.tz or _zone_of(traded, loaded, symbol), ticket.day, now)
    if given["start"] is None and data is not None:
        given["start"] = "open"
    given["end"] = given["end"] or "close"
    values = _values(given, clock)
    start = values.setdefault("start", now)
    entered = now if data is None else start
    head = {"type": "new", "cl_ord_id": cl_ord_id or "new", "symbol": symbol, "side": side, "ts_event": entered}
    record = head | values
    _check(record, loaded.settings)
    return record, clock, traded, len(session.segments_on(clock.day))


def _amend(kind: str, cl_ord_id: str, given: dict[str, Any]) -> None:
    ticket = Ticket.of(given)
    loaded = load_settings(ticket.config, ticket.sets)
    symbol = ticket.symbol or str(_ask(loaded.settings, f"/api/orders/{cl_ord_id}")["plan"]["symbol"])
    traded = hours(loaded, ticket.tz, ticket.session)
    session, now = _session_of(traded, loaded, symbol), _now()
    clock = _Clock(session, ticket.tz or _zone_of(traded, loaded, symbol), ticket.day, now)
    values = _values(given, clock)
    if kind == "replace" and not values:
        raise InputError("replace: names nothing to change; give --qty, --to or another instruction")
    record = {"type": kind, "cl_ord_id": cl_ord_id, "symbol": symbol, "ts_event": now, **values}
    _check(record, loaded.settings)
    _send(record, ticket, loaded.settings)


_URL = click.option("--url", metavar="URL", help="Of the service.  [default: http.host and http.port of the settings]")


@command.command("list", epilog=example("impactd order list --url http://impactd:8080"))
@click.option("--json", "as_json", is_flag=True, help="Write the latest plans as JSON.")
@_URL
@settings_options
def list_(*, as_json: bool, url: str | None, config: Path | None, sets: tuple[str, ...]) -> None:
    """List the orders that the service knows, with their latest plans."""
    plans = _ask(load_settings(config, sets).settings, "/api/orders", url)["orders"]
    if as_json:
        from impactd.cli.common import write_json

        write_json(plans)
        return
    for plan in plans:
        click.echo(_line(plan))
    if not plans:
        click.echo("no order is known")


@command.command("show", epilog=example("impactd order show O1"))
@click.argument("cl_ord_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Write all that the service answers as JSON.")
@click.option("--tz", metavar="ZONE", help="Zone of the times shown.  [default: that of the settings' session]")
@_URL
@settings_options
def show(
    *, cl_ord_id: str, as_json: bool, tz: str | None, url: str | None, config: Path | None, sets: tuple[str, ...]
) -> None:
    """Show an order and the schedule that it has now."""
    settings = load_settings(config, sets).settings
    found = _ask(settings, f"/api/orders/{cl_ord_id}", url)
    if as_json:
        from impactd.cli.common import write_json

        write_json(found)
        return
    plan = found["plan"]
    click.echo(_line(plan))
    rows = [(start, qty) for start, qty in zip(plan["start"], plan["qty"], strict=True) if qty]
    _table([(int(start), qty) for start, qty in rows], tz or settings.session.zone)


@command.command("watch", epilog=example("impactd order watch O1"))
@click.argument("cl_ord_id", metavar="ID")
@_URL
@settings_options
def watch(*, cl_ord_id: str, url: str | None, config: Path | None, sets: tuple[str, ...]) -> None:
    """Follow an order until it ends: one line for each plan."""
    settings = load_settings(config, sets).settings
    # The stream is opened first: no plan falls between the answer and it.
    with _open(settings, "/api/events", url) as events:
        plan = _ask(settings, f"/api/orders/{cl_ord_id}", url)["plan"]
        click.echo(_line(plan))
        while plan["status"] in {"active", "halted"}:
            plan = _next_plan(events, plan)
            click.echo(_line(plan))


def _next_plan(events: Any, plan: dict[str, Any]) -> dict[str, Any]:
    """Return the first plan in a stream of events that replaces `plan`."""
    import orjson

    while line := events.readline():
        if line.startswith(b"data:"):
            found = orjson.loads(line.removeprefix(b"data:"))
            if found.get("cl_ord_id") == plan["cl_ord_id"] and found.get("plan_version", 0) > plan["plan_version"]:
                return dict(found)
    raise Failure("the service ended the stream; ask again")


# --- times and values -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Clock:
    """Local times of one day.

    Attributes
    ----------
    text : str or None
        The day that was asked for.
    now : int
        UTC ns: the wall clock, or the first row of the data.
    """

    session: Session
    zone: str
    text: str | None
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
            return parse_when(text, option, self.now)
        midnight = datetime(1970, 1, 1) + timedelta(self.day)  # noqa: DTZ001  # the zone follows
        local = (midnight + timedelta(seconds=second)).replace(tzinfo=ZoneInfo(self.zone))
        return int(local.astimezone(UTC).timestamp()) * 1_000_000_000


def _values(given: dict[str, Any], clock: _Clock) -> dict[str, Any]:
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


def _value(text: str, unit: Any, option: str, clock: _Clock) -> Any:
    from impactd.core.outputs.units import Unit

    match unit:
        case Unit.TIME:
            return clock.at(text, option)
        case Unit.WINDOWS:
            pairs = [part.partition("-") for part in text.split(",")]
            return [[clock.at(begin.strip(), option), clock.at(end.strip(), option)] for begin, _, end in pairs]
        case Unit.FLAG:
            if text not in {"yes", "no", "true", "false"}:
                raise InputError(f"{option}: needs yes or no, not {text!r}")
            return text in {"yes", "true"}
        case _:
            number = text.replace(",", "").replace("_", "")
            percent = number.endswith("%")
            try:
                value = float(number.removesuffix("%"))
            except ValueError:
                return text  # a word, which the decoder knows or refuses by name
            if percent:
                return round(value / 100, 12)
            return int(value) if value == int(value) else value


def _check(record: dict[str, Any], settings: Settings) -> None:
    """Refuse a record that the service would refuse."""
    from impactd.cli.compose import limits
    from impactd.core.base.topics import Topic
    from impactd.wire.codec import FROM_DATA
    from impactd.wire.json_orders import decode_events

    refused = decode_events(
        Topic.ORDERS, [_encoded(record, settings)], [0], [FROM_DATA], None, limits(settings)
    ).refused
    if refused:
        raise InputError(f"the service would refuse this: {refused[0].detail}")


def _encoded(record: dict[str, Any], settings: Settings) -> bytes:
    """Return a record's bytes, its times in the unit that the settings name."""
    import orjson

    from impactd.wire.json_orders import TIME_FIELDS

    unit = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}[settings.wire.time_unit]

    def converted(value: Any) -> Any:
        return [converted(item) for item in value] if isinstance(value, list) else value // unit

    times = {name: converted(record[name]) for name in TIME_FIELDS if record.get(name) is not None}
    return orjson.dumps(record | times)


def _of_data(data: Data | None, symbol: str | None) -> tuple[str, int | None]:
    """Return the order's symbol, and the time of the data's first row."""
    if data is None:
        if symbol is None:
            raise InputError("--symbol: is needed")
        return symbol, None

    from impactd.shell.recorded import read_ticks

    with translated():
        for path in data.paths:
            for decoded in read_ticks(path, data.codec, data.symbol):
                if not len(decoded.batch):
                    continue
                names = decoded.batch.symbols
                if symbol is None and len(names) > 1:
                    raise InputError(f"--symbol: the data have {', '.join(names[:5])}; name one")
                return symbol or names[0], int(decoded.batch.ts_event[0])
    raise InputError(f"--data: {data.paths[0]} has no usable row; see impactd inspect")


def _session_of(traded: Hours, loaded: Loaded, symbol: str) -> Session:
    from impactd.core.base.session import Sessions

    return Sessions(traded.applied(loaded.settings.core())).of(symbol)


def _zone_of(traded: Hours, loaded: Loaded, symbol: str) -> str:
    from fnmatch import fnmatchcase

    if traded.sessions:
        for its in loaded.settings.session.by_symbol:
            if any(fnmatchcase(symbol, pattern) for pattern in its.symbols):
                return its.zone
    return traded.zone


def _now() -> int:
    import time

    return time.time_ns()


# --- where it goes ----------------------------------------------------------------


def _send(record: dict[str, Any], ticket: Ticket, settings: Settings) -> None:
    value = _encoded(record, settings)
    if ticket.dry_run:
        click.echo(value.decode())
        return
    if ticket.file is not None:
        with ticket.file.open("ab") as file:
            file.write(value + b"\n")
        click.echo(f"{record['type']} of {record['cl_ord_id']} appended to {ticket.file}")
        return

    import asyncio

    from impactd.shell.kafka.errors import FatalError
    from impactd.shell.kafka.orders import send_order

    try:
        topic, partition, answer = asyncio.run(send_order(settings, record["symbol"], value))
    except FatalError as error:
        raise Failure(f"nothing was written: {error}") from error
    if isinstance(answer, str):
        raise Failure(
            f"{record['type']} of {record['cl_ord_id']} is not known to be written ({answer}); send it again with "
            f"--id {record['cl_ord_id']}: the same order counts once"
        )
    click.echo(f"{record['type']} of {record['cl_ord_id']} written to {topic}/{partition} at offset {answer}")


def _replay(record: dict[str, Any], data: Data, loaded: Loaded, traded: Hours, out: Path, clock: _Clock) -> None:
    """Work an order on recorded days, and show the schedule that it had."""
    from impactd.cli.compose import limits, replay_settings
    from impactd.cli.summary import write_summary
    from impactd.shell.replay import Sources, replay

    settings = loaded.settings
    try:
        out.mkdir(parents=True, exist_ok=True)
        orders = out / "orders.jsonl"
        orders.write_bytes(_encoded(record, settings) + b"\n")
    except OSError as error:
        raise InputError(f"--out: {out}: cannot be written: {error.strerror}") from error
    with translated(), progress_line("ticks") as progress:
        summary = replay(
            Sources(data.paths, orders, None, None, data.codec, data.symbol),
            traded.applied(replay_settings(settings, has_executions=False)),
            out,
            partitions=settings.replay.partitions,
            batch_rows=settings.replay.batch_rows,
            limits=limits(settings),
            timestamps=settings.wire.timestamps,
            progress=progress,
        )
    write_summary(summary, traded.text, as_json=False)
    worked = _worked(out / "plans.jsonl", record["cl_ord_id"])
    _table(worked, clock.zone)
    _write_schedule(out / "schedule.csv", worked, clock.zone)
    click.echo(f"schedule by minute: {out / 'schedule.csv'}")


def _worked(plans: Path, cl_ord_id: str) -> list[tuple[int, float]]:
    """Return what each interval traded, by the last plan made before it began: (start in UTC ns, quantity)."""
    import orjson

    found: dict[int, float] = {}
    for line in plans.read_bytes().splitlines():
        plan = orjson.loads(line)
        if plan["cl_ord_id"] != cl_ord_id:
            continue
        as_of = int(plan["as_of"])
        found = {start: qty for start, qty in found.items() if start < as_of}
        found |= {int(start): qty for start, qty in zip(plan["start"], plan["qty"], strict=True)}
    return sorted((start, qty) for start, qty in found.items() if qty)


def _write_schedule(path: Path, worked: list[tuple[int, float]], zone: str) -> None:
    total, lines = 0.0, ["start_ns,local_time,qty,cum_qty"]
    for start, qty in worked:
        total += qty
        lines.append(f"{start},{_local(start, zone):%Y-%m-%dT%H:%M:%S%z},{qty:g},{total:.12g}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _local(ns: int, zone: str) -> Any:
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).astimezone(ZoneInfo(zone))


def _table(worked: list[tuple[int, float]], zone: str, rows: int = 24) -> None:
    """Write a schedule, in so few equal spans of time that it fits a screen."""
    if not worked:
        click.echo("nothing is scheduled")
        return
    first, last = worked[0][0], worked[-1][0]
    minutes = next(m for m in (1, 5, 10, 15, 30, 60, 240, 1440, 10**6) if (last - first) / (m * 60e9) < rows)
    span = minutes * 60_000_000_000
    sums: dict[int, float] = {}
    for start, qty in worked:
        sums[start // span * span] = sums.get(start // span * span, 0.0) + qty
    most, total = max(sums.values()), 0.0
    for start, qty in sums.items():
        total += qty
        bar = "#" * round(40 * qty / most)
        click.echo(f"{_local(max(start, first), zone):%m-%d %H:%M}  {qty:>12,g}  {total:>14,.10g}  {bar}")
    click.echo(f"{len(worked):,} intervals, times of {zone}, in spans of {minutes} min")


def _shown(record: dict[str, Any], clock: _Clock, more: str) -> str:
    begin, end = (_local(record[name], clock.zone) for name in ("start", "end"))
    window = f"{begin:%Y-%m-%d %H:%M:%S} to {end:%H:%M:%S} {clock.zone}"
    return f"{record['side']} {record['order_qty']:,} {record['symbol']} as {record['cl_ord_id']}, {window}" + (
        f" ({more})" if more else ""
    )


def _line(plan: dict[str, Any]) -> str:
    from impactd.shell.view import clock_text, number

    bps = number(plan["expected_cost_bps"], 2, " bps")
    made = f"plan {plan['plan_version']} at {clock_text(int(plan['as_of']))} UTC"
    return (
        f"{plan['cl_ord_id']} {plan['side']} {plan['order_qty']:,} {plan['symbol']} {plan['status']}: "
        f"{plan['cum_qty']:,} filled, {plan['leaves_qty']:,} left, shortfall {plan['shortfall_qty']:,}, "
        f"expected {number(plan['expected_cost'])} ({bps}), {made}"
    )


# --- estimates --------------------------------------------------------------------


def _estimated(
    record: dict[str, Any],
    url: str | None,
    data: Data | None,
    loaded: Loaded,
    traded: Hours,
    max_cost_bps: float | None,
) -> dict[str, Any]:
    """Return the estimate of an order: of the service, or on recorded days as known when it begins."""
    import orjson

    asked = {name: value for name, value in record.items() if name not in {"type", "cl_ord_id", "ts_event"}}
    if max_cost_bps is not None:
        asked["max_cost_bps"] = max_cost_bps
    body = orjson.dumps(asked)
    if data is None:
        return dict(_ask(loaded.settings, "/api/estimates", url, body))

    from impactd.cli.compose import limits, replay_settings
    from impactd.core.planning.estimate import NoEstimateError
    from impactd.shell.estimate import QuestionError, engine_at, question

    core = traded.applied(replay_settings(loaded.settings, has_executions=False))
    with translated():
        engine = engine_at(data.paths, core, record["start"], codec=data.codec, symbol=data.symbol)
    try:
        return engine.estimate(*question(body, record["start"], limits(loaded.settings))).as_fields()
    except (NoEstimateError, QuestionError) as error:
        raise InputError(str(error)) from error


#: What makes an estimate less sure, in words.
_DOUBTS: Final = {
    "unpriced": "no book has been seen: there is no cost",
    "prior": "the model rests on the generic prior: few minutes, or no whole day, of this symbol",
    "no_volume": "no trade has been seen: VWAP, POV and limits by volume are unknown",
    "extrapolated": "intervals ask for more than the model has been fitted to",
    "shortfall": "window and limits do not hold the whole quantity",
}


#: Money of a schedule in an estimate, and the digits that it is shown with.
_MONEY: Final = (("cost", 1), ("cost_bps", 2), ("spread_cost", 1), ("impact_cost", 1))


def _write_estimate(found: dict[str, Any], zone: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from impactd.cli.summary import WIDE
    from impactd.shell.view import number

    table = Table(box=None, pad_edge=False)
    heads = ("schedule", "quantity", "cost", "bps", "spread", "impact", "80% band", "95% band")
    for head in (*heads, "timing risk", "bps", "done by"):
        table.add_column(head, justify="left" if head == "schedule" else "right", no_wrap=True)

    def band(pair: Any) -> str:
        return "-" if pair is None else f"{number(pair[0])} to {number(pair[1])}"

    def add(name: str, one: dict[str, Any]) -> None:
        money = [number(one[name], digits) for name, digits in _MONEY]
        risk = (number(one["timing_risk"]), number(one["timing_risk_bps"], 1))
        done = "-" if one["done_by"] is None else f"{_local(one['done_by'], zone):%H:%M}"
        table.add_row(name, f"{one['qty']:,.8g}", *money, band(one["band_80"]), band(one["band_95"]), *risk, done)

    for one in found["schedules"]:
        add(one["policy"] if one["rate"] is None else f"pov {one['rate']:.0%}", one)
    for one in found["frontier"]:
        add(f"urgency {one['urgency']:g}", one)
    Console(highlight=False, width=None if os.isatty(1) else WIDE).print(table)
    share = found["volume_share"]
    facts = [f"mid {number(found['mid'])}", f"as of {_local(found['as_of'], zone):%Y-%m-%d %H:%M:%S} {zone}"]
    if share is not None:
        facts.append(f"{share:.1%} of the window's forecast volume")
    if found["largest_qty"] is not None:
        facts.append(f"largest quantity within the cost limit {found['largest_qty']:,.10g}")
    click.echo("; ".join(facts))
    for doubt in found["doubts"]:
        click.echo(f"less sure: {_DOUBTS[doubt]}")


# --- the service's API ------------------------------------------------------------


def _open(settings: Settings, path: str, url: str | None = None, body: bytes | None = None) -> Any:
    """Return the open answer of the service at `path`."""
    import urllib.error
    import urllib.request

    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.http.host, settings.http.host)  # noqa: S104  # read, not bound
    base = (url or f"http://{host}:{settings.http.port}").rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise InputError(f"--url: needs http:// or https://, not {base!r}")
    token = os.environ.get("IMPACTD__HTTP__TOKEN") or (
        settings.http.token.get_secret_value() if settings.http.token is not None else None
    )
    headers = {"Content-Type": "application/json"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
    request = urllib.request.Request(base + path, data=body, headers=headers)  # noqa: S310  # the scheme is checked
    try:
        return urllib.request.urlopen(request, timeout=60)  # noqa: S310  # the scheme is checked
    except urllib.error.HTTPError as error:
        with error:
            raise Failure(f"{base}{path}: {error.code} {_reason(error.read())}") from error
    except (urllib.error.URLError, OSError) as error:
        raise Failure(f"{base}{path}: the service does not answer: {getattr(error, 'reason', error)}") from error


def _ask(settings: Settings, path: str, url: str | None = None, body: bytes | None = None) -> Any:
    import orjson

    with _open(settings, path, url, body) as answer:
        return orjson.loads(answer.read())


def _reason(body: bytes) -> str:
    import orjson

    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:200].decode(errors="replace")
    return str(found.get("error") or found.get("detail") or found) if isinstance(found, dict) else str(found)

"""``impactd order``: parent orders by hand, against a broker, into a file, or on recorded days."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from impactd.cli.api import ask_page, open_page, page_url_option
from impactd.cli.common import (
    EXISTING,
    Data,
    Failure,
    InputError,
    NothingUsableError,
    example,
    load_settings,
    progress_line,
    settings_options,
    translated,
)
from impactd.cli.estimate import estimated, write_estimate
from impactd.cli.hours import Hours, hours
from impactd.cli.ticket import (
    Clock,
    Ticket,
    check_record,
    clock_on,
    encoded,
    local_time,
    new_order,
    now_ns,
    session_of,
    session_zone,
    term_options,
    ticket_options,
    values_of,
    zone_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from impactd.config import Loaded, Settings


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
@click.option("--id", "cl_ord_id", metavar="ID", help="cl_ord_id.  [default: a new unique one]")
@term_options(new=True)
@click.option(
    "--data", "paths", type=EXISTING, multiple=True, metavar="FILE", help="Plan it on recorded days; may be repeated."
)
@click.option("--codec", help="Format of the data; recognised from each file by default.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Directory of a replay's results.  [default: ./ID]",
)
@ticket_options
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
    data = Data(paths, (), ticket.symbol, codec) if paths else None
    record, clock, traded, segments = new_order(side, cl_ord_id, ticket, loaded, data, given)
    if cl_ord_id is None:
        record["cl_ord_id"] = f"{record['symbol']}-{secrets.token_hex(4)}"
    click.echo(_shown(record, clock, f"{segments} trading segments" if segments > 1 else ""), err=True)
    if ticket.dry_run:
        _send(record, ticket, loaded.settings)
        try:
            write_estimate(estimated(record, None, data, loaded, traded, None, clock), clock.zone, None)
        except click.ClickException as error:
            click.echo(f"no estimate: {error.format_message()}", err=True)
        return
    if data is not None and ticket.file is None:
        _replay(record, data, loaded, traded, out or Path(record["cl_ord_id"]), clock)
        return
    _send(record, ticket, loaded.settings)


@command.command("replace", epilog=example("impactd order replace O1 --symbol FROG --to 15:30 --participation none"))
@click.argument("cl_ord_id", metavar="ID")
@click.option("--symbol", help="Symbol.  [default: asked of the live page]")
@term_options(new=False)
@ticket_options
def replace(*, cl_ord_id: str, **given: Any) -> None:
    """Change the given terms of an order; none clears a limit."""
    _amend("replace", cl_ord_id, given)


@command.command("cancel", epilog=example("impactd order cancel O1 --symbol FROG"))
@click.argument("cl_ord_id", metavar="ID")
@click.option("--symbol", help="Symbol.  [default: asked of the live page]")
@ticket_options
def cancel(*, cl_ord_id: str, **given: Any) -> None:
    """Cancel the rest of an order."""
    _amend("cancel", cl_ord_id, given)


def _amend(kind: str, cl_ord_id: str, given: dict[str, Any]) -> None:
    ticket = Ticket.of(given)
    loaded = load_settings(ticket.config, ticket.sets)
    symbol = ticket.symbol or str(ask_page(loaded.settings, f"/api/orders/{cl_ord_id}")["plan"]["symbol"])
    traded = hours(loaded, session_zone(ticket, loaded), ticket.session)
    session, now = session_of(traded, loaded, symbol), now_ns()
    clock = Clock(session, ticket.tz or zone_of(traded, loaded, symbol), ticket.day, now)
    values = values_of(given, clock)
    if kind == "replace" and not values:
        raise InputError("replace: names nothing to change; give --qty, --to or another instruction")
    record = {"type": kind, "cl_ord_id": cl_ord_id, "symbol": symbol, "ts_event": now, **values}
    check_record(record, loaded.settings)
    _send(record, ticket, loaded.settings)


@command.command("list", epilog=example("impactd order list --url http://impactd:9470"))
@click.option("--json", "as_json", is_flag=True, help="Write the latest plans as JSON.")
@page_url_option
@settings_options
def list_(*, as_json: bool, url: str | None, config: Path | None, sets: tuple[str, ...]) -> None:
    """List the orders that the service knows, with their latest plans."""
    plans = ask_page(load_settings(config, sets).settings, "/api/orders", url)["orders"]
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
@click.option("--json", "as_json", is_flag=True, help="Write the page's whole answer as JSON.")
@click.option("--tz", metavar="ZONE", help="Zone of the times shown.  [default: that of the settings' session]")
@page_url_option
@settings_options
def show(
    *, cl_ord_id: str, as_json: bool, tz: str | None, url: str | None, config: Path | None, sets: tuple[str, ...]
) -> None:
    """Show an order and its current schedule."""
    settings = load_settings(config, sets).settings
    found = ask_page(settings, f"/api/orders/{cl_ord_id}", url)
    if as_json:
        from impactd.cli.common import write_json

        write_json(found)
        return
    plan = found["plan"]
    click.echo(_line(plan))
    rows = [(start, qty) for start, qty in zip(plan["start"], plan["qty"], strict=True) if qty]
    zone = tz or settings.session.zone
    _table([(int(start), qty) for start, qty in rows], zone)
    for entry in plan["auctions"]:
        at, cutoff = local_time(int(entry["at"]), zone), clock_on(int(entry["cutoff"]), zone, int(entry["at"]))
        volume = "unknown" if entry["expected_volume"] is None else f"{entry['expected_volume']:,.0f}"
        what = f"{entry['qty']:,} to enter by {cutoff}, expected volume {volume}"
        click.echo(f"{entry['kind']} at {at:%m-%d %H:%M}: {what}")
    if plan["limit_px"] is not None:
        missed = plan["expected_shortfall_qty"]
        click.echo(f"limit {plan['limit_px']:g}" + ("" if missed is None else f", expected to leave {missed:,}"))


@command.command("watch", epilog=example("impactd order watch O1"))
@click.argument("cl_ord_id", metavar="ID")
@page_url_option
@settings_options
def watch(*, cl_ord_id: str, url: str | None, config: Path | None, sets: tuple[str, ...]) -> None:
    """Follow an order until it ends: one line for each plan."""
    settings = load_settings(config, sets).settings
    # The stream is opened first: no plan falls between the answer and it.
    with open_page(settings, "/api/events", url) as events:
        plan = ask_page(settings, f"/api/orders/{cl_ord_id}", url)["plan"]
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


# --- where it goes ----------------------------------------------------------------


def _send(record: dict[str, Any], ticket: Ticket, settings: Settings) -> None:
    value = encoded(record, settings)
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


def _replay(record: dict[str, Any], data: Data, loaded: Loaded, traded: Hours, out: Path, clock: Clock) -> None:
    """Work an order on recorded days, and show the schedule that it had."""
    from impactd.cli.compose import limits, replay_settings
    from impactd.cli.summary import write_summary
    from impactd.shell.replay import Sources, replay

    settings = loaded.settings
    try:
        out.mkdir(parents=True, exist_ok=True)
        orders = out / "orders.jsonl"
        orders.write_bytes(encoded(record, settings) + b"\n")
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
    order = next(iter(summary.orders), None)
    worked = () if order is None else order.by_interval
    _table(worked, clock.zone)
    in_auctions = 0 if order is None else order.cum_qty - sum(qty for _, qty in worked)
    if in_auctions > 0:
        click.echo(f"and {in_auctions:,.10g} in auctions")
    _write_schedule(out / "schedule.csv", worked, clock.zone)
    click.echo(f"schedule by minute: {out / 'schedule.csv'}")
    if summary.unusable:
        raise NothingUsableError("\n".join(summary.unusable))


def _write_schedule(path: Path, worked: Sequence[tuple[int, float]], zone: str) -> None:
    total, lines = Decimal(0), ["start_ns,local_time,qty,cum_qty"]
    for start, qty in worked:
        traded = Decimal(str(qty))
        total += traded
        lines.append(f"{start},{local_time(start, zone):%Y-%m-%dT%H:%M:%S%z},{traded:f},{total:f}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _table(worked: Sequence[tuple[int, float]], zone: str, rows: int = 24) -> None:
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
        click.echo(f"{local_time(max(start, first), zone):%m-%d %H:%M}  {qty:>12,.10g}  {total:>14,.10g}  {bar}")
    click.echo(f"{len(worked):,} intervals, times of {zone}, in spans of {minutes} min")


def _shown(record: dict[str, Any], clock: Clock, more: str) -> str:
    end = clock_on(record["end"], clock.zone, record["start"])
    window = f"{local_time(record['start'], clock.zone):%Y-%m-%d %H:%M:%S} to {end} {clock.zone}"
    return f"{record['side']} {record['order_qty']:,} {record['symbol']} as {record['cl_ord_id']}, {window}" + (
        f" ({more})" if more else ""
    )


def _line(plan: dict[str, Any]) -> str:
    from impactd.shell.view import clock_text, number

    bps = number(plan["expected_cost_bps"], 2, " bps")
    entered = sum(entry["qty"] for entry in plan["auctions"])
    parts = f", {entered:,} of it in auctions" if entered else ""
    short = f" by {', '.join(plan['shortfall_limits'])}" if plan.get("shortfall_limits") else ""
    made = f"plan {plan['plan_version']} at {clock_text(int(plan['as_of']))} UTC"
    return (
        f"{plan['cl_ord_id']} {plan['side']} {plan['order_qty']:,} {plan['symbol']} {plan['status']}: "
        f"{plan['cum_qty']:,} filled, {plan['leaves_qty']:,} left{parts}, shortfall {plan['shortfall_qty']:,}{short}, "
        f"expected {number(plan['expected_cost'])} ({bps}), {made}"
    )

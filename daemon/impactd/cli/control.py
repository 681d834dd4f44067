"""``impactd halt`` and ``impactd resume``: stop and restart the publication of plans."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from impactd.cli.common import Failure, InputError, UnmatchedError, example, in_order, load_settings, settings_options

if TYPE_CHECKING:
    from impactd.config import Settings
    from impactd.core.inputs.events import Control


_scope_options = in_order(
    click.option("--all", "everything", is_flag=True, help="All orders; the default."),
    click.option("--symbol", metavar="S", help="Only orders of this symbol."),
    click.option("--order", metavar="ID", help="Only the order that has this id in its chain."),
    click.option("--at", metavar="TIME", help="Event time, ISO with zone or UTC ns; now by default."),
)


@click.command("halt", epilog=example('impactd halt --symbol FROG --reason "exchange halt"'))
@_scope_options
@click.option("--reason", required=True, metavar="TEXT", help="Reason, shown in the plans and alerts that follow.")
@settings_options
def halt(**options: Any) -> None:
    """Stop the plans of all orders, a symbol or one order.

    Writes the halt into every partition of the control topic; success means
    that each has acknowledged it. Plans are then halted, while consumption
    and estimation continue, until the same scope is resumed. The books of a
    halted symbol are not used. Exits with 3 if the scope matches no symbol
    or order that the service knows.
    """
    _give("halt", **options)


@click.command("resume", epilog=example('impactd resume --symbol FROG --reason "trading again"'))
@_scope_options
@click.option("--reason", default="", metavar="TEXT", help="Reason, shown in the alert that follows.")
@settings_options
def resume(**options: Any) -> None:
    """Lift a halt of the same scope; its orders are replanned.

    Other scopes stay halted: resuming everything does not resume a symbol
    that was halted by itself, and a kill switch is lifted by removing its file.
    Exits with 3 if the scope matches nothing that the service knows.
    """
    _give("resume", **options)


def _give(
    kind: str,
    *,
    everything: bool,
    symbol: str | None,
    order: str | None,
    at: str | None,
    reason: str,
    config: Path | None,
    sets: tuple[str, ...],
) -> None:
    if sum((everything, symbol is not None, order is not None)) > 1:
        raise InputError("--all, --symbol and --order exclude each other: give one scope at a time")
    settings = load_settings(config, sets).settings

    import asyncio
    import time

    from impactd.cli.times import parse_when
    from impactd.core.inputs.events import Control
    from impactd.shell.kafka.control import give
    from impactd.shell.kafka.errors import FatalError

    now = time.time_ns()
    ts_event = now if at is None else parse_when(at, "--at", now)
    if ts_event > now:
        raise InputError(f"--at {at}: is in the future; a control applies at once, or at a time that has passed")
    why = _text(reason, "--reason", "reason") if reason or kind == "halt" else ""
    control = Control(kind, _scope(symbol, order), why, ts_event)
    # A halt does not wait until its scope is looked up; a resume does, since it changes what is found.
    known = _is_known(settings, control) if kind == "resume" else None
    try:
        given = asyncio.run(give(settings, control))
    except FatalError as error:
        raise Failure(f"nothing was written: {error}") from error
    what = {"*": "everything"}.get(control.scope, control.scope)
    for partition, offset in given.offsets.items():
        click.echo(f"{kind} of {what} written to {given.topic}/{partition} at offset {offset}")
    if given.failed:
        failed = "; ".join(f"partition {partition}: {why}" for partition, why in given.failed.items())
        raise Failure(
            f"{kind} of {what} is not confirmed in {len(given.failed)} of "
            f"{len(given.failed) + len(given.offsets)} partitions; repeat it, that is harmless ({failed})"
        )
    if settings.plans.apply == "in_event_time" and at is None:
        click.echo(
            "note: plans.apply is in_event_time, so it applies once ticks have passed its time; "
            "give --at for a recorded day",
            err=True,
        )
    if known is None and kind == "halt":
        known = _is_known(settings, control)
    if known is False:
        raise UnmatchedError(
            f"warning: {kind} of {what} is written, but the service knows no symbol or order of that name; "
            "check its spelling (it applies to one that comes later)"
        )


def _is_known(settings: Settings, control: Control) -> bool | None:
    """Return whether the service knows what the scope refers to; None, with a note, if its state cannot be read."""
    import asyncio

    from impactd.core.orders.halts import EVERYTHING
    from impactd.shell.kafka.control import scopes_of
    from impactd.shell.kafka.errors import FatalError

    if control.scope == EVERYTHING:
        return True
    try:
        names, halted = asyncio.run(scopes_of(settings))
    except FatalError as error:
        click.echo(f"note: whether {control.scope} is known could not be checked: {error}", err=True)
        return None
    return control.scope in (names if control.type == "halt" else names | halted)


def _scope(symbol: str | None, order: str | None) -> str:
    if symbol is not None:
        return _text(symbol, "--symbol", "symbol")
    return "*" if order is None else _text(order, "--order", "scope")


def _text(value: str, option: str, field: str) -> str:
    """Return what the service will accept, so that no partition refuses it later."""
    from impactd.wire.codec import FieldError
    from impactd.wire.fields import MAX_ID, MAX_SYMBOL, parse_text
    from impactd.wire.json_orders import MAX_REASON

    limit = {"symbol": MAX_SYMBOL, "scope": MAX_ID, "reason": MAX_REASON}[field]
    if value == "*" and field != "reason":
        raise InputError(f"{option} *: give --all for everything")
    try:
        return parse_text(value, option, limit)
    except FieldError as error:
        raise InputError(str(error)) from error

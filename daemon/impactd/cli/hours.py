"""The hours that a backtest works in: their options, and the settings that they make."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from impactd.cli.common import InputError, load_settings

if TYPE_CHECKING:
    from impactd.core.base.settings import CoreSettings

F = TypeVar("F", bound=Callable[..., Any])

#: Where neither the command nor the settings name a session: that of US equities.
_SESSION: Final = "09:30-16:00"
_ZONE: Final = "America/New_York"


def hours_options(function: F) -> F:
    """Add the range of hours, their zone, and the session."""
    options = (
        click.option("--from", "begin", default="10:00", show_default=True, help="Local time at which windows begin."),
        click.option("--to", "end", default="16:00", show_default=True, help="Local time at which they end."),
        click.option("--tz", help=f"Zone of local times.  [default: the settings' session, else {_ZONE}]"),
        click.option(
            "--session",
            metavar="OPEN-CLOSE",
            help=f"Local hours of trading.  [default: the settings' session, else {_SESSION}]",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def range_s(begin: str, end: str) -> tuple[int, int]:
    """Return ``--from`` and ``--to`` in seconds after midnight.

    Raises
    ------
    InputError
        If one is no time, or they are not in order.
    """
    from impactd.config.hours import parse_clock

    try:
        from_s, to_s = parse_clock(begin), parse_clock(end)
    except ValueError as error:
        raise InputError(f"--from, --to: {error}") from error
    if to_s <= from_s:
        raise InputError(f"--to: {end} must be later than --from {begin}")
    return from_s, to_s


def session_settings(config: Path | None, sets: tuple[str, ...], tz: str | None, session: str | None) -> CoreSettings:
    """Return the core's settings with the session that is asked for.

    Raises
    ------
    InputError
        If settings, zone or hours cannot be used.
    """
    from impactd.config.hours import session_rule

    settings = load_settings(config, sets).settings
    own = settings.session
    is_named = own != type(own)()
    zone = tz or (own.timezone if is_named else _ZONE)
    hours = session or (f"{own.open}-{own.close}" if is_named else _SESSION)
    opens, dash, closes = hours.partition("-")
    if not dash:
        raise InputError(f"--session: {hours!r} is not of the form OPEN-CLOSE, such as {_SESSION}")
    try:
        rule = session_rule(zone, opens, closes, own.days, own.holidays)
    except ValueError as error:
        raise InputError(f"--session, --tz: {error}") from error
    return dataclasses.replace(settings.core(), session=rule)


@contextmanager
def orders_bar() -> Iterator[Callable[[int], Callable[[int], None]] | None]:
    """Yield what begins a progress bar of so many orders on a terminal, or None where there is none."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def start(total: int) -> Callable[[int], None]:
            task = bar.add_task("orders", total=total)
            return lambda n: bar.advance(task, n)

        yield start

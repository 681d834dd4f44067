"""The hours that commands on recorded days work in: their options, and what is assumed where no session is set.

In this order:

1. ``--session`` (hours, or a calendar) and ``--tz``;
2. ``[session]`` of the settings;
3. where settings come from a file or the environment and name no session, the service's default, a market that never
   closes: a replay under a service's settings gives what the service gives;
4. otherwise the data decide: a symbol such as BTCUSDT, or a file that begins outside of 04:00 to 20:00 on a day of
   the New York Stock Exchange, trades around the clock; all else has the hours of US equities, with the holidays and
   early closes of XNYS.

All commands follow the same order, and state which hours they took and why.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import click

from impactd.cli.common import Data, InputError, in_order, load_settings

if TYPE_CHECKING:
    from impactd.config import Loaded
    from impactd.config.sections import HoursSection
    from impactd.core.base.settings import CoreSettings, SessionRule

#: Hours of US equities, and those around them in which feeds of theirs have rows.
_SESSION: Final = "09:30-16:00"
_ZONE: Final = "America/New_York"
_CALENDAR: Final = "XNYS"
_FEED_HOURS: Final = range(4, 20)
_HOUR_S: Final = 3_600
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_HOUR_NS: Final = _HOUR_S * 1_000_000_000

#: Pairs of a coin and what it is quoted in.
_AROUND_THE_CLOCK: Final = re.compile(
    r"[A-Z0-9]{2,}(-?(USDT|USDC|BUSD|FDUSD)|[-/](USD|EUR|BTC|ETH))(-PERP)?", re.IGNORECASE
)

#: Settings that state how to reach brokers or to write logs are no settings of the service's plans.
_NOT_OF_PLANS: Final = frozenset({"kafka", "http", "log", "health"})

#: Hours, where anything else names a calendar.
_CLOCKS: Final = re.compile(r"\d\d?[:.]|\d\d?-|\d+$")

#: Patterns of symbols whose hours are stated.
_SHOWN: Final = 5

_REMEDY: Final = "--session and --tz name others"


@dataclass(frozen=True, slots=True)
class Hours:
    """Trading hours, and where they come from."""

    rule: SessionRule
    #: The hours, their zone and the reason, for people.
    text: str
    #: By its IANA name.
    zone: str
    #: Hours by symbol; see `CoreSettings.sessions`.
    sessions: tuple[tuple[str, SessionRule], ...] = ()

    def applied(self, core: CoreSettings) -> CoreSettings:
        """Return settings with these hours."""
        return dataclasses.replace(core, session=self.rule, sessions=self.sessions)


session_options = in_order(
    click.option(
        "--session",
        metavar="OPEN-CLOSE|CALENDAR",
        help="Local hours of trading, or a calendar such as XNYS.  [default: the settings' session, else "
        f"{_SESSION}, or around the clock if the data require it]",
    ),
    click.option("--tz", help=f"Zone of local times.  [default: that of the session, else {_ZONE}]"),
)
hours_options = in_order(
    session_options,
    click.option("--from", "begin", default="10:00", show_default=True, help="Local time at which windows begin."),
    click.option("--to", "end", default="16:00", show_default=True, help="Local time at which they end."),
)


def range_s(begin: str, end: str) -> tuple[int, int]:
    """Return ``--from`` and ``--to`` in seconds after midnight."""
    from impactd.config.hours import parse_clock

    try:
        from_s, to_s = parse_clock(begin), parse_clock(end)
    except ValueError as error:
        raise InputError(f"--from, --to: {error}") from error
    if to_s <= from_s:
        raise InputError(f"--to: {end} must be later than --from {begin}")
    return from_s, to_s


def is_clock(session: str) -> bool:
    """Return whether ``--session`` gives hours, such as 09:30-16:00, and not a calendar."""
    return _CLOCKS.match(session) is not None


def session_settings(
    config: Path | None,
    sets: tuple[str, ...],
    tz: str | None,
    session: str | None,
    data: Data | None = None,
) -> tuple[CoreSettings, Hours]:
    """Return the core's settings with the session that is asked for or assumed."""
    loaded = load_settings(config, sets)
    found = hours(loaded, tz, session, data)
    return found.applied(loaded.settings.core()), found


def hours(
    loaded: Loaded | None,
    tz: str | None,
    session: str | None,
    data: Data | None = None,
) -> Hours:
    """Return the hours to work in; see the module.

    Parameters
    ----------
    loaded : Loaded or None
        Settings in force; None where the command takes none.
    data : Data, optional
        Recorded days, whose symbols and first rows may speak against the hours of US equities.
    """
    from impactd.config.sections import HoursSection

    own = None if loaded is None else loaded.settings.session
    set_by = {} if loaded is None else {path: by for path, by in loaded.origins.items() if by != "default"}
    from_service = loaded is not None and loaded.file is not None
    from_service = from_service or any(_of_plans(path, by) for path, by in set_by.items())
    chosen: dict[str, Any] = {}
    assumed = False
    if own is not None and any(path.startswith("session.") for path in set_by):
        chosen = {name: getattr(own, name) for name in own.model_fields_set if name in HoursSection.model_fields}
        reason = "the settings' session"
    elif own is not None and from_service:
        reason = f"the settings name no session, and the service's default never closes; {_REMEDY}"
    elif session is None and data is not None and _trades_around_the_clock(data, loaded):
        reason = f"assumed: no session is set, and the data are not of US hours; {_REMEDY}"
    elif session is None and tz is None:
        assumed, chosen, reason = True, {"calendar": _CALENDAR}, f"assumed: no session is set; {_REMEDY}"
    else:
        opens, _, closes = _SESSION.partition("-")
        chosen, reason = {"timezone": _ZONE, "open": opens, "close": closes}, "as asked"
    if session is not None or tz is not None:
        reason = "as asked"
    if session is not None and not is_clock(session):
        chosen = {"calendar": session}
    elif session is not None:
        opens, dash, closes = session.partition("-")
        if not dash:
            raise InputError(f"--session: {session!r} is neither OPEN-CLOSE, such as {_SESSION}, nor a calendar")
        chosen |= {"open": opens, "close": closes}
    if tz is not None:
        chosen["timezone"] = tz
    try:
        section = HoursSection(**chosen)
        rule = section.rule()
    except ValueError as error:
        raise InputError(f"--session, --tz: {_first_line(error)}") from error
    core = None if loaded is None or session is not None or tz is not None else loaded.settings.core()
    text = f"{_own_text(section, rule)} {section.zone}"
    if assumed:
        text = f"{_SESSION} {section.zone}, holidays and early closes of {_CALENDAR}"
        # Days that differ from a calendar that nobody has named are no reason for a warning.
        rule = dataclasses.replace(rule, calendar="")
    sessions = () if core is None else core.sessions
    of_symbols = [f"{pattern}: {found.calendar or 'hours of its own'}" for pattern, found in sessions]
    text = "; ".join([f"{text} ({reason})", *of_symbols[:_SHOWN], *(["and others"] if of_symbols[_SHOWN:] else [])])
    return Hours(rule, text, section.zone, sessions)


def _own_text(section: HoursSection, rule: SessionRule) -> str:
    """Return the hours in words: a calendar by its name, with what replaces its open and close."""
    from impactd.config.hours import as_clock

    if not section.calendar:
        return f"{section.open}-{section.close}"
    replaced = {"open", "close"} & section.model_fields_set
    return f"calendar {section.calendar}" + (
        f" {as_clock(rule.open_s)[:5]}-{as_clock(rule.close_s)[:5]}" if replaced else ""
    )


def _first_line(error: ValueError) -> str:
    """Return what a validation has found, without pydantic's frame."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        found = error.errors(include_url=False)[0]
        return str(found.get("ctx", {}).get("error", found["msg"]))
    return str(error)


def _of_plans(path: str, origin: str) -> bool:
    return origin.startswith("env ") and path.partition(".")[0] not in _NOT_OF_PLANS


def _trades_around_the_clock(data: Data, loaded: Loaded | None) -> bool:
    """Return whether a symbol's name or the first rows of a file speak against the hours of US equities."""
    import numpy as np

    from impactd.cli.compose import limits
    from impactd.config.sections import HoursSection
    from impactd.core.base.session import Session
    from impactd.core.base.venue import whole_of
    from impactd.shell.files import InputFileError
    from impactd.shell.recorded import read_ticks

    market, shares = ZoneInfo(_ZONE), Session(HoursSection(calendar=_CALENDAR).rule())
    bounds = None if loaded is None else limits(loaded.settings)
    for path in data.paths:
        try:
            ticks = read_ticks(path, data.codec, data.symbol, limits=bounds)
            first = next((decoded.batch for decoded in ticks if len(decoded.batch)), None)
        except InputFileError:
            continue  # the command that reads it states why
        if first is None:
            continue
        if any(_AROUND_THE_CLOCK.fullmatch(whole_of(name)) for name in first.symbols):
            return True
        outside = 0
        seconds, counts = np.unique(first.ts_event // _HOUR_NS * _HOUR_S, return_counts=True)
        for second, count in zip(seconds.tolist(), counts.tolist(), strict=True):
            at = datetime.fromtimestamp(second, market)
            closed = shares.hours_on(at.date().toordinal() - _EPOCH_ORDINAL) is None
            outside += count if closed or at.hour not in _FEED_HOURS else 0
        # One row alone among others may have a wrong time.
        if outside > 1 or outside == len(first):
            return True
    return False


@contextmanager
def orders_bar() -> Iterator[Callable[[int], Callable[[int], None]] | None]:
    """Yield what begins a progress bar of this many orders on a terminal, or None where there is none."""
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

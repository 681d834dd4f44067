"""``impactd calendar``: trading hours as plain times, packaged or from the library."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from impactd.cli.common import InputError, example
from impactd.cli.study import study


@click.command(
    "calendar",
    epilog=example(
        "impactd calendar",
        "impactd calendar XNYS --day 2025-11-28",
        "impactd calendar XNYS --years 2015-2030 --out XNYS.json",
    ),
)
@click.argument("name", required=False)
@click.option("--day", "days", multiple=True, metavar="YYYY-MM-DD", help="Show the session of a local day; repeatable.")
@click.option("--years", metavar="FIRST-LAST", help="Write the times of these years, from exchange_calendars.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.json", help="File to write to.")
def command(*, name: str | None, days: tuple[str, ...], years: str | None, out: Path | None) -> None:
    """List the packaged calendars, show a session, or write a calendar's plain times.

    NAME is a MIC such as XNYS, or a file that this command wrote. Use a written file as
    session.calendar; it may be edited. Writing one needs impactd[research]; nothing else does.
    """
    if name is None:
        _list()
    elif years is not None:
        _write(name, years, out)
    elif out is not None:
        raise InputError("--out: needs --years FIRST-LAST, the years to write")
    else:
        _show(name, days)


def _list() -> None:
    from impactd.config.calendars import calendar, packaged

    for name in packaged():
        found = calendar(name)
        ends = "no end" if found.through is None else f"{found.since} to {found.through}"
        breaks = "".join(f", break {span}" for span in found.breaks)
        click.echo(f"{name:<5} {found.open}-{found.close} {found.timezone}{breaks} ({ends})")


def _show(name: str, days: tuple[str, ...]) -> None:
    from impactd.config.calendars import calendar
    from impactd.config.hours import parse_date
    from impactd.core.base.session import Session
    from impactd.core.base.settings import SECOND_NS

    try:
        found = calendar(name)
        numbers = [parse_date(day) for day in days]
    except ValueError as error:
        raise InputError(f"calendar: {error}") from error
    if not days:
        click.echo(
            f"{found.calendar} {found.open}-{found.close} {found.timezone}, {', '.join(found.days)}, "
            f"{found.since} to {found.through or 'no end'}; {found.source}, written {found.written}"
        )
    session = Session(found.rule)
    for text, number in zip(days, numbers, strict=True):
        if not session.hours_on(number):
            click.echo(f"{text} closed")
            continue
        for opens, closes in session.segments_on(number):
            times = [datetime.fromtimestamp(ns // SECOND_NS, UTC) for ns in (opens, closes)]
            local, utc = (_span(at.astimezone(zone) for at in times) for zone in (ZoneInfo(found.timezone), UTC))
            click.echo(f"{text} {local} {found.timezone}, {utc} UTC")


def _span(times: Iterable[datetime]) -> str:
    return "-".join(f"{at:%a %H:%M}" for at in times)


def _write(name: str, years: str, out: Path | None) -> None:
    import orjson

    first, dash, last = years.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise InputError(f"--years: needs two years such as 2015-2030, not {years!r}")
    with study():
        from impactd.research.calendars import calendar_file

        content = calendar_file(name, int(first), int(last), today=datetime.now(UTC).date())
    text = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if out is None:
        click.echo(text.decode(), nl=False)
        return
    out.write_bytes(text)
    click.echo(f'{out}: {name} {content["since"]} to {content["through"] or "no end"}; session.calendar = "{out}"')

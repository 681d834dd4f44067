"""``impactd check-config``: the settings in force and where each came from."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from impactd.cli.common import InputError, example, load_settings, refuse_missing_extras, settings_options

if TYPE_CHECKING:
    from impactd.config import Loaded, Settings

#: Symbols of a trained file that are named.
_SHOWN: Final = 10


@click.command(
    "check-config",
    epilog=example(
        "impactd check-config -c impactd.toml",
        "IMPACTD__KAFKA__BOOTSTRAP=kafka:9092 impactd check-config --changed",
        "impactd check-config --sessions sessions.cfg",
    ),
)
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Write JSON for machines.")
@click.option("--changed", is_flag=True, help="Leave out settings at their default.")
@click.option(
    "--sessions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Also check the session file of impactd fix.",
)
def command(config: Path | None, sets: tuple[str, ...], *, as_json: bool, changed: bool, sessions: Path | None) -> None:
    """Show the settings in force and where each came from.

    Later sources win: default, file, environment (IMPACTD__SECTION__FIELD),
    flags. Secrets are masked. Fails where a setting needs a package that is
    not installed.
    """
    loaded = load_settings(config, sets)
    if sessions is not None:
        _check_sessions(sessions)
    shown = {path: value for path, value in loaded.shown().items() if not changed or loaded.origins[path] != "default"}
    from impactd.config.calendars import ending

    if loaded.settings.model.learned:
        click.echo(f"model.learned: {_taught(loaded.settings)}", err=True)
    for warning in ending(loaded.settings.core(), datetime.now(UTC).date()):
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        _write_json(loaded, shown)
    else:
        _write_table(loaded, shown)
    refuse_missing_extras(loaded.settings)


def _taught(settings: Settings) -> str:
    """Return what the trained file holds, and the symbols that it was trained on."""
    from impactd.core.model.learned.trained import learned_of

    learned = learned_of(settings.core())
    if learned is None or not learned.symbols:
        return "does not say which symbols it was trained on"
    first, more = learned.symbols[:_SHOWN], len(learned.symbols) - _SHOWN
    return f"{learned.kind} trained on {', '.join(first)}{f' and {more} more' if more > 0 else ''}"


def _check_sessions(path: Path) -> None:
    """Name the sessions of a session file; fail where it cannot be used."""
    from impactd.shell.fix.sessions import SessionsError, check_sessions, read_sessions

    try:
        names = check_sessions(read_sessions(path))
    except SessionsError as error:
        raise InputError(f"{path}: {error}") from error
    click.echo(f"{path}: {', '.join(names)}", err=True)


def _write_json(loaded: Loaded, shown: dict[str, object]) -> None:
    import orjson

    items = {path: {"value": value, "origin": loaded.origins[path]} for path, value in shown.items()}
    file = None if loaded.file is None else str(loaded.file)
    text = orjson.dumps({"file": file, "settings": items}, option=orjson.OPT_INDENT_2)
    click.echo(text.decode())


def _write_table(loaded: Loaded, shown: dict[str, object]) -> None:
    rows = [(path, _toml(value), loaded.origins[path]) for path, value in shown.items()]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table("setting", "value", "from", title=f"Settings: {loaded.file or 'no file'}")
        for path, value, origin in rows:
            table.add_row(path, value, origin, style="dim" if origin == "default" else "bold")
        Console().print(table)
        return
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    for path, value, origin in rows:
        click.echo(f"{path:{widths[0]}}  {value:{widths[1]}}  {origin}")


def _toml(value: object) -> str:
    match value:
        case None:
            return "(unset)"
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{value}"'
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case _:
            return str(value)

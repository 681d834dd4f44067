"""What the commands share: options, settings, and the ways to fail."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from impactd.config import Loaded

F = TypeVar("F", bound=Callable[..., Any])

#: A file that must be there.
EXISTING: Final = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


class InputError(click.ClickException):
    """What was given cannot be used; the text says what to change."""

    exit_code = 2


class Failure(click.ClickException):
    """What was asked could not be done."""

    exit_code = 1


class NothingUsableError(click.ClickException):
    """An input of which nothing could be used; the text names it with the first reason."""

    exit_code = 4


class Speed(click.ParamType[float | None]):
    """``max``, or seconds of event time a second."""

    name = "1|60|max"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Return the speed; None is as fast as possible."""
        if value == "max" or value is None:
            return None
        try:
            speed = float(str(value))
        except ValueError:
            speed = 0.0
        if not 0 < speed <= 1e9:
            self.fail(f"{value!r} is no speed: give a number above 0, such as 1 or 60, or max", param, ctx)
        return speed


def example(*lines: str) -> str:
    """Return the epilog of a command's help: one command a line, kept as it is."""
    # The backspace tells click not to wrap the paragraph.
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def settings_options(function: F) -> F:
    """Add ``-c FILE`` and ``--set``."""
    config = click.option(
        "-c",
        "--config",
        type=EXISTING,
        help="Settings file; else IMPACTD_CONFIG, else ./impactd.toml if there is one.",
    )
    override = click.option(
        "--set",
        "sets",
        metavar="SECTION.FIELD=VALUE",
        multiple=True,
        help="Override one setting; may be repeated.",
    )
    return config(override(function))


def load_settings(
    config: Path | None, sets: Sequence[str] = (), flags: Sequence[tuple[str, object, str]] = ()
) -> Loaded:
    """Return the settings in force.

    Parameters
    ----------
    config : Path or None
        Value of ``-c``.
    sets : sequence of str
        Values of ``--set``.
    flags : sequence of (path, value, flag)
        Further flags that stand for a setting; None where one is not given.

    Raises
    ------
    InputError
        If the settings cannot be used.
    """
    from impactd.config import Override, SettingsError, load

    overrides = []
    for text in sets:
        path, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set {text}: needs the form section.field=value, such as books.grace_s=2")
        overrides.append(Override(path.strip(), value.strip(), "--set"))
    overrides += [Override(path, value, flag) for path, value, flag in flags if value is not None]
    try:
        return load(config, environ=os.environ, overrides=tuple(overrides))
    except SettingsError as error:
        raise InputError(str(error)) from error


@contextmanager
def progress_line(unit: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None] | None]:
    """Yield what shows progress on a terminal, or None where there is none."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    from impactd.shell.view import clock_text

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def show(n: int, clock: int) -> None:
            at = f", {clock_text(clock)} UTC" if clock else ""
            bar.update(task, description=f"{n:,} {unit}{at}")

        yield show

"""What the commands share: options, settings, and the ways to fail.

What was given and cannot be used is an `InputError`, what cannot be done a `Failure`: both end the command with one
line.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click
from click.types import FloatParamType

if TYPE_CHECKING:
    from impactd.config import Loaded, Settings
    from impactd.shell.replay import Sources

F = TypeVar("F", bound=Callable[..., Any])

#: A file that must be there.
EXISTING: Final = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


class InputError(click.ClickException):
    """What was given cannot be used; the text states what to change."""

    exit_code = 2


class Failure(click.ClickException):
    """What was asked could not be done."""

    exit_code = 1


class NothingUsableError(click.ClickException):
    """An input of which nothing could be used; the text names it with the first reason."""

    exit_code = 4


class UnmatchedError(click.ClickException):
    """A control was written or applied, and its scope matches nothing that is known."""

    exit_code = 3


class Named(NamedTuple):
    """The argument as given, and the files that it refers to."""

    text: str
    paths: tuple[Path, ...]


class Days(click.ParamType[Named]):
    """A file that must be there, a folder of files, or a pattern such as ``days/*.csv.gz``."""

    name = "path"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Named:
        """Return the files."""
        if isinstance(value, Named):
            return value
        from impactd.shell.days import days_of
        from impactd.shell.lines import InputFileError

        try:
            return Named(str(value), days_of(str(value)))
        except InputFileError as error:
            self.fail(str(error), param, ctx)


class Finite(FloatParamType):
    """A finite number."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number; give one", param, ctx)
        return number


class FiniteRange(click.FloatRange, Finite):
    """A finite number in a range; NaN lies in every range of click's."""


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
            self.fail(f"{value!r} is not a speed: give a number above 0, such as 1 or 60, or max", param, ctx)
        return speed


def example(*lines: str) -> str:
    """Return the epilog of a command's help: one command per line, kept as it is."""
    # The backspace tells click not to wrap the paragraph.
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def in_order(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """Return a decorator that adds options, which the help lists in this order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def grouped(name: str, of: type[Any], *options: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that adds options and hands their values to the command as one, an `of` called `name`."""

    def decorate(function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def gathered(*args: Any, **values: Any) -> Any:
            own = {field.name: values.pop(field.name) for field in dataclasses.fields(of)}
            return function(*args, **values, **{name: of(**own)})

        return in_order(*options)(gathered)

    return decorate


def names_of(text: str) -> list[str]:
    """Return the names of an option that takes several, with commas between."""
    return [name.strip() for name in text.split(",") if name.strip()]


@dataclass(frozen=True, slots=True)
class Data:
    """Recorded days."""

    data: tuple[Path, ...]
    more: tuple[Path, ...]
    #: Of files that do not say.
    symbol: str | None
    codec: str | None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files."""
        if not self.data + self.more:
            return ()
        from impactd.shell.days import once

        return once(self.data + self.more)


@dataclass(frozen=True, slots=True)
class Day(Data):
    """Recorded days, and what was sent to the service on them."""

    orders: Path | None
    executions: Path | None
    control: Path | None
    instruments: Path | None
    status: Path | None

    @property
    def is_empty(self) -> bool:
        """Whether no file is named."""
        sent = (self.orders, self.executions, self.control, self.instruments, self.status)
        return not (self.paths or any(sent))

    def sources(self) -> Sources:
        """Return the files as a replay takes them."""
        from impactd.shell.replay import Sources

        return Sources(
            self.paths,
            self.orders,
            self.executions,
            self.control,
            self.codec,
            self.symbol,
            self.instruments,
            self.status,
        )


_DATA_HELP: Final = (
    "files in any format that impactd inspect recognises, plain or compressed, a folder of them, or a quoted pattern "
    "such as 'days/*.csv.gz'."
)


def _paths(ctx: click.Context, param: click.Parameter, named: tuple[Named, ...]) -> tuple[Path, ...]:
    del ctx, param
    return tuple(path for one in named for path in one.paths)


def data_options(text: str = "Recorded days", *, required: bool = False, day: bool = False) -> Callable[[F], F]:
    """Return a decorator that adds recorded days, as a `Data` called ``data``; `day`: as a `Day`, with its orders."""
    files = (
        click.option("--orders", type=EXISTING, help="Parent orders, JSON lines."),
        click.option("--executions", type=EXISTING, help="Fills, JSON lines; a replay without them fills as planned."),
        click.option("--control", type=EXISTING, help="Halts and resumes, JSON lines."),
        click.option("--instruments", type=EXISTING, help="Definitions of instruments, JSON lines."),
        click.option("--status", type=EXISTING, help="Trading status of markets, JSON lines."),
    )
    return grouped(
        "data",
        Day if day else Data,
        click.option(
            "--data",
            type=Days(),
            callback=_paths,
            multiple=True,
            required=required,
            metavar="FILE...",
            help=f"{text}: {_DATA_HELP}",
        ),
        click.argument("more", type=Days(), callback=_paths, nargs=-1, metavar=""),
        *(files if day else ()),
        click.option("--symbol", help="Symbol of data that names none: NAME, or ID=NAME,... by the ids in the data."),
        click.option("--codec", help="Format of the data; recognised from each file by default."),
    )


def directory_option(text: str, **options: Any) -> Callable[[F], F]:
    """Return the option ``--out``, a directory."""
    return click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help=text, **options)


@contextmanager
def translated() -> Iterator[None]:
    """Turn the shell's errors into a command's.

    Raises
    ------
    InputError
        For files that cannot be used.
    Failure
        Where brokers or the service fail.
    """
    from impactd.shell.kafka.errors import FatalError
    from impactd.shell.lines import InputFileError

    try:
        yield
    except InputFileError as error:
        raise InputError(str(error)) from error
    except FatalError as error:
        raise Failure(str(error)) from error


def write_json(value: object) -> None:
    """Write one JSON object."""
    import orjson

    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY).decode())


settings_options = in_order(
    click.option(
        "-c",
        "--config",
        type=EXISTING,
        help="Settings file; else IMPACTD_CONFIG, else ./impactd.toml if there is one.",
    ),
    click.option(
        "--set",
        "sets",
        metavar="SECTION.FIELD=VALUE",
        multiple=True,
        help="Override one setting; may be repeated.",
    ),
)


def load_settings(
    config: Path | None, sets: Sequence[str] = (), flags: Sequence[tuple[str, object, str]] = ()
) -> Loaded:
    """Return the settings in force.

    Parameters
    ----------
    flags : sequence of (path, value, flag)
        Further flags that set a setting; None where one is not given.
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


def refuse_missing_extras(settings: Settings) -> None:
    """Refuse settings that need packages which are not installed, before anything is read or sent.

    Raises
    ------
    Failure
        If one is missing; the text names the setting and the remedy.
    """
    from impactd.config.extras import missing_extras

    if found := missing_extras(settings):
        raise Failure("\n".join(found))


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

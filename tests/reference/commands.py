"""The page of commands, from the commands themselves."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import Final

import click

from impactd.cli import COMMANDS, EXIT_CODES
from tests.reference.markdown import code, table

_HEAD: Final = """\
# Commands

Every command has `--help` with an example. `impactd completion SHELL` prints the completion script for
bash, zsh or fish. Commands that read settings take `-c FILE` and `--set SECTION.FIELD=VALUE`; see
[settings](settings.md).

"""


def every() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield each command with its name, those in groups behind their group."""
    for name, (module, _) in COMMANDS.items():
        command: click.Command = importlib.import_module(module).command
        yield (name,), command
        if isinstance(command, click.Group):
            yield from (((name, inner), command.commands[inner]) for inner in command.commands)


def page() -> str:
    """Return the page."""
    exits = table(("exit code", "meaning"), ((code(number), meaning) for number, meaning in EXIT_CODES.items()))
    parts = [_HEAD, exits, "\n"]
    for names, command in every():
        parts.append(_command(names, command))
    return "".join(parts).rstrip() + "\n"


def _command(names: tuple[str, ...], command: click.Command) -> str:
    context = click.Context(command, info_name=" ".join(("impactd", *names)))
    usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
    lines = [f"{'#' * (len(names) + 1)} impactd {' '.join(names)}\n", inspect.cleandoc(command.help or "") + "\n"]
    lines.append(f"    {usage}\n")
    rows = [row for parameter in command.params if (row := _option(parameter, context)) is not None]
    if rows:
        lines.append(table(("option", "meaning"), rows))
    if command.epilog:
        examples = command.epilog.replace("\b", "").replace("Example:", "").strip().splitlines()
        lines.append("```console\n" + "\n".join(line.strip() for line in examples) + "\n```\n")
    return "\n".join(lines) + "\n"


def _option(parameter: click.Parameter, context: click.Context) -> tuple[str, str] | None:
    if not isinstance(parameter, click.Option):
        # More files of the option before it have no name of their own.
        return (code(parameter.make_metavar(context)), "") if parameter.make_metavar(context) else None
    record = parameter.get_help_record(context)
    if record is None:
        return None
    return code(record[0].replace("|", "/")), record[1]

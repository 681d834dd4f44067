"""The commands, and the one place where settings, shell and core are put together.

A command's module is imported when it is called, and imports what it needs
when it runs, so that ``impactd --help`` loads neither NumPy nor a compiler.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Final, cast

import click

from impactd.cli.common import InputError, example
from impactd.core.base.extras import MissingExtraError

#: What a command's exit code says.
EXIT_CODES: Final = {
    0: "success",
    1: "failure: the command could not be carried out, or a check failed; standard error states why",
    2: "wrong usage, or input or settings that cannot be used; one line states what to change",
    3: "`impactd audit`: part of it cannot be derived or read; `halt`, `resume`, and `replay` of them: the scope is "
    "no known symbol or order",
    4: "nothing of an input could be used; standard error names it with the first reason, other inputs were used",
    130: "interrupted",
}

#: Command: module that defines it as `command`, and its line in the list of commands.
COMMANDS: Final = {
    "demo": ("impactd.cli.demo", "Run the service on a day of order books, and watch its schedules."),
    "replay": ("impactd.cli.replay", "Derive estimates, models and plans from recorded files."),
    "inspect": (
        "impactd.cli.inspect",
        "Identify recorded files: format, symbols, what would be rejected and why, and what to run next.",
    ),
    "run": ("impactd.cli.run", "Run the service."),
    "page": ("impactd.cli.page", "Serve the live page and its API."),
    "estimate": ("impactd.cli.estimate", "Estimate what an order would cost."),
    "order": ("impactd.cli.order", "Enter, change, cancel and follow parent orders by hand."),
    "fix": ("impactd.cli.fix", "Take orders and executions by FIX 4.4 or 5.0SP2, and report back."),
    "paper": ("impactd.cli.paper", "Trade plans on paper, and report the fills."),
    "halt": ("impactd.cli.halt", "Stop the plans of all orders, a symbol or one order."),
    "resume": ("impactd.cli.resume", "Lift a halt of the same scope; its orders are replanned."),
    "dlq": ("impactd.cli.dlq", "List, show and resend records that could not be used."),
    "health": ("impactd.cli.health", "Check whether the service on this host is alive, or ready."),
    "check-config": ("impactd.cli.check_config", "Show the settings in force and where each came from."),
    "calendar": (
        "impactd.cli.calendar",
        "List the packaged calendars, show a session, or write a calendar's plain times.",
    ),
    "topics": ("impactd.cli.topics", "Create or check the topics, or list the permissions needed."),
    "publish": ("impactd.cli.publish", "Send a recorded day to Kafka."),
    "feed": ("impactd.cli.feed", "Send a vendor's live feed to the ticks topic."),
    "compile": ("impactd.cli.compile", "Compile the kernels ahead of the first start."),
    "generate": ("impactd.cli.generate", "Generate order books for demos and load tests."),
    "audit": ("impactd.cli.audit", "Recompute what was published and compare the bytes."),
    "convert": ("impactd.cli.convert", "Convert a vendor's quotes or books into a file that every command reads."),
    "export": ("impactd.cli.export", "Export plans, executions and costs from the topics, each record once."),
    "capture": ("impactd.cli.capture", "Write a run's inputs and journal to files."),
    "backtest": (
        "impactd.cli.backtest",
        "Price the service's schedules on recorded days against TWAP, VWAP and hindsight.",
    ),
    "merge": ("impactd.cli.merge", "Merge the results of impactd backtest, train or sensitivity --shard."),
    "train": (
        "impactd.cli.train",
        "Train trees or a network on the forecast's errors, and test them on held-out days.",
    ),
    "compare": ("impactd.cli.compare", "Compare strategies and models on recorded days and on a generated one."),
    "report": ("impactd.cli.report", "Write a report on models and strategies, as HTML and Markdown."),
    "tca": ("impactd.cli.tca", "Report what orders and fills cost, after the trade."),
    "selftest": ("impactd.cli.selftest", "Check a generated day, recorded days, a live sample, and speed."),
    "sensitivity": ("impactd.cli.sensitivity", "Show how cost and saving depend on the order."),
    "completion": ("impactd.cli.completion", "Write a shell's completion script."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which a newcomer needs them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        return cast("click.Command", importlib.import_module(COMMANDS[cmd_name][0]).command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001  # click's signature
    if not value or ctx.resilient_parsing:
        return
    from impactd.cli.versions import text

    click.echo(text())
    ctx.exit()


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=example("impactd demo", "impactd replay --data FROG.csv.gz --orders orders.jsonl --out result"),
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the release and the versions of its formats.",
)
def cli() -> None:
    """Live order books in, least-impact execution schedules out."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        from impactd.shell.kernels import KernelCacheError, prepare_kernels

        try:
            prepare_kernels(os.environ)
        except KernelCacheError as error:
            raise InputError(str(error)) from error


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    # What aiokafka says of a failure is ours to say, in one line; where logging is set up it is heard as well.
    logging.getLogger("aiokafka").handlers = [logging.NullHandler()]
    try:
        result = cli.main(args=None if args is None else list(args), prog_name="impactd", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        where = f" (see '{error.ctx.command_path} --help')" if error.ctx is not None else ""
        return _say(f"{error.format_message().rstrip('.')}{where}", 2)
    except click.ClickException as error:
        return _say(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted", 130)
    except BrokenPipeError:
        # The reader of the output has gone: the last flush of the buffer must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MissingExtraError as error:
        return _say(str(error), 1)
    except OSError as error:
        return _say(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
    return result if isinstance(result, int) else 0


def _say(message: str, code: int) -> int:
    from impactd.shell.printable import printable

    click.echo(printable(f"impactd: {message}", keep="\n"), err=True)
    return code

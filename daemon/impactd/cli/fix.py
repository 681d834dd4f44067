"""``impactd fix``: orders and executions by FIX, in and out."""

from __future__ import annotations

from pathlib import Path

import click

from impactd.cli.common import EXISTING, InputError, example, load_settings, settings_options, translated
from impactd.core.base.extras import extra_module


@click.command(
    "fix",
    epilog=example("impactd fix -c impactd.toml --sessions sessions.cfg", "impactd fix --sessions ems.cfg --drop-copy"),
)
@click.option("--sessions", type=EXISTING, help="File of the sessions, in QuickFIX's format; else fix.sessions.")
@click.option("--drop-copy", is_flag=True, help="Take only the executions that ExecutionReports report.")
@settings_options
def command(*, sessions: Path | None, drop_copy: bool, config: Path | None, sets: tuple[str, ...]) -> None:
    """Take orders and executions by FIX 4.4 or 5.0SP2, and report back.

    Accepts the sessions of a QuickFIX session file. NewOrderSingle, replace,
    cancel and status become orders; ExecutionReports of trades, corrections and
    busts become executions. Each is taken once, through a crash too: sequence
    numbers and orders are committed in one transaction. An instruction that is
    not known is refused by name. Needs the extra fix. Ctrl-C ends it.
    """
    flags = [("fix.sessions", None if sessions is None else str(sessions), "--sessions")]
    settings = load_settings(config, sets, flags).settings
    if not settings.fix.sessions:
        raise InputError("fix.sessions is not set; give --sessions FILE")

    import asyncio
    import os
    import signal
    import sys

    from impactd.shell.fix.gateway import Gateway
    from impactd.shell.fix.sessions import SessionsError, read_sessions
    from impactd.shell.logging import setup

    extra_module("quickfix", "fix")
    try:
        text = read_sessions(Path(settings.fix.sessions))
    except SessionsError as error:
        raise InputError(f"fix.sessions: {settings.fix.sessions}: {error}") from error

    async def serve() -> None:
        gateway = Gateway(settings, text, drop_copy=drop_copy)
        task = asyncio.ensure_future(gateway.run(lambda: click.echo("fix: accepts sessions; Ctrl-C ends it", err=True)))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    setup(settings.log.level, settings.log.format, libraries=settings.log.libraries)
    code = 0
    try:
        with translated():
            asyncio.run(serve())
    except SessionsError as error:
        code = _shown(InputError(f"{settings.fix.sessions}: {error}"))
    except click.ClickException as error:
        code = _shown(error)
    # QuickFIX's threads call into Python, which must not end under them.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _shown(error: click.ClickException) -> int:
    error.show()
    return error.exit_code

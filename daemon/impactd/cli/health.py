"""``impactd health``: the probe, as a command."""

from __future__ import annotations

from pathlib import Path

import click

from impactd.cli.common import Failure, InputError, example, load_settings, settings_options


@click.command("health", epilog=example("impactd health", "impactd health --ready -c impactd.toml"))
@click.option("--ready", is_flag=True, help="Check readiness (its output is current), not only liveness.")
@settings_options
def command(*, ready: bool, config: Path | None, sets: tuple[str, ...]) -> None:
    """Check whether the service on this host is alive, or ready.

    Queries /livez, or /readyz, at http.host and http.port of the service's
    settings. The exit status is the result, for health checks on hosts
    without curl.
    """
    settings = load_settings(config, sets).settings.http
    if not settings.enabled:
        raise InputError("http.enabled is false: a service without HTTP cannot be asked")
    if settings.port == 0:
        raise InputError("http.port is 0: only the service's log states the port; set one")

    from impactd.shell.ask import ask

    answer = ask(settings.host, settings.port, ready=ready)
    if not answer.well:
        raise Failure(answer.text)
    click.echo(answer.text)

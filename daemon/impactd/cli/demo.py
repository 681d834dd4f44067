"""``impactd demo``: a day of order books becomes schedules, before one's eyes."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from impactd.cli.common import (
    Day,
    Failure,
    InputError,
    Speed,
    data_options,
    directory_option,
    example,
    load_settings,
    settings_options,
)

if TYPE_CHECKING:
    from impactd.config import Settings
    from impactd.core.base.settings import CoreSettings
    from impactd.shell.broker.broker import Broker
    from impactd.shell.demo import DemoResult
    from impactd.shell.replay import Sources
    from impactd.shell.view import Scene

#: A session of six and a half hours in a minute.
SPEED: Final = 390.0

#: Without a terminal: one report for so much event time.
_REPORT_NS: Final = 30 * 60 * 1_000_000_000

_BROKERS: Final = {
    "address": "the broker at IMPACTD_BOOTSTRAP",
    "docker": "Apache Kafka in Docker",
    "maven": "Apache Kafka on this machine's Java",
    "mock": "librdkafka's in-process mock broker (not a proof of Kafka behaviour)",
}


@click.command(
    "demo",
    epilog=example(
        "impactd demo",
        "impactd demo --data FROG_2025-04-03_mbp10.csv.gz --orders orders.jsonl --speed max",
    ),
)
@data_options("Ticks (a generated day by default)", day=True)
@click.option("--speed", type=Speed(), default=str(SPEED), show_default=True, help="Event time over wall time, or max.")
@directory_option("Directory of the results; a new one by default.")
@click.option("--plain", is_flag=True, help="Lines of text instead of the live view.")
@click.option("--stay", is_flag=True, help="Keep the live page after the day has ended, until Ctrl-C.")
@settings_options
def command(
    *,
    data: Day,
    speed: float | None,
    out: Path | None,
    plain: bool,
    stay: bool,
    config: Path | None,
    sets: tuple[str, ...],
) -> int:
    """Run the service on a day of order books, and watch its schedules.

    Uses the broker at IMPACTD_BOOTSTRAP, or else starts one (Docker, Java
    with Maven, or a mock inside this process), publishes the day, runs the
    service on it and shows its output. At the end the day is replayed from
    its files, and both results are compared byte for byte.
    """
    if not data.paths:
        if not data.is_empty:
            raise InputError("--orders, --executions and --control belong to a day of their own: name it with --data")
        day = _replay_data()
        data = dataclasses.replace(data, data=(day / "day.jsonl.gz",), orders=day / "orders.jsonl")
        config = config or day / "impactd.toml"
    settings = load_settings(config, sets).settings

    import tempfile

    from impactd.cli.compose import replay_settings
    from impactd.shell.broker.broker import find_broker
    from impactd.shell.broker.release import BrokerUnavailable
    from impactd.shell.kafka.errors import FatalError
    from impactd.shell.lines import InputFileError

    sources = data.sources()
    core = replay_settings(settings, has_executions=data.executions is not None)
    out = out or Path(tempfile.mkdtemp(prefix="impactd-demo-"))
    out.mkdir(parents=True, exist_ok=True)
    click.echo("looking for a broker ...", err=True)
    try:
        with find_broker(allow_mock=True) as broker:
            click.echo(f"taking {_BROKERS[broker.kind]}; the first start compiles for about a minute", err=True)
            result = _run(broker, settings, core, sources, out, speed, plain=plain, stay=stay)
    except BrokerUnavailable as error:
        raise Failure(str(error)) from error
    except FatalError as error:
        raise Failure(f"{error} (log: {out / 'demo.log'})") from error
    except InputFileError as error:
        raise InputError(str(error)) from error
    _report(result, broker, out)
    return 0 if result.equal else 1


def _replay_data() -> Path:
    """Return the directory of the generated day: beside the sources, or inside the installed package."""
    package = Path(__file__).parents[1]
    for directory in (package.parents[1] / "replay_data", package / "replay_data"):
        if (directory / "day.jsonl.gz").is_file():
            return directory
    raise InputError("the generated day is not installed here: name a recorded one with --data")


def _run(
    broker: Broker,
    settings: Settings,
    core: CoreSettings,
    sources: Sources,
    out: Path,
    speed: float | None,
    *,
    plain: bool,
    stay: bool,
) -> DemoResult:
    import asyncio
    import secrets

    from impactd.cli.compose import limits
    from impactd.shell.demo import demo_settings, run_demo
    from impactd.shell.logging import setup
    from impactd.shell.view import Scene

    scene = Scene()
    pace = "as fast as possible" if speed is None else f"{speed:g} times its own speed"
    name = f"impactd-demo-{secrets.token_hex(3)}"
    with (out / "demo.log").open("w", encoding="utf-8") as log:
        setup(settings.log.level, "json", log)
        with _view(scene, f"impactd: a day {pace}", settings.session.timezone, plain=plain) as updated:
            day = run_demo(
                demo_settings(settings, broker, name),
                core,
                sources,
                out,
                scene=scene,
                speed=speed,
                can_create=broker.is_real,
                limits=limits(settings),
                timestamps=settings.wire.timestamps,
                updated=updated,
                listening=lambda address: click.echo(f"live page: {address}", err=True),
                stay=_staying if stay else None,
            )
            try:
                return asyncio.run(day)
            finally:
                # One that was interrupted before it began would be said to have been forgotten.
                day.close()


def _staying() -> None:
    click.echo("the day has ended; the live page stays open until Ctrl-C, then the comparison follows", err=True)


@contextmanager
def _view(scene: Scene, title: str, zone: str, *, plain: bool) -> Iterator[Callable[[], None]]:
    """Yield what is called whenever `scene` has changed."""
    from rich.console import Console
    from rich.live import Live

    from impactd.shell.view import plain_lines, render

    if not plain and sys.stdout.isatty():
        with Live(console=Console(), get_renderable=lambda: render(scene, title, zone), refresh_per_second=4):
            yield lambda: None
        return
    reported = 0

    def report() -> None:
        nonlocal reported
        if scene.clock // _REPORT_NS > reported:
            reported = scene.clock // _REPORT_NS
            click.echo("\n".join(plain_lines(scene, zone)))

    click.echo(title)
    yield report


def _report(result: DemoResult, broker: Broker, out: Path) -> None:
    from rich.console import Console

    from impactd.cli.summary import WIDE, show_orders

    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
    sent = ", ".join(f"{count:,} {topic}" for topic, count in result.published.items() if count)
    commits = sum(partition.commits for partition in result.status.partitions.values())
    console.print(f"\n[bold]published[/bold]  {sent} in {result.seconds:.1f} s through {_BROKERS[broker.kind]}")
    console.print(f"[bold]service[/bold]    {commits:,} transactions, {result.replayed.minutes:,} minutes closed")
    if result.replayed.orders:
        show_orders(console, result.replayed.orders)
    for topic, item in result.compared.items():
        verdict = (
            "byte for byte the replay's"
            if item.different == 0
            else f"[bold]{item.different:,} differ[/bold] from the replay's"
        )
        console.print(f"{topic.value:<10} {item.published:>7,} published, {verdict}")
    if not result.equal:
        console.print(
            "[bold]The results of broker and files differ: please report this with the two directories.[/bold]"
        )
    console.print(f"written to {out}: live/ from the broker, replay/ from the files, demo.log")

"""``impactd demo``: a day of order books becomes schedules, before one's eyes."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
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
    from impactd.shell.tally import OrderSummary
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
    service on it, trades its plans on paper and shows its output. At the end
    the day is replayed from its files and fills, both results are compared
    byte for byte, and what the orders cost is written as tables and a page.
    With --executions, or with replay.fills = "scheduled", nothing is traded.
    """
    if not data.paths:
        if not data.is_empty:
            raise InputError("--orders, --executions and --control belong to a day of their own: name it with --data")
        day = _replay_data()
        data = dataclasses.replace(data, data=(day / "day.jsonl.gz",), orders=day / "orders.jsonl")
        config = config or day / "impactd.toml"
    settings = _with_free_port(load_settings(config, sets).settings)

    import tempfile
    from contextlib import ExitStack

    from impactd.cli.compose import replay_settings
    from impactd.shell.broker.broker import find_broker
    from impactd.shell.broker.release import BrokerUnavailable
    from impactd.shell.kafka.errors import FatalError
    from impactd.shell.kafka.warm import compile_ahead, reported
    from impactd.shell.lines import InputFileError

    sources = data.sources()
    # What the day has no executions for, is traded on paper.
    core = replay_settings(settings, has_executions=True)
    out = out or Path(tempfile.mkdtemp(prefix="impactd-demo-"))
    out.mkdir(parents=True, exist_ok=True)
    click.echo("looking for a broker ...", err=True)
    compile_ahead(core)
    try:
        with ExitStack() as stack:
            with reported(lambda seconds: click.echo(f"looking for a broker, {seconds:.0f} s so far ...", err=True)):
                broker = stack.enter_context(find_broker(allow_mock=True))
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


def _with_free_port(settings: Settings) -> Settings:
    """Return settings with the ports that they name, or any free one in place of one that is taken."""
    import socket

    for name in ("port", "page_port"):
        try:
            with socket.create_server((settings.http.host, getattr(settings.http, name))):
                continue
        except OSError:
            settings = settings.replace(http={name: 0})
    return settings


def _replay_data() -> Path:
    """Return the directory of the generated day: next to the sources, or inside the installed package."""
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
                demo_settings(settings, broker, name, traded=core.plans.fills == "reported" and not sources.executions),
                core,
                sources,
                out,
                scene=scene,
                speed=speed,
                can_create=broker.is_real,
                limits=limits(settings),
                timestamps=settings.wire.timestamps,
                compiling=lambda seconds: click.echo(f"compiling, {seconds:.0f} s so far ...", err=True),
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
    """Write what became of the day; the last lines are what was saved, of how much, and where to look next."""
    from impactd.cli.summary import MAX_ANSWERS, answer

    sent = ", ".join(f"{count:,} {topic}" for topic, count in result.published.items() if count)
    commits = sum(partition.commits for partition in result.status.partitions.values())
    click.echo(f"\npublished {sent} in {result.seconds:.1f} s through {_BROKERS[broker.kind]}")
    click.echo(f"service: {commits:,} transactions, {result.replayed.minutes:,} minutes closed")
    for topic, item in result.compared.items():
        verdict = (
            "byte for byte the replay's" if item.different == 0 else f"{item.different:,} DIFFER from the replay's"
        )
        click.echo(f"{topic.value:<10} {item.published:>7,} published, {verdict}")
    if not result.equal:
        click.echo("The results of broker and files differ: please report this with the two directories.")
    for order in result.replayed.orders[:MAX_ANSWERS]:
        click.echo("\n" + "\n".join(map(_folded, answer(order))))
    click.echo(f"\n{_folded(_saved(result.replayed.orders))}")
    executions = "executions.jsonl with the fills on paper, " if (out / "executions.jsonl").exists() else ""
    click.echo(
        _folded(f"written to {out}: live/ from the broker, replay/ from the files, {executions}{_costs(out)}demo.log")
    )
    click.echo("next: docs/tutorial.md, the same with topics of your own")


def _saved(orders: Sequence[OrderSummary]) -> str:
    """Return what the orders have saved against TWAP, in a sentence."""
    priced = [(o.cost, o.twap_cost) for o in orders if o.cost is not None and o.twap_cost is not None]
    if not priced or orders[0].fills != "reported":
        return "No order has a cost by its fills, so what was saved is unknown."
    cost, twap = (sum(values) for values in zip(*priced, strict=True))
    saved = twap - cost
    rest = f"; {len(orders) - len(priced)} more have no cost" if len(priced) < len(orders) else ""
    return (
        f"{'Saved' if saved >= 0 else 'Lost'} {abs(saved):,.2f} of {twap:,.2f}: {len(priced)} orders cost {cost:,.2f} "
        f"over mid by their fills, and TWAP of the same quantities {twap:,.2f}{rest}."
    )


def _costs(out: Path) -> str:
    """Write the costs after the trade where the batch tools are installed; return what to say of them."""
    try:
        from impactd.research.cost_analysis import analyse, read_results
        from impactd.research.cost_report import write_costs
    except ImportError:
        return ""
    read = read_results(out / "live")
    write_costs(analyse(read.costs, read.minutes, read.plans), ["symbol", "side"], out / "costs")
    return "costs/tca.html with what each order cost (impactd tca makes it), "


def _folded(text: str) -> str:
    """Return text in lines of 80 columns; a path is never broken."""
    import textwrap

    indent = "  " if text.startswith("  ") else ""
    return textwrap.fill(
        text, 80, subsequent_indent=indent + "  " * bool(indent), break_long_words=False, break_on_hyphens=False
    )

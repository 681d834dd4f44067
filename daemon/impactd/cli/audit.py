"""``impactd audit``: derive what was published again, and compare the bytes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from impactd.cli.common import Failure, InputError, example, load_settings, settings_options

if TYPE_CHECKING:
    from impactd.config import Settings
    from impactd.shell.audit.audit import Audit
    from impactd.shell.audit.source import Source
    from impactd.wire.codec import Limits

#: Exit code by outcome; 2 is wrong usage, as everywhere.
EXIT: Final = {"agrees": 0, "differs": 1, "underived": 3}


class Unreadable(Failure):
    """The run could not be read; that is no difference."""

    exit_code = EXIT["underived"]


@click.command(
    "audit",
    epilog=example(
        "impactd audit --plan A1:3",
        "impactd audit --all --since 2025-04-03T13:30:00Z --coverage",
        "impactd capture --outputs --out captured && impactd audit --all --capture captured",
    ),
)
@click.option("--plan", metavar="CL_ORD_ID:VERSION", help="Audit this plan, and the commits that lead to it.")
@click.option("--all", "everything", is_flag=True, help="Audit every commit.")
@click.option(
    "--since", metavar="TIME", help="With --all: only commits published since then; ISO with zone, or UTC ns."
)
@click.option("--coverage", is_flag=True, help="Check that the journal accounts for every input offset exactly once.")
@click.option(
    "--capture",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory that impactd capture --outputs made; else the brokers are read.",
)
@click.option("--json", "as_json", is_flag=True, help="Write the findings as JSON.")
@settings_options
def command(
    *,
    plan: str | None,
    everything: bool,
    since: str | None,
    coverage: bool,
    capture: Path | None,
    as_json: bool,
    config: Path | None,
    sets: tuple[str, ...],
) -> int:
    """Recompute what was published and compare the bytes.

    Each partition is followed from its latest snapshot, or its genesis,
    through the commits that its journal names. Exits with 0 if all
    agrees, 1
    if something differs, 2 if the command cannot be understood, and 3 if
    something cannot be derived: inputs are gone, or another release wrote it.
    """
    if plan is not None and everything:
        raise click.UsageError("--plan and --all exclude each other.")
    if plan is None and not everything and not coverage:
        raise click.UsageError("Missing option '--plan', '--all' or '--coverage'.")
    if since is not None and not everything:
        raise click.UsageError("--since belongs to --all.")
    wanted = None if plan is None else _plan(plan)
    since_ms = None if since is None else _since(since)
    settings = load_settings(config, sets).settings

    import asyncio

    from impactd.cli.compose import limits
    from impactd.shell.kafka.errors import FatalError
    from impactd.shell.lines import InputFileError

    question = _Question(wanted, since_ms, everything=everything, coverage=coverage)
    try:
        found = asyncio.run(question.ask(settings, capture, limits(settings), settings.model.trained()))
    except InputFileError as error:
        raise InputError(str(error)) from error
    except FatalError as error:
        raise Unreadable(str(error)) from error
    return _report(found, as_json=as_json)


@dataclasses.dataclass(frozen=True, slots=True)
class _Found:
    """Findings, as far as they were asked for."""

    audit: Audit | None
    faults: list[str] | None
    covered: int


class _Question:
    """What is asked of a run."""

    def __init__(self, plan: tuple[str, int] | None, since_ms: int | None, *, everything: bool, coverage: bool) -> None:
        self._plan = plan
        self._since_ms = since_ms
        self._everything = everything
        self._coverage = coverage

    async def ask(self, kafka: Settings, directory: Path | None, limits: Limits, learned: str) -> _Found:
        """Look at a captured directory, or at the brokers."""
        import asyncio

        from impactd.shell.audit.source import broker_source, capture_source

        if directory is not None:
            return await self._of(await asyncio.to_thread(capture_source, directory, kafka), limits, directory, learned)
        async with broker_source(kafka) as source:
            return await self._of(source, limits, None, learned)

    async def _of(self, source: Source, limits: Limits, directory: Path | None, learned: str) -> _Found:
        from impactd.core.base.topics import Topic
        from impactd.shell.audit.audit import audit_all, audit_plans, find_plan
        from impactd.shell.audit.capture import capture_file
        from impactd.shell.audit.journal import cover

        if directory is not None and (self._plan or self._everything):
            plans = capture_file(directory, Topic.PLANS)
            if not plans.exists():
                raise InputError(f"--capture: {plans} is missing; make the directory with impactd capture --outputs")
        faults, covered = await cover(source) if self._coverage else (None, 0)
        audit = None
        if self._plan is not None:
            name, version = self._plan
            published = await find_plan(source, name, version)
            if not published:
                raise InputError(f"--plan: {name}:{version} is not among the plans that are kept")
            audit = await audit_plans(source, published, limits, learned=learned)
        elif self._everything:
            audit = await audit_all(source, self._since_ms, limits, learned=learned)
            if not audit.commits and not audit.underived:
                raise InputError(
                    "--since: no commit was published since then" if self._since_ms else "the journal is empty"
                )
        return _Found(audit, faults, covered)


def _plan(text: str) -> tuple[str, int]:
    # An order's name may hold colons, its version none.
    name, colon, version = text.rpartition(":")
    if not colon or not name or not version.isdecimal():
        raise InputError(f"--plan {text}: needs the form CL_ORD_ID:VERSION, such as A1:3")
    return name, int(version)


def _since(text: str) -> int:
    from datetime import datetime

    if text.isdecimal():
        return int(text) // 1_000_000
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InputError(f"--since {text}: needs a time with its zone, such as 2025-04-03T13:30:00Z, or UTC ns")
    return int(at.timestamp() * 1000)


def _report(found: _Found, *, as_json: bool) -> int:
    audit, faults = found.audit, found.faults
    outcome = "agrees" if audit is None else audit.outcome
    if faults:
        outcome = "differs"
    if as_json:
        import orjson

        body: dict[str, Any] = {"outcome": outcome}
        if audit is not None:
            # Bytes that are no text are shown as they would be in a message.
            body |= {
                **dataclasses.asdict(audit),
                "differences": [_plain(dataclasses.asdict(item)) for item in audit.differences],
            }
        if faults is not None:
            body |= {"coverage": {"commits": found.covered, "faults": faults}}
        click.echo(orjson.dumps(body, option=orjson.OPT_INDENT_2).decode())
        return EXIT[outcome]
    if faults is not None:
        for fault in faults:
            click.echo(fault)
        click.echo(f"{found.covered:,} commits, {'every input offset once' if not faults else f'{len(faults)} faults'}")
    if audit is not None:
        _write(audit)
    return EXIT[outcome]


def _write(audit: Audit) -> None:
    for difference in audit.differences:
        click.echo(f"differs: {difference}")
    if audit.n_differences > len(audit.differences):
        click.echo(f"and {audit.n_differences - len(audit.differences):,} further differences")
    for gap in audit.underived:
        click.echo(str(gap))
    for note in audit.notes:
        click.echo(note)
    gone = f", {audit.unkept:,} of them no longer kept" if audit.unkept else ""
    click.echo(
        f"{audit.commits:,} commits derived again: {audit.records:,} records compared, {audit.plans:,} of them plans"
        f"{gone}; {audit.snapshots:,} snapshots"
    )
    words = {
        "agrees": "every byte agrees",
        "differs": f"{audit.n_differences:,} records differ",
        "underived": "not all of it can be derived",
    }
    click.echo(words[audit.outcome])


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
        for name, value in fields.items()
    }

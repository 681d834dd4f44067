"""``impactd replay``: estimates, models and plans from recorded files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from impactd.cli.common import (
    EXISTING,
    Day,
    InputError,
    NothingUsableError,
    UnmatchedError,
    data_options,
    directory_option,
    example,
    load_settings,
    progress_line,
    settings_options,
    translated,
)
from impactd.cli.hours import Hours, hours, session_options

if TYPE_CHECKING:
    from impactd.config import Settings
    from impactd.core.base.settings import SessionRule
    from impactd.shell.replay import Progress, ReplaySummary, Sources


@click.command(
    "replay",
    epilog=example(
        "impactd replay --data FROG_2025-04-03_mbp10.csv.gz --orders orders.jsonl --out result",
        "impactd replay --journal captured/journal.jsonl --out again",
        "impactd replay --data monday.csv.gz tuesday.csv.gz --symbol FROG --out two-days",
    ),
)
@data_options("Recorded days, merged by time", day=True)
@click.option(
    "--journal", type=EXISTING, help="Journal of a live run, captured with its inputs: derive that run again."
)
@directory_option("Directory of the results.", required=True)
@click.option("--partitions", type=int, help="Partitions to spread the symbols over.  [setting: replay.partitions]")
@click.option("--batch", type=int, help="Records decoded together; changes no byte.  [setting: replay.batch_rows]")
@click.option(
    "--profile-out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the session profile that the forecasts used, as settings for another run.",
)
@click.option("--json", "as_json", is_flag=True, help="Write the summary as JSON.")
@session_options
@settings_options
def command(
    *,
    data: Day,
    journal: Path | None,
    out: Path,
    partitions: int | None,
    batch: int | None,
    profile_out: Path | None,
    as_json: bool,
    session: str | None,
    tz: str | None,
    config: Path | None,
    sets: tuple[str, ...],
) -> None:
    """Derive estimates, models and plans from recorded files.

    Writes estimates.jsonl, models.jsonl, plans.jsonl, slices.jsonl, alerts.jsonl, tca.jsonl and
    dlq.jsonl, byte for byte what the service publishes for the same day
    applied in event time.
    """
    flags = (("replay.partitions", partitions, "--partitions"), ("replay.batch_rows", batch, "--batch"))
    loaded = load_settings(config, sets, flags)
    settings = loaded.settings
    if journal is None and not data.paths:
        raise click.UsageError("Missing option '--data' (or '--journal').")
    if journal is not None and not data.is_empty:
        raise InputError("--journal: the run's inputs are read from its directory; leave out --data and the like")
    if journal is not None and (session or tz):
        raise InputError("--journal: the run's own hours hold; leave out --session and --tz")
    if journal is not None and journal.name != "journal.jsonl":
        raise InputError(f"--journal: {journal} is not the journal.jsonl of a directory that impactd capture made")

    with translated(), progress_line("ticks", quiet=as_json) as progress:
        if journal is not None:
            rule, text = settings.core().session, "those of the run"
            summary = _rederive(journal, settings, out, progress)
        else:
            traded = hours(loaded, tz, session, data)
            rule, text = traded.rule, traded.text
            summary = _replay(data.sources(), settings, traded, out, progress)

    if profile_out is not None:
        _write_profile(settings, rule, profile_out)

    from impactd.cli.summary import write_summary

    write_summary(summary, text, as_json=as_json)
    if summary.unusable:
        raise NothingUsableError("\n".join(summary.unusable))
    if summary.unmatched:
        raise UnmatchedError("\n".join(summary.unmatched))


def _replay(sources: Sources, settings: Settings, traded: Hours, out: Path, progress: Progress | None) -> ReplaySummary:
    from impactd.cli.compose import limits, replay_settings
    from impactd.shell.replay import replay

    return replay(
        sources,
        traded.applied(replay_settings(settings, has_executions=sources.executions is not None)),
        out,
        partitions=settings.replay.partitions,
        batch_rows=settings.replay.batch_rows,
        limits=limits(settings),
        timestamps=settings.wire.timestamps,
        progress=progress,
    )


def _write_profile(settings: Settings, session: SessionRule, path: Path) -> None:
    from impactd.core.base.session import Session
    from impactd.core.model.profile.profile import COLUMNS, Profile

    columns = Profile.of(settings.core().model, Session(session)).columns()
    lines = [f"{name} = {list(column)}" for name, column in zip(COLUMNS, columns, strict=True)]
    try:
        path.write_text("\n".join(["[model.profile]", *lines, ""]), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--profile-out: {path}: cannot be written: {error.strerror}") from error


def _rederive(journal: Path, settings: Settings, out: Path, progress: Progress | None) -> ReplaySummary:
    from impactd.cli.compose import limits
    from impactd.shell.audit.rederive import rederive

    return rederive(
        journal.parent,
        settings,
        out,
        limits=limits(settings),
        learned=settings.model.trained(),
        progress=progress,
    )

"""``impactd dlq``: what could not be used, to be looked at and sent again."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from impactd.cli.common import Failure, InputError, example, in_order, load_settings, settings_options, translated
from impactd.shell.printable import printable

if TYPE_CHECKING:
    from impactd.config import Settings
    from impactd.shell.kafka.consume import ConsumedRecord
    from impactd.shell.kafka.dead_letters import Chosen, Letter

_PLACE: Final = re.compile(r"(\d{1,9}):(\d{1,18})", re.ASCII)
_HEX_COLUMNS: Final = 16


@click.group("dlq", epilog=example("impactd dlq list --since 1h", "impactd dlq redrive --reason misplaced --all"))
def command() -> None:
    """List, show and resend records that could not be used."""


_filters = in_order(
    click.option("--reason", metavar="WORD", help="Only of this reason, such as json or misplaced."),
    click.option("--topic", metavar="TOPIC", help="Only from this topic: ticks, orders, executions, control."),
    click.option("--since", metavar="TIME", help="Only letters written since: ISO with zone, or 15m, 2h, 1d ago."),
)


@command.command("list", epilog=example("impactd dlq list --reason json --topic orders --since 2h"))
@_filters
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Largest number to show.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON lines for machines, without the limit's default.")
@settings_options
@click.pass_context
def list_letters(
    ctx: click.Context,
    *,
    reason: str | None,
    topic: str | None,
    since: str | None,
    limit: int,
    as_json: bool,
    config: Path | None,
    sets: tuple[str, ...],
) -> None:
    """List dead letters, and count them by reason.

    The first column is the letter's place, PARTITION:OFFSET, for show and redrive.
    """
    settings = load_settings(config, sets).settings
    chosen = _chosen(reason, topic, since)
    given = ctx.get_parameter_source("limit") is not click.core.ParameterSource.DEFAULT
    kept = limit if given or not as_json else None

    import asyncio

    with translated():
        asyncio.run(_list(settings, chosen, kept, as_json=as_json))


async def _list(settings: Settings, chosen: Chosen, limit: int | None, *, as_json: bool) -> None:
    from collections import Counter, deque
    from contextlib import aclosing

    from impactd.shell.kafka.dead_letters import dead_letters

    reasons: Counter[tuple[str, str]] = Counter()
    latest: deque[Any] = deque(maxlen=limit)
    async with aclosing(dead_letters(settings, chosen)) as letters:
        async for letter in letters:
            reasons[letter.reason, letter.source_topic] += 1
            made = _json(letter) if as_json else _row(letter)
            if limit is None:
                click.echo(made)
            else:
                latest.append((letter.timestamp, letter.place, made))
    for _, _, made in sorted(latest):
        click.echo(made)
    if as_json:
        return
    total = reasons.total()
    if total > len(latest):
        click.echo(f"... the latest {len(latest):,} of {total:,}; --limit shows more")
    for (word, source), count in sorted(reasons.items()):
        click.echo(printable(f"{count:>9,}  {word:<16}  {source}"))
    click.echo(f"{total:>9,}  dead letters")


def _row(letter: Letter) -> str:
    cut = f" of {letter.original_bytes}" if letter.truncated else ""
    place = "{}:{}".format(*letter.place)
    return printable(
        f"{place:<10}  {_time(letter.timestamp)}  {letter.reason:<14}  {letter.source:<32}  "
        f"{len(letter.value)}{cut} bytes  {letter.detail}"
    )


def _json(letter: Letter) -> str:
    import orjson

    fields = {
        "place": "{}:{}".format(*letter.place),
        "time": _time(letter.timestamp),
        "reason": letter.reason,
        "detail": letter.detail,
        "codec": letter.codec,
        "source_topic": letter.source_topic,
        "source_partition": letter.source_partition,
        "source_offset": letter.source_offset,
        "bytes": letter.original_bytes,
        "truncated": letter.truncated,
    }
    return orjson.dumps(fields).decode()


@command.command("show", epilog=example("impactd dlq show 0:17", "impactd dlq show 0:17 --raw > record"))
@click.argument("place", metavar="PARTITION:OFFSET")
@click.option("--hex", "as_hex", is_flag=True, help="Write the bytes as a hex dump even where they are text.")
@click.option("--raw", is_flag=True, help="Write only the original bytes.")
@settings_options
def show(*, place: str, as_hex: bool, raw: bool, config: Path | None, sets: tuple[str, ...]) -> None:
    """Show one dead letter: its headers and its original bytes."""
    at = _place(place)
    settings = load_settings(config, sets).settings

    import asyncio

    from impactd.shell.kafka.dead_letters import dead_letter

    with translated():
        found = asyncio.run(dead_letter(settings, at))
    if found is None:
        raise Failure(f"no dead letter at {place}; impactd dlq list shows where they are")
    letter, record = found
    if raw:
        sys.stdout.buffer.write(letter.value)
        return
    _show(letter, record, as_hex=as_hex)


def _show(letter: Letter, record: ConsumedRecord, *, as_hex: bool) -> None:
    click.echo(f"{'written':<18}  {_time(letter.timestamp)}")
    for name, value in record.headers:
        click.echo(f"{printable(name):<18}  {printable(bytes(value).decode('utf-8', 'backslashreplace'))}")
    key = "(none)" if letter.key is None else printable(letter.key.decode("utf-8", "backslashreplace"))
    click.echo(f"{'key':<18}  {key}")
    cut = f", the beginning of {letter.original_bytes}" if letter.truncated else ""
    click.echo(f"{'value':<18}  {len(letter.value)} bytes{cut}\n")
    text = None if as_hex else _text(letter.value)
    click.echo(_hex_dump(letter.value) if text is None else text)


def _text(value: bytes) -> str | None:
    """Return bytes as text, where they are text that a terminal may be given."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return text if all(char.isprintable() or char in "\n\t" for char in text) else None


def _hex_dump(value: bytes) -> str:
    lines = []
    for at in range(0, len(value), _HEX_COLUMNS):
        part = value[at : at + _HEX_COLUMNS]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{at:08x}  {part.hex(' '):<{_HEX_COLUMNS * 3}} {shown}")
    return "\n".join(lines)


@command.command(
    "redrive", epilog=example("impactd dlq redrive 0:17", "impactd dlq redrive --all --topic orders --since 1h --yes")
)
@click.argument("places", metavar="[PARTITION:OFFSET]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All letters that match the filters.")
@_filters
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@settings_options
def redrive(
    *,
    places: tuple[str, ...],
    everything: bool,
    reason: str | None,
    topic: str | None,
    since: str | None,
    yes: bool,
    config: Path | None,
    sets: tuple[str, ...],
) -> None:
    """Send dead letters again to the topics that they came from.

    The original bytes go out with their key and codec, and a header
    redriven_from. A cut letter is never sent.
    Remove the cause first: a record that still cannot be used becomes a dead
    letter again. Letters stay in the topic: redriving twice sends twice.
    """
    if bool(places) == everything:
        raise InputError("give either PARTITION:OFFSET of each letter, or --all with filters")
    if not (yes or sys.stdin.isatty()):
        raise InputError("--yes is missing: there is no terminal on which to ask")
    settings = load_settings(config, sets).settings
    chosen = _chosen(reason, topic, since, places)

    import asyncio

    from impactd.shell.kafka import dead_letters

    with translated():
        found = asyncio.run(dead_letters.survey(settings, chosen))
        missing = len(set(places)) - found.ready.total() - found.kept.total()
        if places and missing:
            raise Failure(f"{missing} of these letters are not there; impactd dlq list shows where they are")
        for why, count in sorted(found.kept.items()):
            click.echo(f"{count:>9,}  stay: {why}")
        total = found.ready.total()
        for name, count in sorted(found.ready.items()):
            click.echo(f"{count:>9,}  to {name}")
        if not total:
            click.echo("nothing to send")
            return
        if not yes:
            click.confirm(f"send {total:,} again?", abort=True)
        done = asyncio.run(dead_letters.redrive(settings, chosen, found.ends))
    click.echo(f"{done.sent.total():>9,}  sent again")
    if done.failed:
        (partition, offset), why = done.failed[0]
        raise Failure(f"{len(done.failed)} letters are not confirmed as sent, the first {partition}:{offset}: {why}")


def _chosen(reason: str | None, topic: str | None, since: str | None, places: tuple[str, ...] = ()) -> Chosen:
    import time

    from impactd.cli.times import parse_when
    from impactd.shell.kafka.dead_letters import Chosen

    since_ns = None if since is None else parse_when(since, "--since", time.time_ns())
    return Chosen(reason, topic, since_ns, frozenset(map(_place, places)))


def _place(text: str) -> tuple[int, int]:
    found = _PLACE.fullmatch(text)
    if found is None:
        raise InputError(f"{text}: is not the place of a dead letter; give PARTITION:OFFSET such as 0:17")
    return int(found[1]), int(found[2])


def _time(timestamp_ms: int) -> str:
    from datetime import UTC, datetime

    at = datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{timestamp_ms % 1000:03d}Z"

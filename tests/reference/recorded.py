"""A recorded hour that leads to every message, and an example of each from it.

The examples are kept in a file, so that the pages that show them are the same on every machine; a test compares them
with a new run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import orjson

from impactd.config import load
from impactd.shell.replay import Sources, replay
from tests.reference import inputs
from tests.shell.test_replay import MINUTE_NS, OPEN_NS, day, new, write

Object = dict[str, Any]

_FILE: Final = Path(__file__).with_name("examples.json")

#: A session of forty minutes from the day's first book on, so that it has closed when the day ends.
_SETTINGS: Final = """
[session]
open = "13:30"
close = "14:10"
[plans]
apply = "in_event_time"
act = "slices"
"""


def published(directory: Path) -> Iterator[Object]:
    """Yield all that is published of the hour; its files are written into `directory`."""
    (directory / "impactd.toml").write_text(_SETTINGS, encoding="utf-8")
    settings = load(directory / "impactd.toml", environ={}).settings
    replay(_sources(directory), settings.core(), directory / "out")
    for path in sorted((directory / "out").glob("*.jsonl")):
        yield from map(orjson.loads, path.read_bytes().splitlines())


def chosen(messages: Iterable[Object]) -> dict[str, Object]:
    """Return of each type the message that shows most, and of those the shortest and first."""
    best: dict[str, tuple[tuple[int, int], Object]] = {}
    for message in messages:
        rank = sum(value in (None, []) for value in message.values()), len(_skeleton(message))
        name = message["type"]
        if name not in best or rank < best[name][0]:
            best[name] = rank, message
    return {name: message for name, (_, message) in sorted(best.items())}


def _skeleton(message: Object) -> bytes:
    """Return a message without its figures, which may be longer or shorter on another machine."""
    return orjson.dumps(
        {
            name: None if isinstance(value, float) else [None] * len(value) if isinstance(value, list) else value
            for name, value in message.items()
        }
    )


def examples() -> dict[str, Object]:
    """Return the examples that the pages show."""
    found: dict[str, Object] = orjson.loads(_FILE.read_bytes())
    return found


def write_examples() -> None:
    """Make the examples again, where they differ by more than figures."""
    with TemporaryDirectory() as directory:
        made = chosen(published(Path(directory)))
    _FILE.write_bytes(orjson.dumps(made, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _sources(directory: Path) -> Sources:
    """Return a recorded hour, written into `directory`."""
    window = {"start": OPEN_NS + 2 * MINUTE_NS, "end": OPEN_NS + 30 * MINUTE_NS}
    orders = [
        new(**window),
        new("A2", side="sell", **window, participation_rate=0.5),
        {
            "type": "replace",
            "cl_ord_id": "A2",
            "symbol": "FROG",
            "ts_event": OPEN_NS + 9 * MINUTE_NS,
            "order_qty": "1200",
        },
        b"{",
    ]
    fill = inputs.EXAMPLES["fill"]
    fills = [
        fill | {"exec_id": f"E{k}", "last_qty": 100, "last_px": 31.03, "ts_event": OPEN_NS + k * MINUTE_NS}
        for k in range(3, 9)
    ]
    fills.append(fill | {"exec_id": "E9", "cl_ord_id": "nobody", "ts_event": OPEN_NS + 9 * MINUTE_NS})
    halt = {"type": "halt", "scope": "A2", "reason": "news", "ts_event": OPEN_NS + 12 * MINUTE_NS}
    trades = [inputs.EXAMPLES["trade"] | {"ts_event": OPEN_NS + k * MINUTE_NS + 1, "qty": 5000} for k in range(50)]
    ticks = sorted([*day(minutes=50, every_s=6), *trades], key=lambda tick: tick["ts_event"])
    return Sources(
        [write(directory / "ticks.jsonl", ticks)],
        write(directory / "orders.jsonl", orders),
        write(directory / "executions.jsonl", fills),
        write(directory / "control.jsonl", [halt]),
    )

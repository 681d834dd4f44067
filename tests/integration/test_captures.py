"""Changes of books as single records on a real broker: the bytes of the captured file, through a gap and a restart."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import Broker
from impactd.shell.replay import Sources
from tests.integration.kafka_lab import (
    MINUTE_NS,
    OPEN_NS,
    SECOND_NS,
    SYMBOLS,
    assert_same,
    audited,
    from_files,
    from_topics,
    lab,
    messages,
    order,
    published_all,
    records_until,
    running,
    send,
)
from tests.records import read_topic

pytestmark = pytest.mark.broker

MINUTES = 12
CORE = CoreSettings(apply="in_event_time")
#: The first symbol loses a change here, and has its next snapshot there.
GAP_NS = OPEN_NS + 4 * MINUTE_NS + 31 * SECOND_NS
SNAPSHOT_NS = OPEN_NS + 7 * MINUTE_NS + 5 * SECOND_NS


def captured(symbol: str, place: int) -> list[tuple[int, bytes]]:
    """Return (time, line) of Binance's stream: changes before the snapshot, the snapshot, changes and trades."""
    rng = random.Random(place)
    rows: list[tuple[int, dict[str, Any]]] = []
    number, mid = 100, 3_100
    lost = False
    for step in range(MINUTES * 30):
        at = OPEN_NS + step * 2 * SECOND_NS + place * 250_000_000
        mid += rng.randrange(-1, 2)
        sides = [
            [[f"{(mid + sign * rng.randrange(1, 12)) / 100:.2f}", str(rng.choice([0, 1, 2.5, 40]))] for _ in range(3)]
            for sign in (-1, 1)
        ]
        # Levels that the other side has reached are gone.
        crossed = [[f"{(mid + k) / 100:.2f}", "0"] for k in range(-2, 3)]
        first = number + 1
        number += 2
        is_lost = symbol == SYMBOLS[0] and not lost and at >= GAP_NS
        if step == 1 or (symbol == SYMBOLS[0] and SNAPSHOT_NS <= at < SNAPSHOT_NS + 2 * SECOND_NS):
            levels = [[[f"{(mid + sign * k) / 100:.2f}", str(5 * k)] for k in range(3, 40)] for sign in (-1, 1)]
            rows.append((at, {"lastUpdateId": number, "bids": levels[0], "asks": levels[1]}))
        elif is_lost:
            lost = True
        else:
            bids, asks = ([*crossed, *side] for side in sides)
            bids = [[px, size] for px, size in bids if float(px) < mid / 100 or size == "0"]
            message = {"e": "depthUpdate", "E": 1, "s": symbol, "U": first, "u": number, "b": bids, "a": asks}
            rows.append((at, message))
        if step % 7 == place:
            trade = {
                "e": "trade",
                "E": 1,
                "s": symbol,
                "T": at // 1_000_000,
                "p": f"{mid / 100}",
                "q": "2.5",
                "m": True,
            }
            rows.append((at, trade))
    return [(at, b"%d %s" % (at, orjson.dumps(message))) for at, message in rows]


def instructions() -> list[dict[str, Any]]:
    at = OPEN_NS + 2 * MINUTE_NS + 500_000_000
    return [order("B1", SYMBOLS[0], "buy", at, 8), order("S1", SYMBOLS[1], "sell", at, 8)]


async def test_changes_through_a_broker_give_the_bytes_of_the_capture(broker: Broker, tmp_path: Path) -> None:
    day = {symbol: captured(symbol, place) for place, symbol in enumerate(SYMBOLS)}
    for symbol, rows in day.items():
        (tmp_path / f"{symbol}.jsonl").write_bytes(b"".join(line + b"\n" for _, line in rows))
    (tmp_path / "orders.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in instructions()))
    files = tuple(tmp_path / f"{symbol}.jsonl" for symbol in SYMBOLS)
    expected = from_files(Sources(files, tmp_path / "orders.jsonl", codec="capture-json"), tmp_path / "out", CORE)
    # In a file a record has a line, which the alert names.
    expected[Topic.ALERTS] = [[re.sub(rb"\w+\.jsonl:\d+: ", b"", v) for v in part] for part in expected[Topic.ALERTS]]

    settings = await lab(broker.bootstrap, wire={"codec": "capture-json"})
    await send(settings, Topic.ORDERS, [(row["symbol"], orjson.dumps(row), row["ts_event"]) for row in instructions()])
    records = sorted(((symbol, line, at) for symbol, rows in day.items() for at, line in rows), key=lambda row: row[2])
    # The process ends between the gap and the next snapshot, and once after it.
    sent, seen = 0, 0
    for until_ns, minutes in ((GAP_NS + MINUTE_NS, 4), (SNAPSHOT_NS + 2 * MINUTE_NS + 1, 4), (2**63, None)):
        end = sum(at < until_ns for _, _, at in records)
        await send(settings, Topic.TICKS, records[sent:end])
        sent = end
        async with running(settings, CORE):
            if minutes is None:
                await published_all(settings, expected)
            else:
                seen += minutes
                await records_until(settings, Topic.ESTIMATES, lambda found, n=seen: len(found) >= n)  # type: ignore[misc]
    assert_same(await from_topics(settings), expected)
    audit = await audited(settings)
    assert (audit.outcome, audit.differences, audit.underived) == ("agrees", [], [])

    letters = await read_topic(settings, settings.topics.name(Topic.DLQ))
    assert [(letter.key, letter.header("reason")) for letter in letters][:1] == [(SYMBOLS[0].encode(), b"gap")]
    found = messages(expected)
    gaps = [alert for alert in found[Topic.ALERTS] if alert["kind"] == "book_gap"]
    assert {alert["symbol"] for alert in gaps} == {SYMBOLS[0]}
    covered = {(row["symbol"], row["minute"]): row["covered_s"] for row in found[Topic.ESTIMATES]}
    assert covered.get((SYMBOLS[0], OPEN_NS + 5 * MINUTE_NS), 0) == 0
    assert covered[SYMBOLS[0], OPEN_NS + 8 * MINUTE_NS] == 60
    assert covered[SYMBOLS[1], OPEN_NS + 5 * MINUTE_NS] == 60

"""Venues on a real broker: a day of which one venue dies gives the bytes of the file replay, and can be derived."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from impactd.core.base.settings import BookSettings, CoreSettings
from impactd.core.base.topics import Topic
from impactd.core.base.venue import VenueRule
from impactd.shell.broker.broker import Broker
from impactd.shell.kafka.publish import publish
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
    write_files,
)

pytestmark = pytest.mark.broker

MINUTES = 14
#: XNAS has no book of `SYMBOLS[0]` from here on.
DIES_NS = OPEN_NS + 7 * MINUTE_NS + 25 * SECOND_NS
CORE = CoreSettings(
    apply="in_event_time",
    books=BookSettings(max_book_age_ns=30 * SECOND_NS),
    venues=(
        VenueRule("XNAS", taker_fee_per_unit=0.003),
        VenueRule("BATS", taker_fee_bps=-0.2, lot_size=100),
    ),
)


def book(symbol: str, venue: str, ts_event: int, step: int) -> bytes:
    mid = 31.0 + step * 7 % 40 * 0.01 + (0.03 if venue == "BATS" else 0.0)
    depth = 100 + step * 13 % 50
    return orjson.dumps(
        {
            "type": "book",
            "symbol": symbol,
            "venue": venue,
            "ts_event": ts_event,
            "bids": [[round(mid - 0.01 * (k + 1), 2), depth * (k + 1)] for k in range(8)],
            "asks": [[round(mid + 0.01 * (k + 1), 2), depth * (k + 2)] for k in range(8)],
        }
    )


def ticks() -> list[bytes]:
    """Return books of both venues each ten seconds, some trades, and one book that names no venue."""
    rows = []
    for step in range(MINUTES * 6):
        for symbol in SYMBOLS:
            for venue in ("XNAS", "BATS"):
                ts_event = OPEN_NS + step * 10 * SECOND_NS + len(rows) % 4 * 700_000_000
                if venue == "BATS" or symbol != SYMBOLS[0] or ts_event < DIES_NS:
                    rows.append((ts_event, book(symbol, venue, ts_event, step)))
            trade = {"type": "trade", "symbol": symbol, "ts_event": ts_event, "px": 31.1, "qty": 100}
            if step % 4 == 0:
                rows.append((ts_event, orjson.dumps(trade | {"venue": "BATS", "aggressor": "buy"})))
            if step == 20:
                unnamed = orjson.loads(book(symbol, "BATS", ts_event, step))
                del unnamed["venue"]
                rows.append((ts_event, orjson.dumps(unnamed)))
    return [value for _, value in sorted(rows, key=lambda row: row[0])]


def write_venues(directory: Path) -> Sources:
    """Write a day: an order for both venues, one with a list, one whose list changes, and one with a wrong name."""
    buy, sell = SYMBOLS
    at = OPEN_NS + 2 * MINUTE_NS + 500_000_000
    change = {"type": "replace", "cl_ord_id": "S1", "symbol": sell}
    orders = [
        order("B1", buy, "buy", at, 10),
        order("B2", buy, "buy", at + 1, 10, venues=["XNAS"]),
        order("S1", sell, "sell", at + 2, 10, venues=["BATS"]),
        order("S2", sell, "sell", at + 3, 10, venues=["XNSA"]),
        change | {"ts_event": at + 3 * MINUTE_NS, "venues": ["XNAS", "BATS"]},
        change | {"ts_event": at + 6 * MINUTE_NS, "venues": None},
    ]
    fill = {
        "type": "fill",
        "exec_id": "E1",
        "cl_ord_id": "B1",
        "symbol": buy,
        "venue": "BATS",
        "last_qty": 200,
        "last_px": 31.2,
        "ts_event": at + 2 * MINUTE_NS,
    }
    return write_files(directory, ticks(), orders, [fill])


async def test_venues_of_which_one_dies_publish_the_bytes_of_the_file_through_a_restart(
    broker: Broker, tmp_path: Path
) -> None:
    sources = write_venues(tmp_path)
    expected = from_files(sources, tmp_path / "out", CORE)
    settings = await lab(broker.bootstrap)
    publishing = asyncio.create_task(publish(settings, sources, speed=300))
    half = sum(map(len, expected[Topic.ESTIMATES])) // 2
    async with running(settings, CORE):
        await records_until(settings, Topic.ESTIMATES, lambda found: len(found) >= half)
    async with running(settings, CORE):
        await publishing
        await published_all(settings, expected)
    assert_same(await from_topics(settings), expected)
    audit = await audited(settings)
    assert (audit.outcome, audit.differences, audit.underived) == ("agrees", [], [])

    # The day holds what it is for.
    found = messages(expected)
    lost = [alert for alert in found[Topic.ALERTS] if alert["kind"] == "venue_lost"]
    assert [(alert["symbol"], alert["as_of"]) for alert in lost] == [(SYMBOLS[0], OPEN_NS + 8 * MINUTE_NS)]
    after = [p for p in found[Topic.PLANS] if p["as_of"] > DIES_NS + MINUTE_NS]
    parts = {
        (p["cl_ord_id"], part["venue"]) for p in after if p["symbol"] == SYMBOLS[0] for part in p.get("venues", [])
    }
    assert parts == {("B1", "BATS")}
    rejected = [p["cl_ord_id"] for p in found[Topic.PLANS] if p["status"] == "rejected"]
    assert rejected == ["S2"]
    assert {e.get("venue") for e in found[Topic.ESTIMATES]} == {None, "XNAS", "BATS"}
    assert any(row.get("venue") == "BATS" for row in found[Topic.TCA])

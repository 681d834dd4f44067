"""The API over a real broker: the same values as on the topics, of the last and of all."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import defaultdict
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from impactd.core.base.settings import MINUTE_NS, CoreSettings, PlanSettings, SessionRule
from impactd.core.base.topics import Topic
from impactd.core.base.venue import VenueRule
from impactd.core.inputs.terms import TERMS
from impactd.shell.broker.broker import Broker
from impactd.shell.kafka.publish import publish
from impactd.shell.live.follow import EVENTS
from tests.integration.kafka_lab import (
    OPEN_NS,
    SYMBOLS,
    assert_same,
    from_files,
    from_topics,
    lab,
    order,
    published_all,
    values_by_partition,
    write_day,
)
from tests.integration.live_service import both, served

pytestmark = [pytest.mark.broker, pytest.mark.timeout(1200)]


async def get(session: aiohttp.ClientSession, path: str) -> bytes:
    async with session.get(path) as answer:
        assert answer.status == 200, path
        return await answer.read()


async def events(session: aiohttp.ClientSession, after: str, wanted: int) -> dict[str, list[bytes]]:
    """Return the data of the events of the topics that come after an id, by name, in their order."""
    found: dict[str, list[bytes]] = defaultdict(list)
    async with asyncio.timeout(600), session.get("/api/events", headers={"Last-Event-ID": after}) as answer:
        name = ""
        async for line in answer.content:
            kind, _, text = line.rstrip(b"\n").partition(b": ")
            if kind == b"event":
                name = text.decode()
            elif kind == b"data" and name != "health":
                assert name != "reset"
                found[name].append(text)
                if sum(map(len, found.values())) == wanted:
                    return found
    raise AssertionError("the stream has ended")


def last(values: list[list[bytes]], *names: str) -> dict[Any, bytes]:
    """Return the last value by the fields that name it."""
    loaded = ((orjson.loads(value), value) for partition in values for value in partition)
    return {tuple(message[name] for name in names): value for message, value in loaded}


async def test_api_and_events_are_the_bytes_of_the_topics(broker: Broker, tmp_path: Path) -> None:
    settings, sources = await lab(broker.bootstrap), write_day(tmp_path / "day", 12)
    async with served(settings) as base, aiohttp.ClientSession(base) as session:
        await publish(settings, sources, speed=None)
        await published_all(settings, from_files(sources, tmp_path / "out"))
        topics = await from_topics(settings)
        estimates = last(topics[Topic.ESTIMATES], "symbol", "side")
        models = last(topics[Topic.MODELS], "symbol", "side")
        plans = last(topics[Topic.PLANS], "cl_ord_id")
        ended = last(
            [[value for value in values if b'"order_cost"' in value] for values in topics[Topic.TCA]], "cl_ord_id"
        )
        assert len(plans) == 3
        assert ended
        latest = last(await values_by_partition(settings, Topic.PLANS_LATEST), "cl_ord_id")
        assert latest == plans

        sides = {symbol: {side: (symbol, side) for side in ("buy", "sell")} for symbol in sorted(SYMBOLS)}
        assert await get(session, "/api/symbols") == orjson.dumps(
            {
                "symbols": [
                    {"symbol": symbol}
                    | {
                        side: {"estimate": orjson.Fragment(estimates[key]), "model": orjson.Fragment(models[key])}
                        for side, key in keys.items()
                    }
                    for symbol, keys in sides.items()
                ]
            }
        )
        in_order = [orjson.Fragment(plan) for _, plan in sorted(plans.items())]
        assert await get(session, "/api/orders") == orjson.dumps({"orders": in_order})
        for (name,), plan in plans.items():
            assert await get(session, f"/api/plans/{name}") == plan
            assert plan in await get(session, f"/api/orders/{name}")
        for (name,), cost in ended.items():
            assert cost in await get(session, f"/api/orders/{name}")
        for symbol, keys in sides.items():
            history = await get(session, f"/api/symbols/{symbol}")
            assert all(estimates[key] in history and models[key] in history for key in keys.values())

        beginning = ",".join(f"{event}.{partition}.-1" for event in EVENTS.values() for partition in range(2))
        wanted = sum(len(values) for topic in EVENTS for values in topics[topic])
        streamed = await events(session, beginning, wanted)
        for topic, event in EVENTS.items():
            for values in topics[topic]:
                # Each partition's in its order; between partitions there is none.
                assert [value for value in streamed[event] if value in set(values)] == values


#: What the venue has paired for the close, more than what the settings let expect.
PAIRED = 900_000.0


async def test_estimates_of_the_running_service_and_orders_with_every_instruction(
    broker: Broker, tmp_path: Path
) -> None:
    """Orders with every instruction through Kafka are the file's bytes; questions are answered meanwhile."""
    hours = SessionRule(open_s=OPEN_NS // 10**9 % 86_400, close_s=OPEN_NS // 10**9 % 86_400 + 40 * 60)
    auctions = PlanSettings(auction_close_share=0.5, auction_close_cutoff_ns=2 * MINUTE_NS)
    core = CoreSettings(apply="in_event_time", session=hours, plans=auctions, venues=(VenueRule("V1"),))
    settings, sources = await lab(broker.bootstrap), write_day(tmp_path / "day", 12)
    assert sources.orders is not None
    begin = OPEN_NS + 2 * MINUTE_NS
    instructions: dict[str, dict[str, Any]] = {
        "L1": {"limit_px": 31.5, "urgency": "normal"},
        "L2": {"limit_offset_bps": -2.0, "min_participation_rate": 0.01, "participation_rate": 0.5},
        "L3": {"target_participation_rate": 0.1},
        "L4": {"alpha_bps": 12.0, "alpha_half_life_s": 120, "must_complete": True},
        "L5": {"would_px": 31.5, "would_rate": 0.05, "max_interval_qty": 400},
        "L6": {"auctions": "close", "auction_rate": 0.25, "end": OPEN_NS + 40 * MINUTE_NS},
        "L9": {"venues": ["V1"]},
        "L7": {"lot_size": 10, "min_clip_qty": 50, "risk_aversion": 1e-6},
        "L8": {
            "blackouts": [[begin + MINUTE_NS, begin + 2 * MINUTE_NS]],
            "last_trade": begin + 7 * MINUTE_NS,
            "min_participation_rate": 0.01,
        },
    }
    given = {name for terms in instructions.values() for name in terms}
    assert given | {"order_qty", "start", "end"} == set(TERMS)
    status = tmp_path / "status.jsonl"
    paired = {"type": "imbalance", "symbol": "FROG", "ts_event": begin + 2 * MINUTE_NS, "auction": "close"}
    status.write_bytes(orjson.dumps(paired | {"paired_qty": PAIRED}) + b"\n")
    sources = dataclasses.replace(sources, status=status)
    assert sources.orders is not None
    with sources.orders.open("ab") as file:
        for name, terms in instructions.items():
            file.write(orjson.dumps(order(name, "FROG", "buy", begin, 8, **terms)) + b"\n")
    async with both(settings, core) as (service, _), aiohttp.ClientSession(service) as session:
        await publish(settings, sources, speed=None)
        expected = from_files(sources, tmp_path / "out", core)
        await published_all(settings, expected)
        assert_same(await from_topics(settings), expected)
        plans = [orjson.loads(plan) for values in expected[Topic.PLANS] for plan in values]
        assert {plan["limit_px"] for plan in plans if plan["cl_ord_id"] == "L1"} >= {31.5}
        assert {plan["would_px"] for plan in plans if plan["cl_ord_id"] == "L5"} >= {31.5}
        assert {plan["status"] for plan in plans} >= {"active"}
        entries = [entry for plan in plans if plan["cl_ord_id"] == "L6" for entry in plan["auctions"]]
        assert {entry["kind"] for entry in entries} == {"auction_close"}
        assert max(entry["qty"] for entry in entries) > 0
        assert PAIRED in {entry["expected_volume"] for entry in entries}

        asked = {"symbol": "FROG", "side": "buy", "order_qty": 500, "start": OPEN_NS + 12 * MINUTE_NS}
        asked |= {"end": OPEN_NS + 30 * MINUTE_NS, "max_cost_bps": 50}
        async with session.post("/api/estimates", data=orjson.dumps(asked)) as answer:
            assert answer.status == 200
            found = orjson.loads(await answer.read())
        assert found["schedules"][0]["qty"] == 500
        assert found["schedules"][0]["cost"] > 0
        async with session.post("/api/estimates", data=orjson.dumps(asked | {"symbol": "TOAD"})) as answer:
            assert answer.status == 404

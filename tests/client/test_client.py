"""The client without a broker: what it needs, what it refuses, how it writes times; its types and the schemas."""

from __future__ import annotations

import gzip
import inspect
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest

import impactd
from impactd.client import Client, RefusedError
from impactd.client.client import message_of
from impactd.config import load
from impactd.core.base.topics import Topic
from impactd.shell.replay import Sources, replay
from impactd.wire.json_orders import decode_events
from tests.paths import ROOT
from tests.reference import schemas

SCHEMAS = Path(impactd.__file__).parent / "schemas"

#: Values of other forms than a field's own.
OTHERS: tuple[Any, ...] = (None, True, -1, 0.5, "", "x", [], {}, [None], {"x": 1})


def test_client_needs_nothing_that_the_service_computes_with() -> None:
    heavy = ("numba", "scipy", "pandas", "pydantic", "structlog", "aiohttp", "click", "rich", "uvloop")
    code = f"import sys; sys.modules.update(dict.fromkeys({heavy!r})); import impactd.client"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"type": "news"}, "unknown_type"),
        ({}, "unknown_type"),
        ({"type": "cancel", "symbol": "FROG"}, "missing_field"),
        ({"type": "cancel", "cl_ord_id": "A1", "symbol": "FROG", "urgent": True}, "unknown_field"),
        ({"type": "cancel", "cl_ord_id": "A1", "symbol": "FROG", "ts_event": datetime(2026, 1, 2)}, "value"),  # noqa: DTZ001  # without a zone
        ({"type": "fill", "exec_id": "E1", "cl_ord_id": "A1", "symbol": "FROG", "last_qty": 0, "last_px": 1}, "value"),
    ],
)
def test_record_that_the_service_would_refuse_is_not_sent(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(RefusedError) as refused:
        Client("localhost:1").encode(record)
    assert refused.value.reason == reason


async def test_client_that_is_not_open_reports_it() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Client("localhost:1").cancel("A1", "FROG")


def test_datetimes_of_any_zone_are_exact() -> None:
    at = datetime(2026, 7, 1, 15, 59, 59, 999_999, tzinfo=timezone(timedelta(hours=-4)))
    start, end = at, at.astimezone(UTC) + timedelta(minutes=1)
    record = {"type": "new", "cl_ord_id": "A1", "symbol": "FROG", "side": "buy", "order_qty": "0.1"}
    record |= {"ts_event": at, "start": start, "end": end, "blackouts": [(start, end)]}
    topic, value = Client("localhost:1").encode(record)
    assert topic is Topic.ORDERS
    (received,) = decode_events(topic, [value], [0], [0]).events
    order = received.event
    assert order.ts_event == order.terms.start == 1_782_935_999_999_999_000
    assert order.terms.end - order.terms.start == 60_000_000_000
    assert order.terms.blackouts == ((order.terms.start, order.terms.end),)


def test_record_without_a_time_is_of_now() -> None:
    _, value = Client("localhost:1").encode({"type": "cancel", "cl_ord_id": "A1", "symbol": "FROG"})
    assert orjson.loads(value)["ts_event"] > 1_700_000_000_000_000_000


def test_methods_write_every_field_that_the_service_reads() -> None:
    """A new field of orders or executions needs its argument here."""
    for kind in ("new", "replace", "cancel", "fill", "correct", "bust"):
        fields = set(_schema(kind)["properties"]) - {"type"}
        arguments = set(inspect.signature(getattr(Client, kind)).parameters) - {"self"}
        if "terms" in arguments:
            arguments = arguments - {"terms"} | set(_terms())
        optional = {name for name in fields if _schema(kind)["properties"][name] is False} | {"side", "orig_cl_ord_id"}
        assert arguments <= fields | {"orig_cl_ord_id"}
        assert fields - arguments <= optional


def _terms() -> tuple[str, ...]:
    from impactd.client.messages import Terms  # noqa: PLC0415  # its annotations are what is read

    return tuple(Terms.__annotations__)


@cache
def _schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((SCHEMAS / f"{name}.json").read_bytes())
    return found


@cache
def _validator(name: str) -> Any:
    jsonschema.Draft202012Validator.check_schema(_schema(name))
    return jsonschema.Draft202012Validator(_schema(name))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """All records of the demo's day: what it reads and what is published."""
    data = ROOT / "replay_data"
    out = tmp_path_factory.mktemp("out")
    settings = load(data / "impactd.toml", environ={}).settings.replace(plans={"apply": "in_event_time"})
    replay(Sources((data / "day.jsonl.gz",), orders=data / "orders.jsonl"), settings.core(), out)
    lines = gzip.decompress((data / "day.jsonl.gz").read_bytes()).splitlines()
    lines += (data / "orders.jsonl").read_bytes().splitlines()
    for path in sorted(out.glob("*.jsonl")):
        if path.name != "dlq.jsonl":
            lines += path.read_bytes().splitlines()
    return [orjson.loads(line) for line in lines]


def test_schemas_are_those_of_every_message() -> None:
    assert {path.stem for path in SCHEMAS.glob("*.json")} == set(schemas.names())


def test_schemas_hold_for_every_record_of_the_demo(records: list[dict[str, Any]]) -> None:
    kinds = {record["type"] for record in records}
    assert {"book", "trade", "new", "estimate", "model", "plan", "order_cost", "alert"} <= kinds
    for record in records:
        _validator(record["type"]).validate(record)


def test_schemas_refuse_a_thousand_mutated_records(records: list[dict[str, Any]]) -> None:
    """A needed field that is missing, or a value of a form that the field does not have."""
    draw = random.Random(20_261_129)
    for _ in range(1_000):
        record = draw.choice(records)
        validator = _validator(record["type"])
        mutated = draw.choice(list(_mutations(record, draw)))
        assert not validator.is_valid(mutated), mutated


def _mutations(record: dict[str, Any], draw: random.Random) -> Iterator[dict[str, Any]]:
    schema = _schema(record["type"])
    needed = [name for name in schema["required"] if name in record]
    lost = draw.choice(needed)
    yield {name: value for name, value in record.items() if name != lost}
    yield record | {"type": "other"}
    field = draw.choice(needed)
    others = [value for value in OTHERS if not _allows(record["type"], field, value)]
    yield record | {field: draw.choice(others)}


def _allows(kind: str, field: str, value: Any) -> bool:
    """Return whether the field may have that value, by its own part of the schema."""
    schema = _schema(kind)
    part = {**schema["properties"][field], "$defs": schema.get("$defs", {})}
    return bool(jsonschema.Draft202012Validator(part).is_valid(value))


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"null", b"[1]", b"7", b"{}", b"\xff", b'{"type":["plan"]}', b'{"type":"plan"}', b'{"type":"tick"}'],
)
def test_record_that_is_no_message_of_the_service_is_none(value: bytes) -> None:
    assert message_of(Topic.PLANS, value) is None
    plan = b'{"type":"plan","cl_ord_id":"A","cl_ord_ids":["A"]}'
    assert message_of(Topic.PLANS, plan) == orjson.loads(plan)
    assert message_of(Topic.ALERTS, plan) is None

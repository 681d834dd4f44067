"""Export from a real broker, cut off in the middle: Parquet by pandas and DuckDB, and PostgreSQL by SQL."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import Broker
from impactd.shell.export.parquet import ParquetSink
from impactd.shell.export.postgres import PositionTakenError, PostgresSink
from impactd.shell.export.tables import TABLES, Place, Table
from impactd.shell.export.topics import Exported, export
from impactd.shell.kafka.errors import FatalError
from tests import postgres_server
from tests.integration.kafka_lab import lab, send
from tests.records import read_topic
from tests.reference import inputs, recorded

pytestmark = pytest.mark.broker

pd = pytest.importorskip("pandas")

#: A column of each table whose values are added up.
SUMS = {
    "plans": "cum_qty",
    "executions": "last_qty",
    "fill_costs": "cost",
    "order_costs": "shortfall",
    "day_costs": "qty",
}
TYPES = {"plan": Topic.PLANS, **dict.fromkeys(("fill_cost", "order_cost", "day_cost"), Topic.TCA)}


class Cut(Exception):  # noqa: N818  # no error: the end of a process
    """The process ends here."""


class Cutting:
    """A sink whose process ends at a write: before it has happened, or after."""

    def __init__(self, sink: Any, at: int) -> None:
        self._sink = sink
        self._left = at

    def positions(self) -> Mapping[Place, int]:
        found: Mapping[Place, int] = self._sink.positions()
        return found

    def write(self, table: Table, place: Place, first: int, end: int, rows: Sequence[Sequence[Any]]) -> None:
        self._left -= 1
        if self._left == 0:
            raise Cut
        self._sink.write(table, place, first, end, rows)
        if self._left == 1 and len(rows) % 2:
            raise Cut


async def published(settings: Settings, directory: Path) -> None:
    """Send what a recorded hour has published, and its fills."""
    at = 1_743_687_000_000_000_000
    for message in recorded.published(directory):
        if (topic := TYPES.get(message["type"])) is not None:
            await send(settings, topic, [(message["symbol"], orjson.dumps(message), at)])
    fill = inputs.EXAMPLES["fill"]
    fills = [orjson.dumps(fill | {"exec_id": f"E{k}", "last_qty": k + 0.5}) for k in range(20)]
    await send(settings, Topic.EXECUTIONS, [("FROG", value, at) for value in [*fills, b"{"]])


async def wanted(settings: Settings) -> dict[str, tuple[int, float]]:
    """Return rows and sum of each table, as the topics have them."""
    found: dict[str, list[float]] = defaultdict(list)
    for table in TABLES:
        for record in await read_topic(settings, settings.topics.name(table.topic)):
            if record.value == b"{":
                continue
            message = orjson.loads(record.value or b"")
            if table.type in (None, message["type"]):
                found[table.name].append(float(message.get(SUMS[table.name]) or 0))
    return {name: (len(values), math.fsum(values)) for name, values in found.items()}


async def in_pieces(settings: Settings, opened: Callable[[], Any]) -> None:
    """Export a few records a time, cut off again and again, until all is there."""
    for at in range(2, 60):
        with closing(opened()) as sink:
            try:
                await export(settings, Cutting(sink, at), chunk=7)
            except Cut:
                continue
            return
    raise AssertionError("never came to the end")


async def test_parquet_has_what_the_topics_have(broker: Broker, tmp_path: Path) -> None:
    settings = await lab(broker.bootstrap)
    await published(settings, tmp_path)
    target = tmp_path / "exported"
    await in_pieces(settings, lambda: ParquetSink(target))
    with closing(ParquetSink(target)) as sink:
        assert sum((await export(settings, sink)).rows.values()) == 0
    sums = await wanted(settings)
    assert set(sums) == set(SUMS)
    for name, (count, total) in sums.items():
        table = pd.read_parquet(target / name)
        assert len(table) == count > 0
        assert table[SUMS[name]].sum() == pytest.approx(total, rel=1e-12)
        assert len(table[["partition", "offset"]].drop_duplicates()) == count
    plans = pd.read_parquet(target / "plans")
    assert str(plans["as_of"].dtype) == "datetime64[ns, UTC]"
    duckdb = pytest.importorskip("duckdb")
    for name, (count, total) in sums.items():
        query = f"select count(*), sum({SUMS[name]}) from read_parquet('{target}/{name}/*.parquet')"  # noqa: S608
        assert duckdb.sql(query).fetchall() == [(count, pytest.approx(total, rel=1e-12))]


async def test_postgres_has_what_the_topics_have(broker: Broker, tmp_path: Path) -> None:
    psycopg = pytest.importorskip("psycopg", reason=postgres_server.HOW_TO_HAVE_ONE)
    programs = postgres_server.find()
    if programs is None:
        pytest.skip(postgres_server.HOW_TO_HAVE_ONE)
    settings = await lab(broker.bootstrap)
    await published(settings, tmp_path)
    with postgres_server.server(programs) as address:
        await in_pieces(settings, lambda: PostgresSink(address))
        with psycopg.connect(address, client_encoding="utf8") as connection:
            for name, (count, total) in (await wanted(settings)).items():
                query = f"select count(*), sum({SUMS[name]}) from impactd.{name}"  # noqa: S608
                assert connection.execute(query).fetchone() == (count, pytest.approx(total, rel=1e-12))
            found = connection.execute("select qty[1], model->>'kind', start[1] from impactd.plans limit 1").fetchone()
            assert isinstance(found[0], float)
            assert found[1] == "linear"
        with closing(PostgresSink(address)) as sink, closing(PostgresSink(address)) as other:
            assert sum((await export(settings, sink)).rows.values()) == 0
            await send(settings, Topic.EXECUTIONS, [("FROG", orjson.dumps(inputs.EXAMPLES["fill"]), 1)])
            late = _Late(other, other.positions())
            assert (await export(settings, sink)).rows["executions"] == 1
            with pytest.raises(PositionTakenError):
                await export(settings, late)


class _Late:
    """A sink whose positions were read before another export wrote."""

    def __init__(self, sink: PostgresSink, positions: Mapping[Place, int]) -> None:
        self._positions = positions
        self.write = sink.write

    def positions(self) -> Mapping[Place, int]:
        return self._positions


async def test_topic_that_was_made_again_is_refused(broker: Broker, tmp_path: Path) -> None:
    settings = await lab(broker.bootstrap)
    place = Place("plans", settings.topics.name(Topic.PLANS), 0)
    with closing(ParquetSink(tmp_path)) as sink:
        sink.write(TABLES[0], place, 0, 5, [])
        with pytest.raises(FatalError, match="made again"):
            await export(settings, sink)
    assert Exported().rows == {}

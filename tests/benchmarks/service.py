"""Messages a second: the service, the bare loop that it is held against, and two stream processors at the same work.

All read the same preloaded partition of a real broker, each in a process of its own, and take turns.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Final

import numpy as np
import orjson

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import BrokerUnavailable, find_broker
from impactd.shell.kafka.client import close_producer, plain_producer
from impactd.shell.kafka.decode import CODEC_HEADER
from impactd.shell.kafka.topics import create_topics
from impactd.wire.murmur2 import partition_for
from impactd.wire.tick_records import TickRecord
from tests.benchmarks.books import BOOKS_PER_SECOND, OPEN_NS, SYMBOLS, book_records
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.leg_service import run_service
from tests.benchmarks.leg_streams import run_streams, streams_command
from tests.benchmarks.legs import Measured, by_round, rate_figure, run_leg, take_turns
from tests.records import read_topic

MESSAGES: Final = 1_000_000
ROUNDS: Final = 3

#: quixstreams reads so many of them: enough for longer than its checkpoints, and for a minute to close.
QUIX_PART: Final = 8

_OF_BARE: Final = Target("at least", 2.5)
_OF_QUIX: Final = Target("at least", 20.0)
_OF_STREAMS: Final = Target("at least", 6.0)

BARE: Final = "bare aiokafka loop, orjson.loads"
SERVICE: Final = "impactd run, exactly-once"
STREAMS: Final = "Kafka Streams, tumbling window, exactly-once"
#: Name of the leg: program and guarantee.
QUIX: Final = {
    "quixstreams, tumbling window, at-least-once": ("window", "at-least-once"),
    "quixstreams, tumbling window, exactly-once": ("window", "exactly-once"),
    "quixstreams, hand-tuned bytes state, at-least-once": ("tuned", "at-least-once"),
    "quixstreams, hand-tuned bytes state, exactly-once": ("tuned", "exactly-once"),
}


def measure(messages: int = MESSAGES, rounds: int = ROUNDS) -> tuple[list[Figure], dict[str, str]]:
    """Return the figures, and what the broker is.

    Raises
    ------
    BrokerUnavailable
        If there is no real broker here.
    RuntimeError
        If a leg fails, or the programs do not find the same slippage.
    """
    with find_broker() as broker:
        source = source_at(broker.bootstrap, "bench")
        asyncio.run(preload(source, messages))
        legs = dict(_legs(source, messages))
        facts = {"broker": f"broker: {broker.kind}", "messages": f"{messages:,} messages"}
        try:
            command = streams_command()
        except BrokerUnavailable as error:
            facts["streams"] = f"Kafka Streams is not measured: {error}"
        else:
            legs[STREAMS] = partial(_streams, command, source, messages)
        found = take_turns(legs, rounds)
        worst = _compare(source, rounds - 1, streams=STREAMS in legs)
    return _figures(found, worst), facts


def _legs(source: Settings, messages: int) -> Mapping[str, Callable[[int], Measured]]:
    topic = source.topics.name(Topic.TICKS)
    where: dict[str, Any] = {"bootstrap": source.kafka.bootstrap, "topic": topic}

    def bare(_number: int) -> Measured:
        return run_leg("leg_bare", **where, messages=messages)

    def service(number: int) -> Measured:
        return run_service(source, messages, _place(source, "service", number))

    def quix(program: str, guarantee: str, number: int) -> Measured:
        out = _place(source, f"{program}-{guarantee}", number)
        return run_leg(
            "leg_quixstreams",
            **where,
            out=out,
            messages=max(messages // QUIX_PART, 2),
            program=program,
            guarantee=guarantee,
        )

    return {BARE: bare, SERVICE: service} | {name: partial(quix, *how) for name, how in QUIX.items()}


def _streams(command: list[str], source: Settings, messages: int, number: int) -> Measured:
    topic, out = source.topics.name(Topic.TICKS), _place(source, "streams", number)
    return run_streams(command, source.kafka.bootstrap, topic, out, messages)


def _place(source: Settings, leg: str, number: int) -> str:
    return f"{source.topics.prefix}{leg}-{number}"


def source_at(bootstrap: str, section: str, partitions: int = 1) -> Settings:
    """Return settings with topics of a section's own, whose records stay; the ticks are not compressed."""
    return Settings(
        kafka={"bootstrap": bootstrap, "compression": "none"},
        topics={
            "prefix": f"{section}{os.getpid()}-{time.time_ns()}.",
            "partitions": partitions,
            "input_retention_ms": -1,
            "output_retention_ms": -1,
        },
    )


@dataclass(frozen=True, slots=True)
class Sent:
    """A record of the ticks topic; `ts_ms` is its time, ms."""

    symbol: str
    value: bytes
    ts_ms: int
    codec: str | None = None


async def preload(source: Settings, messages: int, symbols: int = SYMBOLS, times: int = 1) -> None:
    """Put the books into the ticks topic, a book a record, and again with later times until it was `times` times."""
    made = list(book_records(messages, symbols))
    last_ns = messages * (1_000_000_000 // BOOKS_PER_SECOND)
    await fill_topic(source, (_sent(one, again * last_ns) for again in range(times) for one in made))


def _sent(record: TickRecord, later_ns: int) -> Sent:
    ts = orjson.loads(record.value)["ts_event"] if later_ns else 0
    value = record.value.replace(b"%d" % ts, b"%d" % (ts + later_ns)) if later_ns else record.value
    return Sent(record.symbol, value, (record.ts_record + later_ns) // 1_000_000)


async def fill_topic(source: Settings, records: Iterable[Sent]) -> None:
    """Put records into the ticks topic, uncompressed, in batches such as a feed handler sends."""
    await create_topics(source)
    topic, partitions = source.topics.name(Topic.TICKS), source.topics.partitions
    producer = plain_producer(source)
    await producer.start()
    try:
        batches = [producer.create_batch() for _ in range(partitions)]
        sent: list[Any] = []
        for record in records:
            row: dict[str, Any] = {"key": record.symbol.encode(), "value": record.value, "timestamp": record.ts_ms}
            if record.codec is not None:
                row["headers"] = [(CODEC_HEADER, record.codec.encode())]
            home = partition_for(record.symbol, partitions)
            if batches[home].append(**row) is None:
                sent.append(await producer.send_batch(batches[home], topic, partition=home))
                batches[home] = producer.create_batch()
                batches[home].append(**row)
                if len(sent) > 8:
                    await sent.pop(0)
        for home, batch in enumerate(batches):
            sent.append(await producer.send_batch(batch, topic, partition=home))
        await asyncio.gather(*sent)
    finally:
        await close_producer(producer, 10.0)


def _figures(found: Mapping[str, Sequence[Measured]], worst: float) -> list[Figure]:
    figures = [rate_figure(name, legs) for name, legs in found.items()]
    figures.append(_ratio(found, BARE, _OF_BARE))
    figures += [_ratio(found, name, _OF_QUIX if how[0] == "window" else None) for name, how in QUIX.items()]
    if STREAMS in found:
        figures.append(_ratio(found, STREAMS, _OF_STREAMS))
    note = "largest difference of a size's slippage from the service's, over all full minutes of all symbols"
    if not math.isnan(worst):
        figures.append(Figure("the others' results, relative difference", worst, "", None, None, note))
    return figures


def _ratio(found: Mapping[str, Sequence[Measured]], to: str, target: Target | None) -> Figure:
    """Return the median over the rounds of the service's rate over another's in the same round."""
    value, spread = by_round(found[SERVICE], found[to], attrgetter("rate"))
    cpu, _ = by_round(found[SERVICE], found[to], attrgetter("cpu_rate"))
    return Figure(f"impactd over: {to}", value, "", spread, target, f"{cpu:.2f} by processor time")


def _compare(source: Settings, number: int, *, streams: bool) -> float:
    """Return by how much the other programs differ from the service at most; NaN where no minute closed in both.

    Windows do not see beyond their ends, so the time before a window's first book and after its last is missing from
    them.

    Raises
    ------
    RuntimeError
        If they differ by more than that explains, or one of them has no minute to compare.
    """
    ours = asyncio.run(_service_estimates(source, _place(source, "service", number)))
    worst = math.nan
    places = {f"{program}-{guarantee}" for program, guarantee in QUIX.values()} | ({"streams"} if streams else set())
    compared = dict.fromkeys(sorted(places), 0)
    for place in compared:
        for record in asyncio.run(read_topic(source, _place(source, place, number))):
            value = orjson.loads(record.value or b"{}")
            key = (bytes(record.key or b"").decode(), value["minute"])
            if key not in ours or value["minute"] < OPEN_NS:
                continue
            theirs = np.array(value["slippage"], np.float64)
            compared[place] += 1
            both = ~np.isnan(theirs) & ~np.isnan(ours[key])
            worst = np.nanmax([worst, *np.abs(theirs[both] / ours[key][both] - 1.0)])
    if max(compared.values()) and not all(compared.values()):
        raise RuntimeError(f"minutes that a leg shares with the service: {compared}; the legs do not compare")
    if worst > 0.05:
        raise RuntimeError(f"others' slippage differs from the service's by {worst:.1%}: the legs do not compare")
    return float(worst)


async def _service_estimates(source: Settings, place: str) -> dict[tuple[str, int], np.ndarray]:
    """Return the slippage of each symbol and minute, buy sizes and then sell sizes."""
    sides: dict[tuple[str, int], dict[str, list[float | None]]] = {}
    for record in await read_topic(source, f"{place}.{Topic.ESTIMATES}"):
        value = orjson.loads(record.value or b"{}")
        sides.setdefault((value["symbol"], value["minute"]), {})[value["side"]] = value["slippage"]
    return {key: np.array([*by["buy"], *by["sell"]], np.float64) for key, by in sides.items() if len(by) == 2}

"""Sends what a desk decides, and follows what the service publishes.

A record is read by the service's own decoder before it is sent, so that a
mistake is an exception here and not a dead letter later.  It goes to the
partition of its symbol, and is there once it is delivered: to send it again,
after a failure that leaves this unknown, is harmless, since the service takes
each `cl_ord_id` and `exec_id` once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, Self, Unpack, cast

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from impactd.client.messages import Alert, Amendments, DayCost, FillCost, OrderCost, Plan, Quantity, Slice, Terms, Time
from impactd.core.base.topics import Topic
from impactd.wire.json_orders import decode_events
from impactd.wire.murmur2 import partition_for

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

#: Topic of a record, by its type.
_TOPIC: Final = dict.fromkeys(("new", "replace", "cancel"), Topic.ORDERS) | dict.fromkeys(
    ("fill", "correct", "bust"), Topic.EXECUTIONS
)

#: Topics that can be followed: the types of their messages, and the fields by which they are chosen.
_FOLLOWED: Final[Mapping[Topic, tuple[frozenset[str], frozenset[str]]]] = {
    Topic.PLANS: (frozenset({"plan"}), frozenset({"cl_ord_id", "cl_ord_ids"})),
    Topic.SLICES: (frozenset({"slice"}), frozenset({"cl_ord_id"})),
    Topic.ALERTS: (frozenset({"alert"}), frozenset()),
    Topic.TCA: (frozenset({"fill_cost", "order_cost", "day_cost"}), frozenset()),
}

_log = logging.getLogger(__name__)


class RefusedError(ValueError):
    """The service would refuse the record.

    Attributes
    ----------
    reason : str
        Code, as in the dead letters.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Sent(NamedTuple):
    """Where a delivered record is."""

    topic: str
    partition: int
    offset: int


class Client:
    """A connection to the topics of one service.

    What is followed begins where the topics ended when the client was opened, so that no answer to what it sends is
    missed.

    Parameters
    ----------
    bootstrap : str
        Addresses of the brokers, ``host:port`` with commas between.
    prefix : str, optional
        As the service's `topics.prefix`.
    names : mapping of str to str, optional
        As the service's `topics.names`: topics that have another name.
    readable : callable, optional
        Returns values of the service as JSON, where it publishes another format.
    **kafka
        Further options of aiokafka's clients, such as `security_protocol`.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        prefix: str = "impactd.",
        names: Mapping[str, str] | None = None,
        readable: Callable[[Sequence[bytes | None]], Awaitable[Sequence[bytes | None]]] | None = None,
        **kafka: Any,
    ) -> None:
        self._readable = readable
        self._options = {"bootstrap_servers": bootstrap, **kafka}
        self._names = {topic: (names or {}).get(topic.value, f"{prefix}{topic.value}") for topic in Topic}
        self._ends: dict[TopicPartition, int] = {}
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        """Connect.

        Raises
        ------
        aiokafka.errors.KafkaError
            If no broker answers, or a topic is missing.
        """
        producer = AIOKafkaProducer(enable_idempotence=True, **self._options)
        await producer.start()
        try:
            async with self._consumer() as consumer:
                for topic in _FOLLOWED:
                    parts = await self._partitions(producer, topic)
                    self._ends |= await consumer.end_offsets(parts)
        except BaseException:
            await producer.stop()
            raise
        self._producer = producer
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Deliver what is in progress, and close."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    # -- to the service -----------------------------------------------------------------------------------------------

    async def new(
        self,
        cl_ord_id: str,
        symbol: str,
        side: Literal["buy", "sell"],
        *,
        ts_event: Time | None = None,
        **terms: Unpack[Terms],
    ) -> Sent:
        """Send a parent order; see `send` for what is raised."""
        head = {"type": "new", "cl_ord_id": cl_ord_id, "symbol": symbol, "side": side, "ts_event": ts_event}
        return await self.send(head | terms)

    async def replace(
        self,
        cl_ord_id: str,
        symbol: str,
        *,
        orig_cl_ord_id: str | None = None,
        ts_event: Time | None = None,
        **terms: Unpack[Amendments],
    ) -> Sent:
        """Amend the terms that are named; None clears an optional limit."""
        head = {"type": "replace", "cl_ord_id": cl_ord_id, "symbol": symbol, "ts_event": ts_event}
        return await self.send(head | _given(orig_cl_ord_id=orig_cl_ord_id) | terms)

    async def cancel(
        self, cl_ord_id: str, symbol: str, *, orig_cl_ord_id: str | None = None, ts_event: Time | None = None
    ) -> Sent:
        """End an order with what it has filled."""
        head = {"type": "cancel", "cl_ord_id": cl_ord_id, "symbol": symbol, "ts_event": ts_event}
        return await self.send(head | _given(orig_cl_ord_id=orig_cl_ord_id))

    async def fill(
        self,
        exec_id: str,
        cl_ord_id: str,
        symbol: str,
        last_qty: Quantity,
        last_px: Quantity,
        *,
        last_liquidity_ind: Literal["taker", "maker", "auction"] | None = None,
        venue: str | None = None,
        ts_event: Time | None = None,
    ) -> Sent:
        """Report a fill; `ts_event` is when it traded, by default now."""
        head = {"type": "fill", "exec_id": exec_id, "cl_ord_id": cl_ord_id, "symbol": symbol, "ts_event": ts_event}
        last = {"last_qty": last_qty, "last_px": last_px}
        return await self.send(head | last | _given(last_liquidity_ind=last_liquidity_ind, venue=venue))

    async def correct(
        self,
        exec_id: str,
        exec_ref_id: str,
        cl_ord_id: str,
        symbol: str,
        last_qty: Quantity,
        last_px: Quantity,
        *,
        ts_event: Time | None = None,
    ) -> Sent:
        """Correct the fill, or its latest correction, that `exec_ref_id` names."""
        names = {"exec_id": exec_id, "exec_ref_id": exec_ref_id, "cl_ord_id": cl_ord_id, "symbol": symbol}
        last = {"last_qty": last_qty, "last_px": last_px}
        return await self.send({"type": "correct", **names, **last, "ts_event": ts_event})

    async def bust(
        self, exec_id: str, exec_ref_id: str, cl_ord_id: str, symbol: str, *, ts_event: Time | None = None
    ) -> Sent:
        """Annul the fill, or its latest correction, that `exec_ref_id` names."""
        names = {"exec_id": exec_id, "exec_ref_id": exec_ref_id, "cl_ord_id": cl_ord_id, "symbol": symbol}
        return await self.send({"type": "bust", **names, "ts_event": ts_event})

    async def send(self, record: Mapping[str, Any]) -> Sent:
        """Send a record of orders or executions, and wait until it is delivered.

        Parameters
        ----------
        record : mapping
            Its fields, as in the reference of messages; a time may also be a datetime with a zone, and
            `ts_event` None: now.

        Raises
        ------
        RefusedError
            If the service would refuse it; nothing is sent.
        RuntimeError
            If the client is not open.
        aiokafka.errors.KafkaError
            If it cannot be delivered.
        """
        producer = self._open()
        topic, value = self.encode(record)
        symbol = str(record["symbol"])
        partition = partition_for(symbol, len(await self._partitions(producer, topic)))
        sent = await producer.send_and_wait(self._names[topic], value, key=symbol.encode(), partition=partition)
        return Sent(sent.topic, sent.partition, sent.offset)

    @staticmethod
    def encode(record: Mapping[str, Any]) -> tuple[Topic, bytes]:
        """Return the topic and the bytes that `send` would send; what it refuses is refused here."""
        kind = record.get("type")
        topic = _TOPIC.get(kind) if isinstance(kind, str) else None
        if topic is None:
            raise RefusedError("unknown_type", f"type: {kind!r} is not known; send one of {', '.join(_TOPIC)}")
        plain = {name: _plain(value, name) for name, value in record.items()}
        if plain.get("ts_event") is None:
            plain["ts_event"] = time.time_ns()
        value = orjson.dumps(plain)
        for refused in decode_events(topic, [value], [0], [0]).refused:
            raise RefusedError(refused.reason, refused.detail)
        return topic, value

    # -- from the service ---------------------------------------------------------------------------------------------

    async def plans(self, cl_ord_id: str | None = None) -> AsyncGenerator[Plan]:
        """Yield each plan from the opening of the client on, of one order or of all.

        Any id names it that the order's chain has when the plan is made.
        """
        async with aclosing(self._follow(Topic.PLANS)) as values:
            async for value in values:
                plan = cast("Plan", value)
                if cl_ord_id is None or cl_ord_id == plan["cl_ord_id"] or cl_ord_id in plan["cl_ord_ids"]:
                    yield plan

    async def latest_plans(self) -> dict[str, Plan]:
        """Return the latest plan of every order that the topic still has, by `cl_ord_id`."""
        latest: dict[str, Plan] = {}
        async with self._consumer() as consumer:
            parts = await self._partitions(self._open(), Topic.PLANS_LATEST)
            consumer.assign(parts)
            ends = {part: end for part, end in (await consumer.end_offsets(parts)).items() if end > 0}
            await consumer.seek_to_beginning()
            while any([await consumer.position(part) < end for part, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    for record in records:
                        key = (record.key or b"").decode(errors="replace")
                        latest.pop(key, None)
                        if (plan := await self._loaded(Topic.PLANS, record)) is not None:
                            latest[key] = plan
        return latest

    async def slices(self, cl_ord_id: str | None = None) -> AsyncGenerator[Slice]:
        """Yield each slice from the opening of the client on, of one order or of all.

        Take nothing after its `valid_until`.  There are none unless `plans.act` is
        ``slices``.
        """
        async with aclosing(self._follow(Topic.SLICES)) as values:
            async for value in values:
                taken = cast("Slice", value)
                if cl_ord_id is None or cl_ord_id == taken["cl_ord_id"]:
                    yield taken

    async def alerts(self) -> AsyncGenerator[Alert]:
        """Yield each alert from the opening of the client on."""
        async with aclosing(self._follow(Topic.ALERTS)) as values:
            async for value in values:
                yield cast("Alert", value)

    async def costs(self) -> AsyncGenerator[FillCost | OrderCost | DayCost]:
        """Yield each cost of a fill, an order or a session from the opening of the client on; `type` states which."""
        async with aclosing(self._follow(Topic.TCA)) as values:
            async for value in values:
                yield cast("FillCost | OrderCost | DayCost", value)

    async def _follow(self, topic: Topic) -> AsyncGenerator[Any]:
        """Yield the values of committed records."""
        parts = await self._partitions(self._open(), topic)
        async with self._consumer() as consumer:
            consumer.assign(parts)
            for part in parts:
                # A partition added since was empty then.
                consumer.seek(part, self._ends.get(part, 0))
            async for record in consumer:
                if (message := await self._loaded(topic, record)) is not None:
                    yield message

    async def _loaded(self, topic: Topic, record: Any) -> Any:
        """Return a record's message; None, and a line in the log, for what is no message of the service."""
        value: bytes | None = record.value
        if value is not None and self._readable is not None:
            [value] = await self._readable([value])
        if value is None:
            return None
        message = message_of(topic, value)
        if message is None:
            _log.warning(
                "%s/%s, offset %s: no message of the service, skipped", record.topic, record.partition, record.offset
            )
        return message

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        """Yield a consumer of committed records that belongs to no group, and stop it afterwards."""
        consumer = AIOKafkaConsumer(
            isolation_level="read_committed", auto_offset_reset="none", enable_auto_commit=False, **self._options
        )
        try:
            await consumer.start()
            yield consumer
        finally:
            # Waited for, not awaited: it raises the cancellation of a fetch that waits for its next try.
            stopping = asyncio.ensure_future(consumer.stop())
            await asyncio.wait({stopping})
            if not stopping.cancelled():
                stopping.result()

    def _open(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise RuntimeError("the client is not open: use it in an async with statement")
        return self._producer

    async def _partitions(self, producer: AIOKafkaProducer, topic: Topic) -> list[TopicPartition]:
        name = self._names[topic]
        return [TopicPartition(name, number) for number in sorted(await producer.partitions_for(name))]


def message_of(topic: Topic, value: bytes) -> dict[str, Any] | None:
    """Return a record of a topic that can be followed as a message; None if it is none of the service."""
    types, needed = _FOLLOWED[topic]
    try:
        message = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(message, dict) or not isinstance(kind := message.get("type"), str):
        return None
    return message if kind in types and needed <= message.keys() else None


def _given(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _plain(value: object, name: str) -> object:
    """Return a field's value with datetimes as ns since the epoch, UTC."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise RefusedError("value", f"{name}: {value} has no zone; give it one, such as tzinfo=UTC")
        return (value - _EPOCH) // timedelta(microseconds=1) * 1_000
    if isinstance(value, list | tuple):
        return [_plain(item, name) for item in value]
    return value

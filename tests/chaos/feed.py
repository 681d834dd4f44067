"""The load: a market and a desk that never rest, generated from a seed and paced by the clock.

Books and trades of several symbols in each partition; orders that are new, replaced, cancelled and repeated; fills
that come late, early, twice, and are corrected or busted; halts that are lifted again; and what belongs into the dead
letters.  What of it reaches the broker is the input: a send that fails while the broker is away is lost here, before
the service could see it, and nobody minds.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import orjson
from aiokafka.errors import KafkaError

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.kafka.client import close_producer, plain_producer
from impactd.wire.murmur2 import partition_for
from tests.chaos.cluster import PARTITIONS

#: Symbols a partition.
_SYMBOLS: Final = 3

#: Named in the settings, so that orders may name it.
VENUE: Final = "V1"

_STEP_S: Final = 0.05
_SEND_S: Final = 5.0
_SECOND_NS: Final = 1_000_000_000

#: Orders that are remembered for amendments and fills.
_REMEMBERED: Final = 60


class Message(NamedTuple):
    """A record to be sent; `partition` overrules that of the key."""

    topic: Topic
    key: str
    value: bytes
    partition: int | None = None


def symbols(partitions: int = PARTITIONS, each: int = _SYMBOLS) -> list[str]:
    """Return as many symbols for each partition."""
    found: dict[int, list[str]] = {partition: [] for partition in range(partitions)}
    for number in itertools.count():
        if all(len(names) == each for names in found.values()):
            return [name for names in found.values() for name in names]
        home = found[partition_for(f"S{number}", partitions)]
        if len(home) < each:
            home.append(f"S{number}")
    raise AssertionError


class Desk:
    """Makes the messages, without a clock or a broker.

    Parameters
    ----------
    seed : str
    partitions, each : int, optional
        Partitions of each input topic, and symbols in each.
    """

    def __init__(self, seed: str, partitions: int = PARTITIONS, each: int = _SYMBOLS) -> None:
        self._random = random.Random(seed)
        #: Of what was added later: the days of a seed stay as they were.
        self._more = random.Random(f"{seed}/more")
        self._partitions = partitions
        self._symbols = symbols(partitions, each)
        self._mid = {symbol: 3_000 + 100 * n for n, symbol in enumerate(self._symbols)}
        self._orders: list[tuple[str, str]] = []
        self._fills: list[tuple[str, str, str]] = []
        self._halted: list[str] = []
        self._ids = itertools.count()

    def step(self, now: int) -> Iterator[Message]:
        """Yield what happens at `now`, ns."""
        draw = self._random
        for n in range(draw.randrange(4, 10)):
            yield self._tick(now + n * 1_000)
        if draw.random() < 0.08:
            yield from self._new(now)
        for _ in range(draw.randrange(2)):
            yield from self._fill(now)
        if draw.random() < 0.04:
            yield from self._amend(now)
        if draw.random() < 0.02:
            yield from self._control(now)
        if draw.random() < 0.03:
            yield self._poison(now)
        if self._more.random() < 0.1:
            yield self._imbalance(now)

    def _tick(self, now: int) -> Message:
        draw = self._random
        symbol = draw.choice(self._symbols)
        mid = self._mid[symbol] = max(500, self._mid[symbol] + draw.randrange(-2, 3))
        if draw.random() < 0.03:
            # A feed handler that lags by some seconds.
            now -= draw.randrange(3 * _SECOND_NS)
        if draw.random() < 0.2:
            value: dict[str, Any] = {
                "type": "trade",
                "symbol": symbol,
                "ts_event": now,
                "px": mid / 100,
                "qty": draw.randrange(1, 500),
                "aggressor": draw.choice(["buy", "sell", None]),
            }
        else:
            spread = draw.randrange(1, 4)
            value = {
                "type": "book",
                "symbol": symbol,
                "ts_event": now,
                "bids": [[(mid - spread - k) / 100, draw.randrange(50, 900)] for k in range(10)],
                "asks": [[(mid + spread + k) / 100, draw.randrange(50, 900)] for k in range(10)],
            }
        return Message(Topic.TICKS, symbol, orjson.dumps(value))

    def _new(self, now: int) -> Iterator[Message]:
        draw = self._random
        symbol, cl_ord_id = draw.choice(self._symbols), f"C{next(self._ids)}"
        start = now + draw.randrange(-1, 4) * _SECOND_NS
        order: dict[str, Any] = {
            "type": "new",
            "cl_ord_id": cl_ord_id,
            "symbol": symbol,
            "side": draw.choice(["buy", "sell"]),
            "order_qty": draw.randrange(1, 40) * 100,
            "ts_event": now,
            "start": start,
            "end": start + draw.randrange(5, 45) * _SECOND_NS,
            "participation_rate": draw.choice([None, None, 0.3]),
            "max_interval_qty": draw.choice([None, None, 400]),
            **draw.choice([{}, {}, {"risk_aversion": 1e-6}, {"urgency": "normal"}, {"min_participation_rate": 0.05}]),
            **draw.choice([{}, {}, {"alpha_bps": draw.choice([-20, 15]), "alpha_half_life_s": 600}]),
            **draw.choice([*[{}] * 7, {"auctions": draw.choice(["open", "close", "both"]), "auction_rate": 0.1}]),
            **draw.choice([{}, {}, {"would_px": (self._mid[symbol] + draw.randrange(-3, 4)) / 100, "would_rate": 0.2}]),
            **draw.choice([{}, {}, {"limit_px": (self._mid[symbol] + draw.randrange(-4, 5)) / 100}]),
        }
        order |= self._rarer_terms(order)
        if draw.random() < 0.1:
            # The venue is faster than the desk: a fill before its order.
            self._orders.append((cl_ord_id, symbol))
            yield from self._fill(now, (cl_ord_id, symbol))
        for _ in range(2 if draw.random() < 0.1 else 1):
            yield self._event(Topic.ORDERS, order)
        self._orders = [*self._orders[-_REMEMBERED:], (cl_ord_id, symbol)]

    def _rarer_terms(self, order: dict[str, Any]) -> dict[str, Any]:
        """Return terms that few orders have; some contradict the order's others, and it is refused."""
        draw, start, end = self._more, order["start"], order["end"]
        blackout = start + draw.randrange(20) * _SECOND_NS
        terms: list[dict[str, Any]] = [
            {"limit_offset_bps": draw.choice([-3, 5, 20])},
            {"target_participation_rate": draw.choice([0.05, 0.3])},
            {"lot_size": draw.choice([10, 100])},
            {"min_clip_qty": draw.choice([50, 200])},
            {"must_complete": True},
            {"blackouts": [[blackout, blackout + draw.randrange(1, 9) * _SECOND_NS]]},
            {"last_trade": draw.randrange(start, end + 1)},
            {"urgency": draw.choice(["low", "high", "get_done", 0.5])},
            {"venues": [VENUE]},
        ]
        return draw.choice(terms) if draw.random() < 0.4 else {}

    def _imbalance(self, now: int) -> Message:
        draw = self._more
        about = {"symbol": draw.choice(self._symbols), "ts_event": now, "auction": draw.choice(["open", "close"])}
        return self._event(Topic.STATUS, {"type": "imbalance"} | about | {"paired_qty": draw.randrange(0, 9_000)})

    def _fill(self, now: int, of: tuple[str, str] | None = None) -> Iterator[Message]:
        draw = self._random
        if not self._orders:
            return
        cl_ord_id, symbol = of or draw.choice(self._orders)
        exec_id = f"E{next(self._ids)}"
        base = {"exec_id": exec_id, "cl_ord_id": cl_ord_id, "symbol": symbol, "ts_event": now}
        kind = draw.random()
        traded = {"last_qty": draw.randrange(1, 120), "last_px": self._mid[symbol] / 100}
        if kind < 0.06 and self._fills:
            ref, cl_ord_id, symbol = draw.choice(self._fills)
            base |= {"cl_ord_id": cl_ord_id, "symbol": symbol, "exec_ref_id": ref}
            event = {"type": "bust", **base} if kind < 0.03 else {"type": "correct", **base, **traded}
        else:
            event = {
                "type": "fill",
                **base,
                **traded,
                "last_liquidity_ind": draw.choice(["taker", "maker", "auction", None]),
            }
            self._fills = [*self._fills[-_REMEMBERED:], (exec_id, cl_ord_id, symbol)]
        for _ in range(2 if draw.random() < 0.05 else 1):
            yield self._event(Topic.EXECUTIONS, event)

    def _amend(self, now: int) -> Iterator[Message]:
        draw = self._random
        if not self._orders:
            return
        cl_ord_id, symbol = draw.choice(self._orders)
        event: dict[str, Any] = {"type": "cancel", "cl_ord_id": cl_ord_id, "symbol": symbol, "ts_event": now}
        if draw.random() < 0.7:
            event |= {"type": "replace", "order_qty": draw.randrange(1, 40) * 100}
        yield self._event(Topic.ORDERS, event)

    def _control(self, now: int) -> Iterator[Message]:
        draw = self._random
        if self._halted and draw.random() < 0.7:
            kind, scope = "resume", self._halted.pop()
        else:
            kind, scope = "halt", draw.choice([*self._symbols, "*"])
            self._halted.append(scope)
        value = orjson.dumps({"type": kind, "scope": scope, "reason": "drill", "ts_event": now})
        for partition in range(self._partitions):
            yield Message(Topic.CONTROL, scope, value, partition)

    def _poison(self, now: int) -> Message:
        draw = self._random
        symbol = draw.choice(self._symbols)
        if draw.random() < 0.3:
            home = partition_for(symbol, self._partitions)
            return self._tick(now)._replace(key=symbol, partition=(home + 1) % self._partitions)
        topic = draw.choice([Topic.TICKS, Topic.TICKS, Topic.ORDERS, Topic.EXECUTIONS])
        return Message(topic, symbol, draw.choice([b'{"type":"book"', b"[1,2]", b"\xff\xfe\x00", b'{"type":"new"}']))

    @staticmethod
    def _event(topic: Topic, event: dict[str, Any]) -> Message:
        return Message(topic, event["symbol"], orjson.dumps(event))


class Feed:
    """Sends a desk's messages until it is told to stop.

    Parameters
    ----------
    settings : Settings
    seed : str
    """

    def __init__(self, settings: Settings, seed: str) -> None:
        self._settings = settings
        self._desk = Desk(seed)
        self._stopping = asyncio.Event()
        #: Messages delivered, and messages whose delivery failed or is not known.
        self.sent, self.unsure = 0, 0

    def stop(self) -> None:
        """End with the next step."""
        self._stopping.set()

    async def run(self) -> None:
        """Send, with a new producer whenever one fails."""
        while not self._stopping.is_set():
            producer = plain_producer(self._settings)
            try:
                async with asyncio.timeout(_SEND_S):
                    await producer.start()
                await self._send(producer)
            except (KafkaError, OSError, TimeoutError, AssertionError):
                await self._wait(0.2)
            finally:
                await close_producer(producer, _SEND_S)

    async def _send(self, producer: Any) -> None:
        flying: set[asyncio.Future[Any]] = set()
        try:
            while not self._stopping.is_set():
                async with asyncio.timeout(_SEND_S):
                    flying |= {await self._one(producer, message) for message in self._desk.step(time.time_ns())}
                await self._wait(_STEP_S)
                done = {sent for sent in flying if sent.done()}
                flying -= done
                self._count(list(done))
            if flying:
                await asyncio.wait(flying, timeout=_SEND_S)
        finally:
            self.unsure += sum(not sent.done() for sent in flying)
            self._count([sent for sent in flying if sent.done()], fail=False)

    def _count(self, done: Sequence[asyncio.Future[Any]], *, fail: bool = True) -> None:
        errors = [error for sent in done if (error := sent.exception()) is not None]
        self.sent += len(done) - len(errors)
        self.unsure += len(errors)
        if errors and fail:
            raise errors[0]

    async def _one(self, producer: Any, message: Message) -> asyncio.Future[Any]:
        partition = partition_for(message.key, PARTITIONS) if message.partition is None else message.partition
        sent: asyncio.Future[Any] = await producer.send(
            self._settings.topics.name(message.topic), message.value, message.key.encode(), partition=partition
        )
        # A delivery that fails after its producer was given up has nobody left to tell.
        sent.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        return sent

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

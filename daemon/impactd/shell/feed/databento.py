"""Databento's live feed, by their own client: DBN records as they came, under the symbol of their instrument.

Their client runs in a thread of its own. What it has received waits here, at most `_MOST_WAITING` records; beyond
that its thread waits, and so does the gateway, which then reports a slow reader. Where the connection is lost, the
books end, and a new session begins, of MBO with a new snapshot.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
import structlog

from impactd.core.base.extras import extra_module
from impactd.shell.feed.reconnect import FIRST_WAIT_S, Lost, keep_following
from impactd.shell.feed.sink import FeedRecord, Sink
from impactd.shell.kafka.errors import FatalError

_MOST_WAITING: Final = 100_000
#: Records that are handled together; those of one symbol become one message.
_AT_ONCE: Final = 2_000
_MESSAGE_BYTES: Final = 60_000
_ERROR, _MAPPING, _SYSTEM = 21, 22, 23
_MBO: Final = 160
_CLEAR: Final = ord("R")
#: The last record of an event, and one after which the book may be wrong.
_F_LAST_BAD: Final = 128 | 4
_UNDEF_PRICE: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Subscription:
    """What is asked of the gateway."""

    key: str
    dataset: str
    schemas: Sequence[str]
    symbols: Sequence[str]
    stype_in: str = "raw_symbol"
    #: Another address than that of the dataset, for tests and proxies.
    gateway: str | None = None
    port: int = 13_000


class DatabentoFeed:
    """The live feed of one dataset.

    Parameters
    ----------
    first_wait_s : float, optional
        As in `keep_following`.

    Raises
    ------
    MissingExtraError
        If their client is not installed.
    """

    def __init__(self, wanted: Subscription, sink: Sink, first_wait_s: float = FIRST_WAIT_S) -> None:
        self._databento = extra_module("databento", "databento")
        self._wanted = wanted
        self._sink = sink
        self._first_wait_s = first_wait_s
        self._log = structlog.get_logger()
        #: Symbol by instrument; empty until a session has begun.
        self._symbols: dict[int, str] = {}
        self._received = 0

    async def run(self) -> None:
        """Follow the feed until cancelled.

        Raises
        ------
        FatalError
            If the gateway refuses the key or the subscription, or the broker the records.
        """
        await keep_following(self._connection, self._ends, self._sink, self._first_wait_s)

    async def _connection(self) -> Lost:
        self._received = 0
        why = await self._session()
        return Lost(why, self._received > 0)

    def _ends(self) -> list[FeedRecord]:
        return [self._end(instrument, symbol) for instrument, symbol in self._symbols.items()]

    def _end(self, instrument: int, symbol: str) -> FeedRecord:
        """Return the record that ends a symbol's book."""
        now = time.time_ns()
        if "mbo" in self._wanted.schemas:
            head = bytes([14, _MBO, 0, 0]) + instrument.to_bytes(4, "little") + now.to_bytes(8, "little")
            body = bytes(8) + _UNDEF_PRICE.to_bytes(8, "little") + bytes([0, 0, 0, 0, _F_LAST_BAD, 0, _CLEAR, ord("N")])
            return FeedRecord(symbol, "dbn", head + body + now.to_bytes(8, "little") + bytes(8), now)
        value = {"type": "book", "symbol": symbol, "ts_event": now, "bids": [], "asks": []}
        return FeedRecord(symbol, "json", orjson.dumps(value), now)

    async def _session(self) -> str:
        """Follow one session; return why it ended."""
        wanted, loop = self._wanted, asyncio.get_running_loop()
        waiting: deque[Any] = deque()
        arrived, left = asyncio.Event(), threading.Event()

        def took(record: Any) -> None:
            waiting.append(record)
            if len(waiting) == 1:
                loop.call_soon_threadsafe(arrived.set)
            while len(waiting) > _MOST_WAITING and not left.is_set():
                left.wait(0.01)

        client = self._databento.Live(key=wanted.key, gateway=wanted.gateway, port=wanted.port)

        def begin() -> None:
            client.add_callback(took)
            for schema in wanted.schemas:
                client.subscribe(
                    dataset=wanted.dataset,
                    schema=schema,
                    symbols=list(wanted.symbols),
                    stype_in=wanted.stype_in,
                    snapshot=schema == "mbo",
                )
            client.start()

        ended: asyncio.Task[Any] | None = None
        try:
            try:
                await asyncio.to_thread(begin)
            except ValueError as error:
                # Their client raises it for a key or a subscription that is refused.
                raise FatalError(f"databento refuses: {error}") from error
            except (self._databento.BentoError, OSError) as error:
                if not self._symbols and not str(error).startswith(("Connection to", "Authentication with")):
                    # No session has begun yet, and the gateway has answered.
                    raise FatalError(f"databento refuses: {error}") from error
                return str(error)
            ended = asyncio.create_task(asyncio.to_thread(client.block_for_close))
            ended.add_done_callback(lambda _: arrived.set())
            while not (ended.done() and not waiting):
                await arrived.wait()
                arrived.clear()
                while waiting:
                    await self._send([waiting.popleft() for _ in range(min(len(waiting), _AT_ONCE))])
            error_ = ended.exception()
            return "the gateway closed the connection" if error_ is None else str(error_)
        finally:
            left.set()
            client.terminate()
            if ended is not None:
                await asyncio.gather(ended, return_exceptions=True)

    async def _send(self, records: Sequence[Any]) -> None:
        """Send records; those of one symbol that follow each other become one message."""
        now = time.time_ns()
        held: dict[str, bytearray] = {}
        for record in records:
            value = bytes(record)
            value = value[: value[0] * 4]
            kind = value[1]
            if kind == _ERROR:
                raise FatalError(f"databento refuses: {record.err}")
            if kind == _SYSTEM:
                if not record.is_heartbeat():
                    self._log.info("databento", message=record.msg)
                continue
            if kind == _MAPPING:
                self._symbols[record.instrument_id] = record.stype_out_symbol
                continue
            symbol = self._symbols.get(record.instrument_id)
            if symbol is None:
                raise FatalError(f"databento: instrument {record.instrument_id} has no symbol; name it in --symbols")
            part = held.setdefault(symbol, bytearray())
            if len(part) + len(value) > _MESSAGE_BYTES:
                await self._sink.put(FeedRecord(symbol, "dbn", bytes(part), now))
                part.clear()
            part += value
            self._received += 1
        for symbol, part in held.items():
            await self._sink.put(FeedRecord(symbol, "dbn", bytes(part), now))

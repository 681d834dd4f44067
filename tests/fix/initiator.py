"""A FIX initiator of its own, on simplefix: the session rules as the standard has them, and nothing of QuickFIX."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Self

import simplefix

Message = dict[int, str]

_ADMIN = {"0", "1", "2", "3", "4", "5", "A"}


def now() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H:%M:%S.%f}"[:-3]


class Initiator:
    """One side of a session, whose numbers outlive its connections.

    Attributes
    ----------
    port : int
        Where it connects.
    received : list of dict
        Application messages in the order of their numbers, each once.
    rejects : list of dict
        Session rejects.
    """

    def __init__(self, port: int, sender: str = "DESK", begin: str = "FIX.4.4", target: str = "IMPACTD") -> None:
        self.port = port
        self._begin, self._sender, self._target = begin, sender, target
        self.next_out = 1
        self.next_in = 1
        self.sent: dict[int, tuple[str, list[tuple[int, str]], str]] = {}
        self.received: list[Message] = []
        self.rejects: list[Message] = []
        self.admin: list[Message] = []
        self.duplicates = 0
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._asked_to = 0

    async def connect(self, *, reset: bool = False, within_s: float = 60.0) -> Self:
        """Connect and log on; tried again until the gateway listens."""
        async with asyncio.timeout(within_s):
            while True:
                try:
                    reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
                    break
                except OSError:
                    await asyncio.sleep(0.05)
        if reset:
            self.next_in = self.next_out = 1
            self.sent.clear()
        self._on = False
        self._asked_to = 0
        self._task = asyncio.create_task(self._read(reader))
        body = [(98, "0"), (108, "30"), *([(141, "Y")] if reset else []), *([(1137, "9")] if self._fixt else [])]
        self._send("A", body)
        try:
            await self.until(lambda: self._on, within_s)
        except TimeoutError:
            await self.drop()
            raise
        return self

    @property
    def _fixt(self) -> bool:
        return self._begin == "FIXT.1.1"

    async def drop(self) -> None:
        """Cut the connection off."""
        if self._writer is not None:
            self._writer.transport.abort()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await self._task

    @property
    def is_cut(self) -> bool:
        return self._task is None or self._task.done()

    def send(self, kind: str, body: list[tuple[int, str]], header: Sequence[tuple[int, str]] = ()) -> None:
        """Send an application message."""
        self._send(kind, body, header)

    def admin_message(self, kind: str, body: list[tuple[int, str]]) -> None:
        """Send a message of the session layer."""
        self._send(kind, body)

    def lose(self, kind: str, body: list[tuple[int, str]]) -> None:
        """Count a message as sent that the network loses."""
        self.sent[self.next_out] = (kind, body, now())
        self.next_out += 1

    def _send(self, kind: str, body: list[tuple[int, str]], header: Sequence[tuple[int, str]] = ()) -> None:
        number, self.next_out = self.next_out, self.next_out + 1
        self.sent[number] = (kind, body, now())
        self.raw(kind, number, body, header)

    def raw(self, kind: str, number: int, body: list[tuple[int, str]], header: Sequence[tuple[int, str]] = ()) -> None:
        """Write a message with any number."""
        message = simplefix.FixMessage()
        message.append_pair(8, self._begin, header=True)
        message.append_pair(35, kind, header=True)
        for tag, value in ((49, self._sender), (56, self._target), (34, number), *header, (52, now())):
            message.append_pair(tag, value, header=True)
        for tag, value in body:
            message.append_pair(tag, value)
        if self._writer is not None and not self._writer.transport.is_closing():
            self._writer.write(message.encode())

    async def until(self, condition: Callable[[], Any], within_s: float = 120.0) -> Any:
        """Wait until a condition holds and return what it returned."""
        async with asyncio.timeout(within_s), self._changed:
            await self._changed.wait_for(condition)
        return condition()

    async def report(self, **fields: str) -> Message:
        """Wait for an application message with these fields, ``t11="A"``; return the first."""
        wanted = {int(name[1:]): value for name, value in fields.items()}

        def found() -> Message | None:
            return next((m for m in self.received if all(m.get(t) == v for t, v in wanted.items())), None)

        try:
            result: Message = await self.until(found)
        except TimeoutError:
            raise AssertionError(f"no message with {wanted} among {self.received}") from None
        return result

    async def _read(self, reader: asyncio.StreamReader) -> None:
        parser = simplefix.FixParser()
        while data := await reader.read(65_536):
            parser.append_buffer(data)
            while (message := parser.get_message()) is not None:
                pairs = [(int(tag), value.decode()) for tag, value in message.pairs]
                self._take(dict(reversed(pairs)))
                async with self._changed:
                    self._changed.notify_all()

    def _take(self, message: Message) -> None:
        kind, number = message[35], int(message[34])
        duplicate = message.get(43) == "Y"
        if kind == "A" and message.get(141) == "Y" and number == 1:
            self.next_in = 1
        if kind == "4" and message.get(123) != "Y":
            self.next_in = int(message[36])
            return
        if kind == "A":
            self._on = True
        if kind == "2":
            self._resend(int(message[7]), int(message[16]))
        if number > self.next_in:
            if kind == "5":
                return
            if self._asked_to < number:
                # What is lost is asked for once; what comes meanwhile comes again.
                self._asked_to = number
                self._send("2", [(7, str(self.next_in)), (16, "0")])
            return
        if number < self.next_in:
            assert duplicate or kind == "A", f"{number} is below {self.next_in}: {message}"
            self.duplicates += 1
            return
        self.next_in = int(message[36]) if kind == "4" else number + 1
        self._in_order(kind, message)

    def _in_order(self, kind: str, message: Message) -> None:
        if kind == "1":
            self._send("0", [(112, message[112])])
        elif kind == "5":
            self._send("5", [])
        elif kind == "3":
            self.rejects.append(message)
        (self.admin if kind in _ADMIN else self.received).append(message)

    def _resend(self, first: int, last: int) -> None:
        """Answer a resend request: application messages again, gaps for the others."""
        end = self.next_out - 1 if last == 0 else last
        number = first
        while number <= end:
            kind, body, at = self.sent.get(number, ("0", [], now()))
            if kind in _ADMIN:
                following = number + 1
                while following <= end and self.sent.get(following, ("0",))[0] in _ADMIN:
                    following += 1
                self.raw("4", number, [(123, "Y"), (36, str(following))], [(43, "Y"), (122, now())])
                number = following
            else:
                self.raw(kind, number, body, [(43, "Y"), (122, at)])
                number += 1

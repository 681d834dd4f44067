"""The gateway between QuickFIX and the broker.

Exactly once, through kill -9 at any moment, by three transactions of one producer:

1. An application message that comes in is taken in one transaction: the service's record, the next sequence number that
   is expected, the order's state, and the reports that are due, which wait in the outbox.  QuickFIX counts the message
   only after that.  If the process dies before, the sender's message is asked for again; if it dies after, it is not.
2. What comes from the service is taken in one transaction too: the positions in its topics, the order's state, and the
   reports that are due.
3. A message leaves only once its sequence number is committed, together with its text, for a resend, and without its
   entry in the outbox.  If the process dies in between, its number is missing at the other side, which asks for it.

The state is one compacted topic.  A second gateway of the same name fences the first, whose next transaction fails.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep, time_ns
from typing import Any, Final

import orjson
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.fix.reports import Answer, Desk, Out, Parent, message_of
from impactd.shell.fix.sessions import KEPT, SessionsError, SessionState, sessions_file
from impactd.shell.fix.tags import SOH, pairs_of, values_of
from impactd.shell.kafka.client import close_producer, close_within, manual_consumer, transactional_producer
from impactd.shell.kafka.consume import consumed, read_bounds, read_topics
from impactd.shell.kafka.errors import FatalError
from impactd.shell.kafka.registry import Readable
from impactd.shell.kafka.tasks import run_together
from impactd.shell.kafka.topics import ensure_compacted, partition_counts
from impactd.wire.murmur2 import partition_for

_log = structlog.get_logger("impactd.fix")

_POLL_MS: Final = 100

#: Positions are saved at least so often.
_SAVE_S: Final = 60.0

#: The longest wait for the answers to a logout.
_LOGOUT_S: Final = 3.0

#: What QuickFIX's threads use.
_KEPT: Final[list[Any]] = []

#: Topics by which the service answers.
_FOLLOWED: Final = (Topic.PLANS, Topic.ALERTS)


class Gateway:
    """Takes FIX sessions and the service's answers until it is stopped.

    QuickFIX's threads go on after `run`: stopping them races with what they do, and may crash.  End the process by
    `os._exit`; what is committed is all that counts.

    Parameters
    ----------
    sessions : str
        Text of QuickFIX's session file.
    """

    def __init__(self, settings: Settings, sessions: str, *, drop_copy: bool = False) -> None:
        self._settings = settings
        self._sessions_text = sessions
        self._readable = Readable(settings)
        fix, plans = settings.fix, settings.core().plans
        self._topic = fix.topic or f"{settings.topics.prefix}fix"
        self._desk = Desk(
            fix.informational_tags,
            fix.parent_tag,
            drop_copy=drop_copy,
            # A plan's AvgPx is that of the reported fills: where other quantity counts too, trades have no price.
            trade_reports=fix.trade_reports and plans.fills == "reported",
            keep_ended_ns=plans.keep_ended_ns,
        )
        #: Records of the service's topics that are no message of ours.
        self._skipped = 0
        self._states: dict[str, SessionState] = {}
        self._outbox: dict[int, Out] = {}
        self._next_entry = 1
        self._positions: dict[str, int] = {}
        self._due: asyncio.Queue[int] = asyncio.Queue()
        self._lock = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._failed: asyncio.Future[None] = self._loop.create_future()
        self._producer = transactional_producer(settings, f"{settings.kafka.transactional_id(0)}.fix.{self._topic}")
        self._saved_at = 0.0
        #: Entry of the outbox that is being sent, by the thread that sends it.
        self._sending = threading.local()

    async def run(self, ready: Callable[[], None] | None = None) -> None:
        """Serve until cancelled.

        Raises
        ------
        FatalError
            If topics are missing, the port is in use, or the broker fails: nothing that is not committed has left by
            then.
        SessionsError
            If the file of sessions cannot be used.
        """
        import quickfix  # noqa: PLC0415  # an extra

        await ensure_compacted(self._settings, self._topic)
        counts = await partition_counts(self._settings)
        try:
            # Fences a gateway before, and ends its open transaction.
            await self._producer.start()
            await self._restore(counts)
            with tempfile.TemporaryDirectory(prefix="impactd-fix-") as name:
                folder = Path(name)
                path = folder / "sessions.cfg"
                path.write_text(sessions_file(self._sessions_text, folder), "utf-8")
                for session, state in self._states.items():
                    state.write(folder, _store_name(session))
                _start(quickfix, self, str(path))
                try:
                    if ready is not None:
                        ready()
                    await run_together(self._follow(counts), self._send_due(quickfix), self._until_failed())
                finally:
                    if self._failed.done():
                        # Its threads wait for a commit that will not come.
                        _log.error("fix gateway failed", error=str(self._failed.exception()))
                        os._exit(1)
                    await asyncio.to_thread(_log_out, quickfix, self._states)
        except KafkaError as error:
            raise FatalError(f"the broker fails: {error!r}") from error
        finally:
            await close_producer(self._producer, 2.0)

    async def _until_failed(self) -> None:
        # A cancelled wait would cancel the future too.
        await asyncio.shield(self._failed)

    # --- state ------------------------------------------------------------------------------------------------------

    async def _restore(self, counts: Mapping[Topic, int]) -> None:
        values: dict[str, Any] = {}
        async with aclosing(read_topics(self._settings, self._topic, hidden=True)) as records:
            async for record in records:
                key = (record.key or b"").decode()
                values.pop(key, None)
                if record.value is not None:
                    values[key] = orjson.loads(record.value)
        self._load(values)
        for number in sorted(self._outbox):
            self._due.put_nowait(number)
        begin = {}
        for topic in _FOLLOWED:
            bounds = await read_bounds(self._settings, self._settings.topics.name(topic))
            for partition in range(counts[topic]):
                place = f"{topic.value}/{partition}"
                if place not in self._positions:
                    begin[place] = bounds[partition][1]
                elif self._positions[place] < bounds[partition][0]:
                    raise FatalError(
                        f"{self._settings.topics.name(topic)}/{partition} has lost offsets from "
                        f"{self._positions[place]} on by retention: answers to orders may be among them; compare the "
                        f"orders with the desk, then delete the topic {self._topic}"
                    )
        self._positions |= begin
        if begin:
            await self._commit({f"position|{place}": offset for place, offset in begin.items()})

    def _load(self, values: Mapping[str, Any]) -> None:
        parents = []
        for key, value in values.items():
            kind, _, rest = key.partition("|")
            if kind == "order":
                parents.append(Parent.load(value))
            elif kind == "session":
                state = self._state(rest)
                state.next_in, state.next_out, state.created = value["next_in"], value["next_out"], value["created"]
            elif kind == "sent":
                session, _, sequence = rest.rpartition("|")
                self._state(session).sent[int(sequence)] = value
            elif kind == "outbox":
                session, message, fields = value
                self._outbox[int(rest)] = Out.of(session, message, fields)
            else:
                self._positions[rest] = value
        self._desk.load(parents)
        self._next_entry = max(self._outbox, default=0) + 1

    def _state(self, session: str) -> SessionState:
        return self._states.setdefault(session, SessionState())

    async def _commit(self, state: Mapping[str, Any], answer: Answer | None = None, origin: str = "") -> None:
        """Write the service's record, if there is one, and values of the state, None deletes, in one transaction."""
        values = dict(state)
        async with self._producer.transaction():
            if answer is not None:
                await self._write_record(answer, origin)
                values |= {f"order|{name}": parent.dump() for name, parent in answer.changed.items()}
                values |= dict.fromkeys(f"order|{name}" for name in answer.gone)
                for out in answer.out:
                    self._outbox[self._next_entry] = out
                    values[f"outbox|{self._next_entry}"] = tuple(out)  # orjson takes no NamedTuple
                    self._next_entry += 1
            written = [await self._put(key, value) for key, value in values.items()]
            await asyncio.gather(*written)

    async def _write_record(self, answer: Answer, origin: str) -> None:
        """Write the record for the service, and note its place."""
        if answer.record is None:
            return
        topic, value = answer.record
        name = self._settings.topics.name(topic)
        partition = partition_for(answer.symbol, len(await self._producer.partitions_for(name)))
        headers = [("fix", origin.encode())]
        sent = await self._producer.send_and_wait(
            name, value, key=answer.symbol.encode(), partition=partition, headers=headers
        )
        if answer.awaits is not None:
            answer.awaits.place = f"{name}/{partition}/{sent.offset}"

    async def _put(self, key: str, value: Any) -> asyncio.Future[Any]:
        raw = None if value is None else orjson.dumps(value)
        sent: asyncio.Future[Any] = await self._producer.send(self._topic, raw, key=key.encode(), partition=0)
        return sent

    async def _take(self, answer: Answer, state: Mapping[str, Any], origin: str = "") -> None:
        first = self._next_entry
        await self._commit(state, answer, origin)
        for number in range(first, self._next_entry):
            self._due.put_nowait(number)

    # --- from QuickFIX, on its threads --------------------------------------------------------------------------------

    def wait(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine on the loop, and wait for it; if it fails, this thread waits for the end of the process."""
        try:
            asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except BaseException as error:  # noqa: BLE001  # whatever it is: nothing may be counted as taken
            self._loop.call_soon_threadsafe(self._fail, error)
            threading.Event().wait()

    def _fail(self, error: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_exception(FatalError(f"a FIX message cannot be taken: {error!r}"))

    async def taken(self, session: str, raw: str) -> bool:
        """Take an application message; return False if its kind is not supported."""
        pairs = pairs_of(raw)
        values = values_of(pairs)
        number = int(values[34])
        async with self._lock:
            answer = self._desk.receive(session, values[35], pairs, time_ns())
            if answer is None:
                return False
            state = self._state(session)
            if not state.created:
                state.created = _now()
            state.next_in = number + 1
            await self._take(answer, {f"session|{session}": _numbers(state)}, f"{session}/{number}")
        return True

    def entry_here(self) -> int | None:
        """Return the entry of the outbox that this thread sends."""
        return getattr(self._sending, "entry", None)

    async def leaves(self, session: str, raw: str, entry: int | None, *, keep: bool) -> None:
        """Note a message that is about to leave; `keep`: its text, for a resend."""
        number = int(values_of(pairs_of(raw))[34])
        async with self._lock:
            state = self._state(session)
            changes: dict[str, Any] = {}
            if number < state.next_out or not state.created:
                # The numbers begin again.
                changes |= {f"sent|{session}|{old}": None for old in state.sent}
                state.sent.clear()
                state.next_in, state.created = 1, _now()
            state.next_out = number + 1
            if keep:
                state.sent[number] = raw
                changes[f"sent|{session}|{number}"] = raw
                if len(state.sent) > KEPT:
                    oldest = next(iter(state.sent))
                    del state.sent[oldest]
                    changes[f"sent|{session}|{oldest}"] = None
                if entry is not None:
                    self._outbox.pop(entry, None)
                    changes[f"outbox|{entry}"] = None
            changes[f"session|{session}"] = _numbers(state)
            await self._commit(changes)

    # --- to QuickFIX ------------------------------------------------------------------------------------------------

    async def _send_due(self, quickfix: Any) -> None:
        """Send what waits in the outbox, one after the other."""
        ids: dict[str, Any] = {}
        while True:
            number = await self._due.get()
            out = self._outbox.get(number)
            if out is None:
                continue
            if out.session not in ids:
                ids[out.session] = _session_id(quickfix, out.session)
            if quickfix.Session.lookupSession(ids[out.session]) is None:
                _log.warning("report not sent: fix session no longer configured", session=out.session)
                continue
            message = _message(quickfix, out)
            await asyncio.to_thread(self._send, quickfix, number, message, ids[out.session])

    def _send(self, quickfix: Any, number: int, message: Any, session: Any) -> None:
        self._sending.entry = number
        try:
            quickfix.Session.sendToTarget(message, session)
        finally:
            self._sending.entry = None

    # --- from the service -------------------------------------------------------------------------------------------

    async def _follow(self, counts: Mapping[Topic, int]) -> None:
        consumer = manual_consumer(self._settings)
        roles = {self._settings.topics.name(topic): topic for topic in _FOLLOWED}
        try:
            await consumer.start()
            places = [
                TopicPartition(name, partition) for name, topic in roles.items() for partition in range(counts[topic])
            ]
            consumer.assign(places)
            for place in places:
                consumer.seek(place, self._positions[f"{roles[place.topic].value}/{place.partition}"])
            while True:
                for place, records in (await consumer.getmany(timeout_ms=_POLL_MS)).items():
                    topic = roles[place.topic]
                    told = self._desk.plan if topic is Topic.PLANS else self._desk.alert
                    # Before the lock: orders do not wait for a registry.
                    values = await self._readable([record.value for record in records])
                    async with self._lock:
                        whole = Answer()
                        for record, value in zip(map(consumed, records), values, strict=True):
                            if value is None:
                                continue
                            trigger = record.header("input")
                            message = message_of(topic, value)
                            if message is None:
                                self._skip(record.topic, record.partition, record.offset)
                                continue
                            answer = told(message, None if trigger is None else trigger.decode(errors="replace"))
                            whole.out += answer.out
                            whole.changed |= answer.changed
                            whole.gone += answer.gone
                        key = f"{topic.value}/{place.partition}"
                        self._positions[key] = records[-1].offset + 1
                        # What is passed over concerns no order here; its position must stay within the retention.
                        late = self._loop.time() > self._saved_at + _SAVE_S
                        if whole.changed or whole.gone or late:
                            self._saved_at = self._loop.time()
                            state = {f"position|{name}": at for name, at in self._positions.items()}
                            await self._take(whole, state if late else {f"position|{key}": self._positions[key]})
        finally:
            await close_within(consumer.stop())

    def _skip(self, topic: str, partition: int, offset: int) -> None:
        """Pass over a record that the service has not written."""
        self._skipped += 1
        _log.warning(
            "not a message of the service: skipped",
            topic=topic,
            partition=partition,
            offset=offset,
            count=self._skipped,
        )


def _numbers(state: SessionState) -> dict[str, Any]:
    return {"next_in": state.next_in, "next_out": state.next_out, "created": state.created}


def _now() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H:%M:%S}"


def _store_name(session: str) -> str:
    """Return the base name of a session's files: ``FIX.4.4:A->B`` is ``FIX.4.4-A-B``."""
    begin, _, rest = session.partition(":")
    sender, _, target = rest.partition("->")
    target, colon, qualifier = target.partition(":")
    return f"{begin}-{sender}-{target}" + (f"-{qualifier}" if colon else "")


def _session_id(quickfix: Any, session: str) -> Any:
    found = quickfix.SessionID()
    found.fromString(session)
    return found


def _message(quickfix: Any, out: Out) -> Any:
    message = quickfix.Message()
    message.getHeader().setField(35, out.kind)
    for tag, value in out.fields:
        message.setField(tag, value)
    return message


def _log_out(quickfix: Any, names: Iterable[str]) -> None:
    """Log every session out, and wait for a moment until the other sides have answered."""
    sessions = [quickfix.Session.lookupSession(_session_id(quickfix, name)) for name in names]
    on = [session for session in sessions if session is not None and session.isLoggedOn()]
    for session in on:
        session.logout()
    deadline = monotonic() + _LOGOUT_S
    while any(session.isLoggedOn() for session in on) and monotonic() < deadline:
        sleep(0.05)


def _start(quickfix: Any, gateway: Gateway, path: str) -> None:
    """Start QuickFIX's acceptor with an application that hands everything to the gateway."""

    class Application(quickfix.Application):  # type: ignore[misc]  # it ships no types
        def onCreate(self, session: Any) -> None:  # noqa: N802  # its names
            del session

        def onLogon(self, session: Any) -> None:  # noqa: N802
            _log.info("fix session logged on", session=session.toString())

        def onLogout(self, session: Any) -> None:  # noqa: N802
            _log.info("fix session logged out", session=session.toString())

        def toAdmin(self, message: Any, session: Any) -> None:  # noqa: N802
            self._leaves(message, session, keep=False)

        def toApp(self, message: Any, session: Any) -> None:  # noqa: N802
            self._leaves(message, session, keep=True)

        def _leaves(self, message: Any, session: Any, *, keep: bool) -> None:
            raw = message.toString()
            if f"{SOH}43=Y{SOH}" not in raw:
                entry = gateway.entry_here() if keep else None
                gateway.wait(gateway.leaves(session.toString(), raw, entry, keep=keep))

        def fromAdmin(self, message: Any, session: Any) -> None:  # noqa: N802
            del message, session

        def fromApp(self, message: Any, session: Any) -> None:  # noqa: N802
            kinds: list[bool] = []

            async def take() -> None:
                kinds.append(await gateway.taken(session.toString(), message.toString()))

            gateway.wait(take())
            if not kinds[0]:
                raise quickfix.UnsupportedMessageType

    try:
        application = Application()
        settings = quickfix.SessionSettings(path)
        store = quickfix.FileStoreFactory(settings)
        acceptor = quickfix.SocketAcceptor(application, store, settings)
        # Its threads have pointers to them until the process ends, and Python would let them go.
        _KEPT.append((acceptor, application, settings, store))
        acceptor.start()
    except quickfix.ConfigError as error:
        raise SessionsError(str(error)) from error
    except quickfix.RuntimeError as error:
        raise FatalError(f"QuickFIX does not start: {error}") from error

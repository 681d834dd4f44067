"""The service with one promise broken: those of the chaos, and the defects that edges of the service once had.

None is told to the days: each must be found by what is drawn for all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from unittest import mock

from aiokafka.errors import KafkaError

from impactd.config.cluster import KafkaSection
from impactd.core.orders.early import HeldEvents
from impactd.core.state.whole import WholeState
from impactd.shell.kafka import ownership
from impactd.shell.kafka.commit_size import CommitSize
from impactd.shell.kafka.encoder import Record
from impactd.shell.kafka.loop import PartitionLoop
from impactd.shell.kafka.transport import Producer as AnyProducer
from tests.chaos import variants as chaos
from tests.simulate.clients import Producer
from tests.simulate.clock import PROCESS
from tests.simulate.cluster import Place, Sent

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tests.simulate.world import World

#: What looking at one held event costs a thread where every one is looked at.
_LOOK_S: Final = 0.005


class Variant(NamedTuple):
    """A broken service: the promise that it breaks, and what breaks it in a world."""

    what: str
    install: Callable[[World], AbstractContextManager[Any]]


def _producer_of(committer: Any) -> Producer:
    made: Producer = committer._producer
    return made


class _Apart(chaos.Apart):
    async def _outside(self, records: Sequence[Record]) -> None:
        made = _producer_of(self)
        for record in records:
            place, at = Place(record.topic, record.partition), made._loop.wall_ns() // 1_000_000
            sent = [Sent(record.key, record.value, record.headers, at)]
            with contextlib.suppress(KafkaError):
                await made._link.insist(lambda place=place, sent=sent: made._cluster.produce(place, sent))


class _Stubborn(chaos.Stubborn):
    def _maker(self) -> Callable[[int], AnyProducer]:
        made = _producer_of(self)
        return lambda _partition: Producer(made._link, made._settings, made._name)


def _committer(kind: type[Any]) -> Callable[[World], AbstractContextManager[Any]]:
    return lambda _world: mock.patch.object(ownership, "Committer", kind)


def _id_of_process(_world: World) -> AbstractContextManager[Any]:
    def transactional_id(_kafka: KafkaSection, partition: int) -> str:
        process = PROCESS.get()
        assert process is not None
        return f"{process.name}.{partition}"

    return mock.patch.object(KafkaSection, "transactional_id", transactional_id)


def _partial_state(_world: World) -> AbstractContextManager[Any]:
    return mock.patch.object(WholeState, "fault", return_value=None)


def _recreated_topic(_world: World) -> AbstractContextManager[Any]:
    async def unchecked(*_: object) -> None:
        pass

    return mock.patch.object(ownership, "check_topics_against", unchecked)


def _backlog(_world: World) -> AbstractContextManager[Any]:
    return mock.patch.object(CommitSize, "took", return_value=False)


def _inbox_race(_world: World) -> AbstractContextManager[Any]:
    async def alone(self: Any, function: Callable[..., Any], *args: Any, here: bool = False) -> Any:
        async with self._lock:
            return function(*args) if here else await self._in_thread(function, *args)

    return mock.patch.object(PartitionLoop, "_alone", alone)


@contextmanager
def _held_events(world: World) -> Iterator[None]:
    def slowed(method: Any) -> Any:
        def looking(self: Any, *args: Any) -> Any:
            world.loop.spend(_LOOK_S * len(self))
            return method(self, *args)

        return looking

    with ExitStack() as stack:
        for name in ("hold", "release", "expires_by"):
            stack.enter_context(mock.patch.object(HeldEvents, name, slowed(getattr(HeldEvents, name))))
        yield


VARIANTS: Final = {
    "": Variant("none: the service as it is", lambda _: nullcontext()),
    "positions-outside": Variant(chaos.VARIANTS["positions-outside"].what, _committer(_Apart)),
    "id-of-process": Variant(chaos.VARIANTS["id-of-process"].what, _id_of_process),
    "sends-not-awaited": Variant(chaos.VARIANTS["sends-not-awaited"].what, _committer(chaos.Hasty)),
    "memory-kept": Variant(chaos.VARIANTS["memory-kept"].what, _committer(_Stubborn)),
    "partial-state": Variant("a state that lacks a key is refused", _partial_state),
    "recreated-topic": Variant("an input that was created again is refused", _recreated_topic),
    "backlog": Variant("a commit that misses its deadline is made smaller", _backlog),
    "inbox-race": Variant("one thread at a time is in an inbox, also where a fetch is cancelled", _inbox_race),
    "held-events": Variant("what an event costs does not grow with the events held", _held_events),
}

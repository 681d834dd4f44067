"""What the service relies on in Kafka, as a model: logs, transactions and groups, without a network.

Requests are plain calls at an instant of virtual time; they return an answer, raise an error of aiokafka's, or return
a `Parked` answer that comes later.  Offsets are those of a real broker: the mark that ends a transaction takes one in
each of its partitions.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import (
    ConcurrentTransactions,
    IllegalGenerationError,
    InvalidProducerEpoch,
    InvalidTxnState,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
    OffsetOutOfRangeError,
    OutOfOrderSequenceNumber,
    RebalanceInProgressError,
    UnknownMemberIdError,
    UnknownTopicOrPartitionError,
)

from impactd.shell.kafka.assignor import StandbyAssignor
from tests.simulate.clock import OUTSIDE, Loop

Headers = tuple[tuple[str, bytes], ...]

#: A mark of a transaction reaches its partition within so long, mostly.
_MARK_S: Final = 0.004

#: Bytes of a record besides its key and value.
_OVERHEAD: Final = 70

#: Largest record batch of a topic, as brokers have it by default.
MAX_BYTES: Final = 1_048_588

Place = TopicPartition


@dataclass(slots=True)
class Entry:
    """One offset of a log; `timestamp` in ms. A mark that ends a transaction has no record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    topic: str
    partition: int
    mark: bool = False
    aborted: bool = False


class Sent(NamedTuple):
    """A record on its way."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int

    @property
    def size(self) -> int:
        """Bytes, about."""
        return len(self.key or b"") + len(self.value or b"") + sum(len(n) + len(v) for n, v in self.headers) + _OVERHEAD


class Fetched(NamedTuple):
    """What a fetch found: records, where the next one begins, and what the broker says of the log."""

    entries: list[Entry]
    following: int
    high: int
    stable: int
    timestamp: int


class Parked:
    """An answer that comes later."""

    def __init__(self) -> None:
        self.then: Callable[[Any], None] | None = None
        self.done = False

    def resolve(self, answer: Any) -> None:
        """Answer, once; an exception is an error."""
        if not self.done:
            self.done = True
            if self.then is not None:
                self.then(answer)


@dataclass(slots=True)
class _Writer:
    """What a log knows of a producer."""

    epoch: int
    sequence: int = 0
    last: tuple[int, int] = (-1, -1)


class Log:
    """One partition."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.entries: list[Entry] = []
        #: What retention has deleted: still an input of what was published.
        self.deleted: list[Entry] = []
        self.start = 0
        self.end = 0
        #: Until then nobody leads it, and until then its new leader does not know yet how far it is replicated.
        self.leaderless_until = 0.0
        self.behind: tuple[float, int] = (0.0, 0)
        self._open: dict[int, list[Entry]] = {}
        #: First offset and mark of each transaction that has ended.
        self._ended: list[tuple[int, int]] = []
        self._writers: dict[int, _Writer] = {}
        self.waiting: list[Callable[[], None]] = []

    def high(self, now: float) -> int:
        """Return the high watermark."""
        until, behind = self.behind
        return min(self.end, behind) if now < until else self.end

    def stable(self, now: float) -> int:
        """Return the last stable offset: before what is open, and before what ended above the high watermark."""
        high = self.high(now)
        unknown = [first for first, mark in self._ended if mark >= high] if high < self.end else []
        return min([high, *unknown, *(records[0].offset for records in self._open.values())])

    def read(self, start: int, now: float, most: int) -> Fetched:
        """Return committed records from `start` on."""
        if not self.start <= start <= self.end:
            raise OffsetOutOfRangeError({self.place: start})
        stable = self.stable(now)
        found, following = [], start
        for entry in self.entries[bisect_left(self.entries, start, key=lambda entry: entry.offset) :]:
            if entry.offset >= stable or len(found) >= most:
                break
            following = entry.offset + 1
            if not entry.mark and not entry.aborted:
                found.append(entry)
        return Fetched(found, following, self.high(now), stable, 0)

    def append(self, records: Sequence[Sent], pid: int | None = None, epoch: int = 0, sequence: int = 0) -> int:
        """Append a batch and return its first offset; `pid` is that of an open transaction."""
        if pid is not None:
            writer = self._writers.setdefault(pid, _Writer(epoch))
            if epoch < writer.epoch:
                raise InvalidProducerEpoch
            if epoch > writer.epoch:
                writer = self._writers[pid] = _Writer(epoch)
            if writer.last[0] == sequence:
                return writer.last[1]
            if sequence != writer.sequence:
                raise OutOfOrderSequenceNumber
            writer.sequence, writer.last = sequence + len(records), (sequence, self.end)
        first = self.end
        for record in records:
            entry = Entry(
                self.end,
                record.timestamp,
                record.key,
                record.value,
                record.headers,
                self.place.topic,
                self.place.partition,
            )
            self._add(entry)
            if pid is not None:
                self._open.setdefault(pid, []).append(entry)
        self.tell()
        return first

    def end_transaction(self, pid: int, epoch: int, *, commit: bool, timestamp: int) -> None:
        """Write the mark of a transaction's end."""
        records = self._open.pop(pid, [])
        for entry in records:
            entry.aborted = not commit
        if records:
            self._ended.append((records[0].offset, self.end))
        known = self._writers.get(pid)
        if known is None or known.epoch < epoch:
            self._writers[pid] = _Writer(epoch)
        self._add(Entry(self.end, timestamp, None, None, (), *self.place, mark=True))
        self.tell()

    def _add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.end += 1
        # What is acknowledged is replicated.
        self.behind = (0.0, 0)

    def tell(self) -> None:
        """Let the fetches that wait look again."""
        waiting, self.waiting = self.waiting, []
        for look in waiting:
            look()

    def compact(self, now: float) -> None:
        """Keep the last committed record of each key, as the cleaner does below the last stable offset."""
        stable = self.stable(now)
        last = {e.key: e.offset for e in self.entries if e.offset < stable and not e.mark and not e.aborted}
        self.entries = [
            e for e in self.entries if e.offset >= stable - 1 or (last.get(e.key) == e.offset and not e.mark)
        ]

    def truncate(self, start: int) -> None:
        """Delete what is before `start`, as retention does."""
        self.start = max(self.start, min(start, self.end))
        self.deleted += [entry for entry in self.entries if entry.offset < self.start]
        self.entries = [entry for entry in self.entries if entry.offset >= self.start]


@dataclass(slots=True)
class _Transaction:
    """The coordinator's view of one transactional id."""

    pid: int
    epoch: int
    timeout_s: float
    state: str = "empty"
    places: dict[Place, None] = field(default_factory=dict)
    began: float = 0.0


@dataclass(slots=True)
class _Member:
    """The coordinator's view of a member of the group."""

    seen: float
    session_s: float
    #: None: an equal share of the partitions.
    assignor: type[StandbyAssignor] | None = None
    #: What the assignor tells the leader of the group, as of the last join.
    metadata: Any = None
    #: Its join that waits for the others.
    joining: Parked | None = None


class Cluster:
    """The brokers.

    Parameters
    ----------
    partitions : mapping of str to int
        Partitions of each topic.
    seed : str
    """

    def __init__(self, loop: Loop, partitions: Mapping[str, int], seed: str) -> None:
        self._loop = loop
        self._random = random.Random(f"{seed}/cluster")
        self.logs = {Place(topic, n): Log(Place(topic, n)) for topic, count in partitions.items() for n in range(count)}
        self.partitions = dict(partitions)
        #: Bytes of a record at most, by topic.
        self.max_bytes: dict[str, int] = {}
        #: Seconds that one record takes to be written.
        self.write_s = 0.0
        #: Until then no broker does anything.
        self.down_until = 0.0
        self._transactions: dict[str, _Transaction] = {}
        self._pids = 0
        self._members: dict[str, _Member] = {}
        self._generation = 0
        self._names = 0
        self._rebalancing = 0
        self._stable = True

    @property
    def now_ms(self) -> int:
        """Time of the brokers, ms."""
        return self._loop.wall_ns() // 1_000_000

    def later(self, seconds: float, function: Callable[..., None], *args: Any) -> None:
        """Call a function of the brokers' later, and not while they are down."""
        at = self._loop.time() + seconds
        self._loop.call_at(max(at, self.down_until), self._unless_down, function, args, context=OUTSIDE)

    def _unless_down(self, function: Callable[..., None], args: tuple[Any, ...]) -> None:
        if self._loop.time() < self.down_until:
            self.later(0.0, function, *args)
        else:
            function(*args)

    def log(self, place: Place) -> Log:
        """Return a partition that is led.

        Raises
        ------
        KafkaError
            If there is no leader, or no such partition.
        """
        found = self.logs.get(place)
        if found is None:
            raise UnknownTopicOrPartitionError
        if self._loop.time() < found.leaderless_until:
            raise NotLeaderForPartitionError
        return found

    # Reading

    def fetch(self, positions: Mapping[Place, int], wait_s: float, most: int) -> Any:
        """Return what is there by place, or an error in its place; wait for something for a time."""
        now = self._loop.time()
        found: dict[Place, Any] = {}
        moved = False
        for place, start in positions.items():
            try:
                found[place] = read = self.log(place).read(start, now, most)._replace(timestamp=self.now_ms)
                moved |= read.following > start
            except (UnknownTopicOrPartitionError, NotLeaderForPartitionError):
                continue
            except OffsetOutOfRangeError as error:
                found[place], moved = error, True
        if moved or wait_s <= 0:
            return found
        parked = Parked()

        def look() -> None:
            if not parked.done:
                parked.resolve(self.fetch(positions, 0.0, most))

        for place in positions:
            if place in self.logs:
                self.logs[place].waiting.append(look)
        self._loop.call_later(wait_s, look, context=OUTSIDE)
        return parked

    def bounds(self, places: Iterable[Place], *, first: bool) -> dict[Place, int]:
        """Return first offsets, or last stable ones."""
        now, found = self._loop.time(), {}
        for place in places:
            log = self.log(place)
            if not first and now < log.behind[0]:
                # A leader that does not know yet how far it is replicated does not answer (KIP-207).
                raise NotLeaderForPartitionError
            found[place] = log.start if first else log.stable(now)
        return found

    def at_time(self, place: Place, timestamp: int) -> tuple[int, int] | None:
        """Return offset and timestamp of the first record at or after a time."""
        for entry in self.log(place).entries:
            if entry.timestamp >= timestamp and not entry.mark:
                return entry.offset, entry.timestamp
        return None

    # Writing

    def produce(
        self, place: Place, records: Sequence[Sent], txn: tuple[str, int, int] | None = None, sequence: int = 0
    ) -> int:
        """Append a batch, of a transaction (id, producer id, epoch) or of none; return its first offset."""
        log = self.log(place)
        if sum(record.size for record in records) > self.max_bytes.get(place.topic, MAX_BYTES):
            raise MessageSizeTooLargeError
        if txn is None:
            return log.append(records)
        name, pid, epoch = txn
        known = self._transactions[name]
        if epoch != known.epoch:
            raise InvalidProducerEpoch
        if known.state != "ongoing" or place not in known.places:
            raise InvalidTxnState
        return log.append(records, pid, epoch, sequence)

    def init_producer(self, name: str, timeout_s: float) -> tuple[int, int]:
        """Fence whoever has the id, end its transaction, and return producer id and epoch."""
        known = self._transactions.get(name)
        if known is None:
            self._pids += 1
            known = self._transactions[name] = _Transaction(self._pids, -1, timeout_s)
        if known.state == "ongoing":
            known.epoch += 1
            self._end(known, commit=False)
        if known.state in ("committing", "aborting"):
            raise ConcurrentTransactions
        known.epoch += 1
        known.timeout_s, known.state = timeout_s, "empty"
        return known.pid, known.epoch

    def add_partitions(self, name: str, epoch: int, places: Iterable[Place]) -> None:
        """Add partitions to the transaction, which begins with the first."""
        known = self._current(name, epoch)
        if known.state in ("committing", "aborting"):
            raise ConcurrentTransactions
        if known.state != "ongoing":
            known.state, known.places, known.began = "ongoing", {}, self._loop.time()
            self.later(known.timeout_s, self._time_out, known, known.epoch, known.began)
        known.places |= dict.fromkeys(places)

    def end_transaction(self, name: str, epoch: int, *, commit: bool) -> None:
        """Decide how the transaction ends; the marks follow."""
        known = self._current(name, epoch)
        wanted = "committing" if commit else "aborting"
        if known.state == wanted:
            raise ConcurrentTransactions
        if known.state == ("committed" if commit else "aborted"):
            return
        if known.state != "ongoing":
            raise InvalidTxnState
        self._end(known, commit=commit)

    def _current(self, name: str, epoch: int) -> _Transaction:
        known = self._transactions[name]
        if epoch != known.epoch:
            raise InvalidProducerEpoch
        return known

    def _time_out(self, known: _Transaction, epoch: int, began: float) -> None:
        if known.state == "ongoing" and (known.epoch, known.began) == (epoch, began):
            known.epoch += 1
            self._end(known, commit=False)

    def _end(self, known: _Transaction, *, commit: bool) -> None:
        known.state = "committing" if commit else "aborting"
        left = list(known.places)
        for place in left[:]:
            slow = 40 if self._random.random() < 0.01 else 1
            self.later(self._random.uniform(0.0, slow * _MARK_S), self._mark, known, place, left, commit)

    def _mark(self, known: _Transaction, place: Place, left: list[Place], commit: bool) -> None:  # noqa: FBT001  (a timer's)
        log = self.logs[place]
        if self._loop.time() < log.leaderless_until:
            self.later(log.leaderless_until - self._loop.time(), self._mark, known, place, left, commit)
            return
        log.end_transaction(known.pid, known.epoch, commit=commit, timestamp=self.now_ms)
        left.remove(place)
        if not left:
            known.state = "committed" if commit else "aborted"

    # The group

    def join(
        self,
        member: str | None,
        session_s: float,
        assignor: type[StandbyAssignor] | None = None,
        metadata: Any = None,
    ) -> Parked:
        """Join, or join again; the answer is the member's name, the generation and the assignment.

        `metadata` is the assignor's.  Without one the assignment is the tuple of partitions.
        """
        now = self._loop.time()
        if member is None:
            self._names += 1
            member = f"{self._random.randrange(1000):03d}-{self._names}"
        elif member not in self._members:
            raise UnknownMemberIdError
        known = self._members.setdefault(member, _Member(now, session_s))
        known.joining, known.seen, known.assignor, known.metadata = Parked(), now, assignor, metadata
        self._rebalance()
        self.later(0.0, self._complete, False)
        return known.joining

    def _rebalance(self) -> None:
        if self._stable:
            self._stable = False
            self._rebalancing += 1
            wait = max((known.session_s for known in self._members.values()), default=0.0)
            self.later(wait, self._late, self._rebalancing)

    def _late(self, rebalancing: int) -> None:
        if rebalancing == self._rebalancing and not self._stable:
            self._complete(True)

    def _complete(self, late: bool) -> None:  # noqa: FBT001  (a timer's)
        """Begin the next generation once all have joined, or with those who have."""
        if self._stable or (not late and any(known.joining is None for known in self._members.values())):
            return
        self._members = {name: known for name, known in self._members.items() if known.joining is not None}
        self._generation += 1
        self._stable = True
        names = sorted(self._members)
        count = next(n for topic, n in self.partitions.items() if topic.endswith("ticks"))
        for name, assigned in self._assigned(names, count).items():
            known = self._members[name]
            known.seen = self._loop.time()
            joining, known.joining = known.joining, None
            assert joining is not None
            joining.resolve((name, self._generation, assigned))
            self.later(known.session_s, self._expire, name)

    def partitions_for_topic(self, topic: str) -> set[int]:
        """Return the partitions of a topic, as aiokafka's metadata does."""
        return set(range(self.partitions[topic]))

    def _assigned(self, names: list[str], count: int) -> dict[str, Any]:
        """Return what the leader of the group assigns."""
        if names and (assignor := self._members[names[0]].assignor) is not None:
            return assignor.assign(self, {name: self._members[name].metadata for name in names})
        share, more = divmod(count, max(1, len(names)))
        firsts = [n * share + min(n, more) for n in range(len(names) + 1)]
        return {name: tuple(range(firsts[n], firsts[n + 1])) for n, name in enumerate(names)}

    def _expire(self, name: str) -> None:
        known = self._members.get(name)
        if known is None:
            return
        left = known.seen + known.session_s - self._loop.time()
        if left > 1e-6 or known.joining is not None:
            self.later(max(left, 0.1), self._expire, name)
        else:
            self.leave(name)

    def leave(self, member: str) -> None:
        """Leave the group."""
        if self._members.pop(member, None) is not None and self._members:
            self._rebalance()
            self._complete(False)

    def forget_group(self) -> None:
        """Lose all members, as a coordinator may that has moved."""
        self._members = {name: known for name, known in self._members.items() if known.joining is not None}

    def heartbeat(self, member: str, generation: int) -> None:
        """Say that a member is there."""
        self._known(member, generation).seen = self._loop.time()
        if not self._stable:
            raise RebalanceInProgressError

    def commit_offsets(self, member: str, generation: int) -> None:
        """Accept group offsets of a member of the present generation."""
        self._known(member, generation).seen = self._loop.time()

    def _known(self, member: str, generation: int) -> _Member:
        known = self._members.get(member)
        if known is None:
            raise UnknownMemberIdError
        if generation != self._generation:
            raise IllegalGenerationError
        return known

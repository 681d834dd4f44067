"""A day: load and faults, drawn from a seed, and what they come to."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import orjson
from aiokafka.errors import KafkaError

from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.core.state.schema import META
from impactd.wire.murmur2 import partition_for
from tests.chaos.feed import Desk, Message, symbols
from tests.simulate import verdict
from tests.simulate.clock import START_S, Loop, NothingLeftError
from tests.simulate.cluster import Log, Place, Sent
from tests.simulate.variants import VARIANTS
from tests.simulate.world import PARTITIONS, SESSION_S, SETTINGS, STANDBY, TRANSACTION_S, Member, World, quiet

#: From one step of the load to the next.
STEP_S: Final = 0.25

#: Once all is well again, inputs must be committed within so long, and processes end.
LIVELY_S: Final = 45.0
_LEAVE_S: Final = 8.0

#: From the start of a process to the next one's end, in a deploy.
_DEPLOY_S: Final = 0.8

#: What a day that was damaged is watched for.
_WATCHED_S: Final = 6.0

#: Brokers that are slow at writing may stay so.
_ALWAYS_S: Final = 1e6

#: Requests at which a process is hit.
_POINTS: Final = ("init", "add", "produce", "end")

_SECOND_NS: Final = 1_000_000_000


class Event(NamedTuple):
    """Something that happens at a time, seconds from the day's beginning."""

    at: float
    kind: str
    args: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Day:
    """All that a run depends on."""

    seed: str
    members: int
    steps: int
    events: tuple[Event, ...]

    @property
    def size(self) -> int:
        """Steps of the load and faults."""
        return self.steps + len(self.events)

    def text(self) -> str:
        """Return it as JSON, to be run again."""
        return orjson.dumps([self.seed, self.members, self.steps, [list(event) for event in self.events]]).decode()

    @staticmethod
    def of(text: str) -> Day:
        """Return the day that `text` describes."""
        seed, members, steps, events = orjson.loads(text)
        return Day(seed, members, steps, tuple(Event(at, kind, tuple(args)) for at, kind, args in events))


@dataclass
class Outcome:
    """What a day has come to.

    Attributes
    ----------
    faults : list of str
        What should not be.
    failures : list of str
        Processes that ended by themselves, and why.
    digest : str
        Of all that stands on the cluster in the end.
    """

    faults: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    commits: int = 0
    digest: str = ""


def drawn(seed: str) -> Day:
    """Return the day of a seed."""
    draw = random.Random(f"{seed}/day")
    members = draw.choice([1, 2, 2, 3])
    steps = draw.randrange(10, 19)
    events = []
    for _ in range(draw.choice([1, 2, 3, 4, 6])):
        kind = draw.choices(list(_KINDS), [weight for weight, _ in _KINDS.values()])[0]
        at = round(draw.uniform(0.3, steps * STEP_S), 3)
        events.append(Event(at, kind, _KINDS[kind][1](draw)))
    if draw.random() < 0.1:
        events.append(Event(steps * STEP_S, draw.choice(_DAMAGES), (draw.randrange(PARTITIONS), draw.randrange(1000))))
    elif draw.random() < 0.3:
        events.append(Event(round(draw.uniform(0.3, steps * STEP_S), 3), "deploy", (_seconds(draw, 0.0, 1.0),)))
    return Day(seed, members, steps, tuple(sorted(events)))


def stands_by(seed: str) -> bool:
    """Return whether the processes of a seed's day stand by for each other."""
    return random.Random(f"{seed}/standby").random() < 0.5


def _who(draw: random.Random) -> int:
    return draw.randrange(3)


def _seconds(draw: random.Random, low: float, high: float) -> float:
    return round(draw.uniform(low, high), 3)


#: Faults: weight, and how their arguments are drawn.
_KINDS: Final[dict[str, tuple[int, Callable[[random.Random], tuple[Any, ...]]]]] = {
    "kill": (2, lambda d: (_who(d), _seconds(d, 0.0, 2.5))),
    "hit": (6, lambda d: (_who(d), d.choice(_POINTS), d.choice(["kill", "freeze", "drop"]), d.randrange(2))),
    "freeze": (2, lambda d: (_who(d), _seconds(d, 0.05, 2.5 * SESSION_S))),
    "restart": (2, lambda d: (_who(d), _seconds(d, 0.0, 1.0))),
    "add": (2, lambda _: ()),
    "drop": (2, lambda d: (_who(d),)),
    "stall": (2, lambda d: (_who(d), _seconds(d, 0.1, 2.0 * SESSION_S))),
    "slow": (1, lambda d: (_seconds(d, 0.5, 3.0), d.choice([5.0, 30.0, 100.0]))),
    "down": (1, lambda d: (_seconds(d, 0.05, 4.0),)),
    "lead": (
        3,
        lambda d: (
            d.choice([-2, -1, d.randrange(1000)]),
            _seconds(d, 0.0, 2.0),
            _seconds(d, 0.0, 0.8),
            d.choice([5, 1_000]),
        ),
    ),
    "forget": (1, lambda _: ()),
    "sluggish": (2, lambda d: (d.choice([_seconds(d, 1.0, 4.0), _ALWAYS_S]), d.choice([0.005, 0.02, 0.03]))),
    "refuse": (1, lambda d: (_seconds(d, 0.5, 3.0),)),
    "clean": (2, lambda _: ()),
    "retain": (1, lambda _: ()),
    "rush": (2, lambda d: (d.choice(["poison", "early", "ticks"]), d.choice([60, 300]))),
    "lull": (1, lambda d: (_seconds(d, 0.5, 3.0),)),
}

#: What is done to topics while nobody runs, and must be noticed.
#: Seconds for which nobody runs around a damage.
_AWAY_S: Final = 3.0

_DAMAGES: Final = ("lose state", "recreate")


class _Run:
    """A day on its way."""

    def __init__(self, loop: Loop, day: Day) -> None:
        self._loop, self._day = loop, day
        self._world = World(loop, day.seed, STANDBY if stands_by(day.seed) else SETTINGS)
        self._desk = Desk(day.seed, PARTITIONS, 1)
        self._lull_until = 0.0
        self._counted = 0
        self.outcome = Outcome()
        #: Partition that was damaged, and how many records its journal had.
        self._damaged: tuple[str, int, int] | None = None

    @property
    def world(self) -> World:
        """The world that it happens in."""
        return self._world

    async def go(self) -> None:
        """Run through the day and judge it."""
        world, day = self._world, self._day
        skew = random.Random(f"{day.seed}/skew")
        for _ in range(day.members):
            world.member(skew.choice([0, 0, skew.randrange(-_SECOND_NS, _SECOND_NS) // 10])).start()
        feed = self._loop.create_task(self._feed())
        for event in day.events:
            await asyncio.sleep(max(0.0, START_S + event.at - self._loop.time()))
            self._happen(event)
        await feed
        await self._heal()
        if self._damaged is not None:
            await asyncio.sleep(_WATCHED_S)
        elif not await self._drained():
            self.outcome.faults.append(f"not drained within {LIVELY_S:.0f} s: {self._missing()}")
        await self._end()
        await self._judge()

    # The load

    async def _feed(self) -> None:
        for step in range(self._day.steps):
            if self._loop.time() >= self._lull_until:
                now = self._loop.wall_ns()
                if step == 1:
                    self._put(self._orders(now))
                self._put(self._desk.step(now))
            await asyncio.sleep(STEP_S)

    def _orders(self, now: int) -> Iterable[Message]:
        """Yield an order for each symbol, so that no day is without plans."""
        for n, symbol in enumerate(symbols(PARTITIONS, 1)):
            order = {
                "type": "new",
                "cl_ord_id": f"F{n}",
                "symbol": symbol,
                "side": "buy",
                "order_qty": 900,
                "ts_event": now,
                "start": now,
                "end": now + 20 * _SECOND_NS,
            }
            yield Message(Topic.ORDERS, symbol, orjson.dumps(order))

    def _put(self, messages: Iterable[Message]) -> None:
        for message in messages:
            partition = partition_for(message.key, PARTITIONS) if message.partition is None else message.partition
            sent = Sent(message.key.encode(), message.value, (), self._loop.wall_ns() // 1_000_000)
            try:
                self._world.cluster.produce(Place(SETTINGS.topics.name(message.topic), partition), [sent])
            except KafkaError:
                # Lost before the service could see it.
                continue

    # Faults

    def _happen(self, event: Event) -> None:
        getattr(self, f"_do_{event.kind.replace(' ', '_')}")(*event.args)

    def _member(self, who: int) -> Member:
        return self._world.members[who % len(self._world.members)]

    def _later(self, seconds: float, function: Callable[..., Any], *args: Any) -> None:
        self._loop.call_later(seconds, function, *args)

    def _do_kill(self, who: int, away_s: float) -> None:
        member = self._member(who)
        member.kill()
        self._later(away_s, self._back, member)

    def _back(self, member: Member) -> None:
        if not self._world.over and not member.running:
            member.start()

    def _do_hit(self, who: int, point: str, how: str, before: int) -> None:
        member = self._member(who)
        if not member.running:
            return

        def hit() -> None:
            if how == "kill":
                self._do_kill(who, 0.3)
            elif how == "freeze":
                self._do_freeze(who, 1.7 * SESSION_S)
            else:
                self._do_drop(who)

        member.link.trap = (point, bool(before), hit)

    def _do_freeze(self, who: int, seconds: float) -> None:
        member = self._member(who)
        process = member.process
        if process is not None and member.running and process.parked is None:
            self._loop.freeze(process)
            self._later(seconds, self._loop.thaw, process)

    def _do_restart(self, who: int, away_s: float) -> None:
        member = self._member(who)
        if member.running and member.service is not None and member.task is not None:
            member.wanted = False
            member.service.stop()
            member.task.add_done_callback(lambda _: self._later(away_s, self._back, member))

    def _do_deploy(self, away_s: float) -> None:
        """Restart one process after the other, each when the one before is back."""
        for n in range(len(self._world.members)):
            self._later(n * (away_s + _DEPLOY_S), self._do_restart, n, away_s)

    def _do_add(self) -> None:
        if len(self._world.members) < 4:
            self._world.member().start()

    def _do_drop(self, who: int) -> None:
        member = self._member(who)
        if member.process is not None:
            member.link.drops += 1

    def _do_stall(self, who: int, seconds: float) -> None:
        member = self._member(who)
        if member.process is not None:
            member.link.stalled_until = self._loop.time() + seconds

    def _do_slow(self, seconds: float, factor: float) -> None:
        self._world.network.slowness = factor
        self._later(seconds, setattr, self._world.network, "slowness", 1.0)

    def _do_down(self, seconds: float) -> None:
        self._world.cluster.down_until = self._loop.time() + seconds

    def _do_lead(self, which: int, gone_s: float, behind_s: float, records: int) -> None:
        logs = list(self._world.cluster.logs.values())
        # Negative: a broker that led every second partition has gone.
        for log in logs[-which - 1 :: 2] if which < 0 else [logs[which % len(logs)]]:
            log.leaderless_until = self._loop.time() + gone_s
            log.behind = (log.leaderless_until + behind_s, max(log.start, log.end - records))
            self._later(gone_s + behind_s + 0.001, log.tell)

    def _do_forget(self) -> None:
        self._world.cluster.forget_group()

    def _do_sluggish(self, seconds: float, write_s: float) -> None:
        self._world.cluster.write_s = write_s
        self._later(seconds, setattr, self._world.cluster, "write_s", 0.0)

    def _do_refuse(self, seconds: float) -> None:
        name = SETTINGS.topics.name(Topic.PLANS)
        self._world.cluster.max_bytes[name] = 700
        self._later(seconds, self._world.cluster.max_bytes.pop, name, None)

    def _do_clean(self) -> None:
        for topic in (Topic.STATE, Topic.PLANS_LATEST):
            for log in self._logs(topic):
                log.compact(self._loop.time())

    def _do_retain(self) -> None:
        reached = self._reached()
        for topic in INPUT_TOPICS:
            for log in self._logs(topic):
                self._kept = True
                log.truncate(reached.get((topic, log.place.partition), 0))

    def _do_rush(self, kind: str, count: int) -> None:
        now = self._loop.wall_ns()
        draw = random.Random(f"{self._day.seed}/{kind}")
        for n in range(count):
            symbol = draw.choice(symbols(PARTITIONS, 1))
            if kind == "poison":
                self._put([Message(Topic.ORDERS, symbol, b'{"type":"new"}')])
            elif kind == "ticks":
                self._put([self._desk._tick(now + n)])
            else:
                fill = {"type": "fill", "exec_id": f"R{n}", "cl_ord_id": f"N{n % 7}", "symbol": symbol}
                value = orjson.dumps(fill | {"ts_event": now, "last_qty": 1, "last_px": 30.0})
                self._put([Message(Topic.EXECUTIONS, symbol, value)])

    def _do_lull(self, seconds: float) -> None:
        self._lull_until = self._loop.time() + seconds

    def _logs(self, topic: Topic) -> list[Log]:
        return [log for log in self._world.cluster.logs.values() if log.place.topic == SETTINGS.topics.name(topic)]

    # Damages, while nobody runs

    def _do_lose_state(self, partition: int, which: int) -> None:
        def lose() -> None:
            log = self._logs(Topic.STATE)[partition]
            last = {entry.key: entry for entry in log.entries if not entry.mark and not entry.aborted}
            live = [entry for key, entry in last.items() if entry.value is not None and key != META.encode()]
            if live:
                lost = live[which % len(live)].key
                log.entries = [entry for entry in log.entries if entry.key != lost or entry.mark]
                self._damaged = ("lose state", partition, self._journal(partition))

        self._stop_all()
        # What the killed had sent arrives first: a commit of it may hold the lost key again.
        self._later(_AWAY_S - 0.1, lose)

    def _do_recreate(self, partition: int, which: int) -> None:
        topics = [topic for topic in INPUT_TOPICS if self._reached().get((topic, partition), 0) > 0]
        self._stop_all()
        if topics:
            place = Place(SETTINGS.topics.name(topics[which % len(topics)]), partition)
            log = self._world.cluster.logs[place] = Log(place)
            at = self._loop.wall_ns() // 1_000_000
            log.append(
                [
                    Sent(b"S0", b"{}", (), at + n)
                    for n in range(self._reached()[topics[which % len(topics)], partition] + 5)
                ]
            )
            self._damage("recreate", partition)

    def _stop_all(self) -> None:
        self._world.nobody_until = self._loop.time() + _AWAY_S
        for member in self._world.members:
            member.kill()
            self._later(_AWAY_S, self._back, member)

    def _damage(self, what: str, partition: int) -> None:
        # What the killed had sent arrives first.
        def note() -> None:
            self._damaged = (what, partition, self._journal(partition))

        note()
        self._later(_AWAY_S - 0.1, note)

    def _journal(self, partition: int) -> int:
        return sum(not entry.mark and not entry.aborted for entry in self._logs(Topic.JOURNAL)[partition].entries)

    # The end

    async def _heal(self) -> None:
        """Let all go well again."""
        world, now = self._world, self._loop.time()
        world.network.slowness, world.network.late = 1.0, 0.0
        until = max(world.cluster.down_until, *(link.stalled_until for link in world.links.values()), now)
        await asyncio.sleep(until - now + 1.5 * SESSION_S + TRANSACTION_S)
        world.cluster.max_bytes.clear()
        for member in world.members:
            if member.process is not None and member.running:
                member.link.trap = None
                self._loop.thaw(member.process)
            self._back(member)

    def _reached(self) -> dict[tuple[Topic, int], int]:
        """Return how far the committed journal has taken in the inputs."""
        reached: dict[tuple[Topic, int], int] = {}
        for log in self._logs(Topic.JOURNAL):
            found: dict[str, int] = {}
            for entry in log.entries:
                if not entry.mark and not entry.aborted and entry.offset < log.stable(self._loop.time()):
                    record = orjson.loads(entry.value or b"{}")
                    found |= record.get("positions", {}) if record["type"] == "genesis" else record.get("to", {})
            reached |= {(Topic(name), log.place.partition): end for name, end in found.items()}
        return reached

    def _missing(self) -> list[str]:
        reached = self._reached()
        return [
            f"{topic}/{log.place.partition} at {at} of {log.end}"
            for topic in INPUT_TOPICS
            for log in self._logs(topic)
            if (at := reached.get((topic, log.place.partition), 0)) < log.end
        ]

    async def _drained(self) -> bool:
        until = self._loop.time() + LIVELY_S
        while self._missing():
            if self._loop.time() > until:
                return False
            await asyncio.sleep(0.5)
        return True

    async def _end(self) -> None:
        world = self._world
        world.over = True
        running = [member for member in world.members if member.running and member.service is not None]
        for member in running:
            member.wanted = False
            member.service.stop()  # type: ignore[union-attr]
        tasks = [member.task for member in running if member.task is not None]
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=_LEAVE_S)
            if pending:
                self.outcome.faults.append(f"{len(pending)} processes do not end within {_LEAVE_S:.0f} s")
        for member in world.members:
            self.outcome.failures += member.failures

    async def _judge(self) -> None:
        outcome, loop = self.outcome, self._loop
        # A killed process may leave a transaction open, which hides what others committed until it times out.
        await asyncio.sleep(TRANSACTION_S + 1.0)
        outcome.faults += [
            f"two threads at once in {process}, at {at - START_S:.3f} s: {what}" for process, at, what in loop.races
        ]
        outcome.digest = self._digest()
        if self._damaged is not None:
            what, partition, had = self._damaged
            if self._journal(partition) > had:
                outcome.faults.append(f"partition {partition} commits after: {what}")
            return
        found = verdict.judged(self._world, await verdict.read())
        outcome.commits = found.counts["commits"]
        outcome.faults += [f"{check}: {fault}" for check, faults in found.faults.items() for fault in faults]
        if not outcome.commits:
            outcome.faults.append("no commit")

    def _digest(self) -> str:
        whole = hashlib.blake2b(digest_size=8)
        for place, log in self._world.cluster.logs.items():
            whole.update(f"{place}".encode())
            for entry in log.entries:
                whole.update(f"{entry.offset} {entry.timestamp} {entry.mark} {entry.aborted}".encode())
                whole.update((entry.key or b"") + b" " + (entry.value or b""))
        return whole.hexdigest()


def run(day: Day, variant: str = "") -> Outcome:
    """Run a day, of the service or of a broken variant, and judge it."""
    loop = Loop(day.seed)
    asyncio.set_event_loop(loop)
    made = _Run(loop, day)
    try:
        with quiet(), made.world.installed(), VARIANTS[variant].install(made.world):
            try:
                loop.run_until_complete(made.go())
            except NothingLeftError:
                made.outcome.faults.append("nothing will happen any more")
    finally:
        loop.close()
        asyncio.set_event_loop(None)
    return made.outcome


def shrunk(day: Day, variant: str = "") -> Day:
    """Return a day that fails too, and of which nothing more can be left out."""
    while (smaller := _smaller(day, variant)) != day:
        day = smaller
    return day


def _smaller(day: Day, variant: str) -> Day:
    """Return a smaller day that fails too, if there is one: fewer faults, then a shorter load, then fewer processes."""

    def fails(smaller: Day) -> bool:
        return bool(run(smaller, variant).faults)

    n = 0
    while n < len(day.events):
        smaller = replace(day, events=day.events[:n] + day.events[n + 1 :])
        if fails(smaller):
            day = smaller
        else:
            n += 1
    for steps in (1, 2, 3, 4, 6, 8, 10, 12, 15, 18):
        if steps < day.steps and fails(smaller := replace(day, steps=steps)):
            day = smaller
            break
    for members in range(1, day.members):
        if fails(smaller := replace(day, members=members)):
            day = smaller
            break
    return day

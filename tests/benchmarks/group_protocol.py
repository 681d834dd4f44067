"""What Kafka 4's group protocol (KIP-848) changes in a takeover: ``python -m tests.benchmarks.group_protocol``.

Three consumers of confluent-kafka on four partitions, by the classic protocol with the range assignor, as the service
uses it, and by the new one.  One leaves, then one joins; measured until all partitions are owned as before, and how
many partitions a process lost meanwhile although it kept them.
"""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from typing import Any, Final

from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from impactd.shell.broker.broker import find_broker

PARTITIONS: Final = 4
_ROUNDS: Final = 5
_POLL_S: Final = 0.01
_LIMIT_S: Final = 60.0
_BEAT_MS: Final = 300

#: By name: the consumer's options. Heartbeats of the new protocol are the broker's to set.
_PROTOCOLS: Final[dict[str, dict[str, Any]]] = {
    "classic, range": {
        "group.protocol": "classic",
        "partition.assignment.strategy": "range",
        "heartbeat.interval.ms": _BEAT_MS,
        "session.timeout.ms": 6_000,
    },
    "consumer, uniform": {"group.protocol": "consumer", "group.remote.assignor": "uniform"},
}


class Member:
    """A consumer that is polled in its own thread, and tells each change of what it owns."""

    def __init__(self, options: dict[str, Any], topic: str, changed: threading.Condition) -> None:
        self._changed = changed
        self.owned: frozenset[int] = frozenset()
        self.lost: list[int] = []
        self._stop = threading.Event()
        self._consumer = Consumer(options)
        self._consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _assigned(self, _consumer: Any, places: Any) -> None:
        with self._changed:
            self.owned |= {place.partition for place in places}
            self._changed.notify()

    def _revoked(self, _consumer: Any, places: Any) -> None:
        with self._changed:
            self.owned -= {place.partition for place in places}
            self.lost += [place.partition for place in places]
            self._changed.notify()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._consumer.poll(_POLL_S)
        self._consumer.close()

    def leave(self) -> None:
        """Leave the group, and wait until it is done."""
        self._stop.set()
        self._thread.join()


def _settled(members: list[Member]) -> bool:
    owned = [partition for member in members for partition in member.owned]
    return sorted(owned) == list(range(PARTITIONS)) and all(member.owned for member in members)


def _until_settled(members: list[Member], changed: threading.Condition) -> None:
    """Wait until each has something and every partition one owner."""
    with changed:
        if not changed.wait_for(lambda: _settled(members), _LIMIT_S):
            raise RuntimeError(f"not settled within {_LIMIT_S:.0f} s: {[sorted(member.owned) for member in members]}")


def measure(bootstrap: str, options: dict[str, Any]) -> dict[str, list[float]]:
    """Return seconds and needless revocations of each round, after a leave and after a join."""
    name = f"group-protocol-{os.getpid()}-{options['group.protocol']}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result()
    options = options | {"bootstrap.servers": bootstrap, "group.id": name}
    changed = threading.Condition()
    members = [Member(options, name, changed) for _ in range(3)]
    found: dict[str, list[float]] = {}
    _until_settled(members, changed)
    for _ in range(_ROUNDS):
        for what in ("leave", "join"):
            stayed = members[1:] if what == "leave" else members[:]
            before = {id(member): member.owned for member in stayed}
            for member in stayed:
                member.lost.clear()
            started = time.monotonic()
            if what == "leave":
                members.pop(0).leave()
            else:
                members.append(Member(options, name, changed))
            _until_settled(members, changed)
            found.setdefault(f"{what}, s", []).append(time.monotonic() - started)
            kept = [p for member in stayed for p in member.lost if p in before[id(member)] & member.owned]
            found.setdefault(f"{what}, lost and kept", []).append(len(kept))
    for member in members:
        member.leave()
    return found


def main() -> None:
    """Measure both, with the new protocol's heartbeats as the broker has them and as often as the classic ones."""
    quick = {f"group.consumer.{name}heartbeat.interval.ms": str(_BEAT_MS) for name in ("", "min.")}
    for properties in ({}, quick):
        with find_broker(properties=properties) as broker:
            for name, options in _PROTOCOLS.items():
                if properties and options["group.protocol"] == "classic":
                    continue
                for what, values in measure(broker.bootstrap, options).items():
                    sys.stdout.write(
                        f"{name}, {'heartbeats of 300 ms' if properties else 'as the broker is'}: {what}: "
                        f"{statistics.median(values):.2f} in the middle, {max(values):.2f} at most\n"
                    )
                sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Out-of-order events: executions, replaces and cancels that arrive before what they refer to.

A fill can overtake its order, since they are on different topics; a bust can
overtake the fill that it annuls.  Such an event is held until what it refers
to arrives, bounded in time, number and bytes.  An event beyond the bounds goes
to the dead-letter topic with its original bytes, so nothing that was accepted
is lost.

Each event has its own state key, ``held/N``, where N is one more than
the largest in use: the order of arrival, and a function of the state alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from typing import Any, Final

from impactd.core.base.stateful import Changes
from impactd.core.base.topics import Topic
from impactd.core.inputs.events import CancelOrder, Definition, Imbalance, Received, ReplaceOrder, TradingStatus
from impactd.core.orders.codec import Held, dump_held, load_held

#: A record longer than this, with its key, is not held: its state value, in Base64, must stay below 256 kB.
MAX_HELD_BYTES: Final = 150_000

#: Bound on all held records with their keys, so that records of unknown orders cannot fill the memory.
MAX_HELD_TOTAL: Final = 64 * 1024 * 1024

_KEY: Final = "held/"

#: The expiry heap is rebuilt when it has this many entries more than twice the held events.
_SLACK: Final = 64


def topic_of(received: Received[Any]) -> Topic:
    """Return the input topic of an event about an order, an execution or a market."""
    match received.event:
        case ReplaceOrder() | CancelOrder():
            return Topic.ORDERS
        case Definition():
            return Topic.INSTRUMENTS
        case TradingStatus() | Imbalance():
            return Topic.STATUS
        case _:
            return Topic.EXECUTIONS


class HeldEvents:
    """Events that wait for an order or an execution.

    Holding, releasing and expiring an event costs O(log n) of the events held.
    """

    def __init__(self, hold_ns: int, max_held: int) -> None:
        self._hold_ns = hold_ns
        self._max = max_held
        #: By number, ascending.
        self._items: dict[int, Held] = {}
        #: Numbers by what they await, in order of arrival.
        self._waiting: dict[tuple[str, ...], dict[int, None]] = {}
        #: (since, number), smallest first; entries of events that are no longer held are skipped.
        self._expiry: list[tuple[int, int]] = []
        self._bytes = 0
        self._changes = Changes()

    def __len__(self) -> int:
        return len(self._items)

    def hold(self, received: Received[Any], since: int, awaits: tuple[str, ...]) -> str | None:
        """Hold an event that waits since event time `since`; return why it cannot be held, or None."""
        if len(self._items) >= self._max:
            return f"{len(self._items)} events are held already (plans.max_held)"
        size = _size(received)
        if size > MAX_HELD_BYTES:
            return f"a record of {size} bytes is too long to be held"
        if self._bytes + size > MAX_HELD_TOTAL:
            return f"{self._bytes} bytes of records are held already, of {MAX_HELD_TOTAL} at most"
        item = Held(since, received, awaits)
        number = next(reversed(self._items), -1) + 1
        self._put(number, item)
        self._changes.mark(_KEY + str(number), lambda: dump_held(item))
        return None

    def release(self, *awaits: str) -> list[Held]:
        """Return the events that await an order, or an execution of one, in order of arrival; they are let go."""
        return self._drop(list(self._waiting.get(awaits, ())))

    def is_too_old(self, item: Held, now: int) -> bool:
        """Return whether an event has been held for too long at event time `now`."""
        return now - item.since > self._hold_ns

    def expires_by(self, now: int) -> bool:
        """Return whether an event is too old at event time `now`."""
        self._skip_dropped()
        return bool(self._expiry) and now - self._expiry[0][0] > self._hold_ns

    def expire(self, now: int) -> list[Held]:
        """Return the events that are too old at event time `now`, in order of arrival; they are let go."""
        expired = set()
        while self.expires_by(now):
            expired.add(heapq.heappop(self._expiry)[1])
        return self._drop(sorted(expired))

    def changes(self) -> dict[str, bytes | None]:
        """Return the keys that have changed since the last call."""
        return self._changes.take()

    def dump(self) -> dict[str, bytes]:
        """Return every key with its value."""
        return {_KEY + str(number): dump_held(item) for number, item in self._items.items()}

    def load(self, items: Mapping[str, bytes]) -> None:
        """Restore the held events in a whole state."""
        numbers = sorted(int(key.removeprefix(_KEY)) for key in items if key.startswith(_KEY))
        for number in numbers:
            self._put(number, load_held(items[_KEY + str(number)]))

    def _put(self, number: int, item: Held) -> None:
        self._items[number] = item
        self._bytes += _size(item.received)
        self._waiting.setdefault(item.awaits, {})[number] = None
        if len(self._expiry) > 2 * len(self._items) + _SLACK:
            self._expiry = [(held.since, n) for n, held in self._items.items()]
            heapq.heapify(self._expiry)
        else:
            heapq.heappush(self._expiry, (item.since, number))

    def _drop(self, numbers: Iterable[int]) -> list[Held]:
        dropped = []
        for number in numbers:
            item = self._items.pop(number)
            self._bytes -= _size(item.received)
            del self._waiting[item.awaits][number]
            if not self._waiting[item.awaits]:
                del self._waiting[item.awaits]
            self._changes.delete(_KEY + str(number))
            dropped.append(item)
        return dropped

    def _skip_dropped(self) -> None:
        """Remove entries from the top of the heap whose event is no longer held."""
        while self._expiry:
            since, number = self._expiry[0]
            item = self._items.get(number)
            if item is not None and item.since == since:
                return
            heapq.heappop(self._expiry)


def _size(received: Received[Any]) -> int:
    return len(received.raw) + len(received.key or b"")

"""Events that came before what they refer to.

A fill can overtake its order, since they stand on different topics; a bust
can overtake the fill it annuls.  Such an event is held until what it refers
to is there, bounded in time, in number and in size.  What the bounds refuse
goes to the dead-letter topic as it was sent, so that nothing accepted is lost.

Each event has a state key of its own, ``held/N``, where N is one more than
the largest in use: the order of arrival, and a function of the state alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from impactd.core.base.topics import Topic
from impactd.core.inputs.events import CancelOrder, Received, ReplaceOrder
from impactd.core.orders.codec import dump_held, load_held

#: A record longer than this, with its key, is not held: its state value, in Base64, has to stay below 256 kB.
MAX_HELD_BYTES: Final = 150_000

#: What all held records may take together, with their keys: strangers' records must not fill the memory.
MAX_HELD_TOTAL: Final = 64 * 1024 * 1024


class Held(NamedTuple):
    """An event, and since when it is held (event time, ns)."""

    since: int
    received: Received[Any]


def topic_of(received: Received[Any]) -> Topic:
    """Return the input topic that an order event or an execution belongs to."""
    return Topic.ORDERS if isinstance(received.event, ReplaceOrder | CancelOrder) else Topic.EXECUTIONS


class HeldEvents:
    """Events waiting for an order or an execution.

    Parameters
    ----------
    hold_ns : int
        How long an event is held, in event time.
    max_held : int
        How many are held at once.
    """

    def __init__(self, hold_ns: int, max_held: int) -> None:
        self._hold_ns = hold_ns
        self._max = max_held
        #: By number, ascending.
        self._items: dict[int, Held] = {}
        self._by_order: dict[str, list[int]] = {}
        self._bytes = 0
        #: State keys that changed since the last commit; None stands for a tombstone.
        self.changed: dict[str, Callable[[], bytes] | None] = {}

    def __len__(self) -> int:
        return len(self._items)

    def hold(self, received: Received[Any], since: int) -> str | None:
        """Hold an event that waits since event time `since`; return why it cannot be held, or None."""
        if len(self._items) >= self._max:
            return f"{len(self._items)} events are held already (plans.max_held)"
        size = _size(received)
        if size > MAX_HELD_BYTES:
            return f"a record of {size} bytes is too long to be held"
        if self._bytes + size > MAX_HELD_TOTAL:
            return f"{self._bytes} bytes of records are held already, of {MAX_HELD_TOTAL} at most"
        item = Held(since, received)
        number = next(reversed(self._items), -1) + 1
        self._put(number, item)
        self.changed[f"held/{number}"] = lambda: dump_held(item)
        return None

    def release(self, cl_ord_id: str) -> list[Held]:
        """Return what is held for an order, in order of arrival; it is held no longer."""
        return self._drop(self._by_order.get(cl_ord_id, ()))

    def awaits(self, cl_ord_id: str, exec_id: str) -> bool:
        """Return whether a correction or bust of `exec_id` is held."""
        waiting = (self._items[number].received.event for number in self._by_order.get(cl_ord_id, ()))
        return any(getattr(event, "exec_ref_id", None) == exec_id for event in waiting)

    def is_too_old(self, item: Held, now: int) -> bool:
        """Return whether an event has been held for too long at event time `now`."""
        return now - item.since > self._hold_ns

    def expires_by(self, now: int) -> bool:
        """Return whether something is too old at event time `now`."""
        return any(self.is_too_old(item, now) for item in self._items.values())

    def expire(self, now: int) -> list[Held]:
        """Return what is too old at event time `now`, in order of arrival; it is held no longer."""
        return self._drop([number for number, item in self._items.items() if self.is_too_old(item, now)])

    def load(self, values: Iterable[tuple[int, bytes]]) -> None:
        """Restore events from (number, state value)."""
        for number, value in sorted(values):
            self._put(number, Held(*load_held(value)))

    def save(self) -> dict[str, bytes]:
        """Return every state key with its value."""
        return {f"held/{number}": dump_held(item) for number, item in self._items.items()}

    def _put(self, number: int, item: Held) -> None:
        self._items[number] = item
        self._bytes += _size(item.received)
        self._by_order.setdefault(item.received.event.cl_ord_id, []).append(number)

    def _drop(self, numbers: Iterable[int]) -> list[Held]:
        dropped = []
        for number in list(numbers):
            item = self._items.pop(number)
            self._bytes -= _size(item.received)
            cl_ord_id = item.received.event.cl_ord_id
            self._by_order[cl_ord_id].remove(number)
            if not self._by_order[cl_ord_id]:
                del self._by_order[cl_ord_id]
            self.changed[f"held/{number}"] = None
            dropped.append(item)
        return dropped


def _size(received: Received[Any]) -> int:
    return len(received.raw) + len(received.key or b"")

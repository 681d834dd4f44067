"""Events that came before what they refer to.

A fill can overtake its order, since they stand on different topics; a bust
can overtake the fill it annuls.  Such an event is held until what it refers
to is there, bounded in time and in number.  What the bounds refuse goes to
the dead-letter topic as it was sent, so that nothing accepted is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from impactd.core.events import CancelOrder, Received, ReplaceOrder
from impactd.core.messages import Topic
from impactd.core.saved import dump_held, load_held


def topic_of(received: Received[Any]) -> Topic:
    """Return the input topic that an order event or an execution belongs to."""
    return Topic.ORDERS if isinstance(received.event, ReplaceOrder | CancelOrder) else Topic.EXECUTIONS


class HeldEvents:
    """Events waiting for an order or an execution, by the order's cl_ord_id.

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
        self._items: dict[str, list[tuple[int, Received[Any]]]] = {}
        self._n = 0
        #: State keys that changed since the last commit; None stands for a tombstone.
        self.changed: dict[str, Callable[[], bytes] | None] = {}

    def __len__(self) -> int:
        return self._n

    def hold(self, received: Received[Any], now: int) -> bool:
        """Hold an event from event time `now` on; False when there is no room."""
        if self._n >= self._max:
            return False
        cl_ord_id = received.event.cl_ord_id
        self._keep(cl_ord_id, [*self._items.get(cl_ord_id, []), (now, received)])
        return True

    def release(self, cl_ord_id: str) -> list[Received[Any]]:
        """Return what is held for an order, in order of arrival; it is held no longer."""
        items = self._items.get(cl_ord_id, [])
        if items:
            self._keep(cl_ord_id, [])
        return [item for _, item in items]

    def awaits(self, cl_ord_id: str, exec_id: str) -> bool:
        """Return whether a correction or bust of `exec_id` is held."""
        items = self._items.get(cl_ord_id, [])
        return any(getattr(item.event, "exec_ref_id", None) == exec_id for _, item in items)

    def expire(self, now: int) -> list[Received[Any]]:
        """Return what has been held for too long at event time `now`; it is held no longer."""
        old: list[Received[Any]] = []
        for cl_ord_id in sorted(self._items):
            items = self._items[cl_ord_id]
            kept = [entry for entry in items if now - entry[0] <= self._hold_ns]
            if len(kept) < len(items):
                old += [item for since, item in items if now - since > self._hold_ns]
                self._keep(cl_ord_id, kept)
        return old

    def load(self, cl_ord_id: str, value: bytes) -> None:
        """Restore the events held for an order from their state value."""
        self._items[cl_ord_id] = load_held(value)
        self._n += len(self._items[cl_ord_id])

    def save(self) -> dict[str, bytes]:
        """Return every state key with its value."""
        return {f"held/{cl_ord_id}": dump_held(items) for cl_ord_id, items in sorted(self._items.items())}

    def _keep(self, cl_ord_id: str, items: list[tuple[int, Received[Any]]]) -> None:
        self._n += len(items) - len(self._items.get(cl_ord_id, []))
        key = f"held/{cl_ord_id}"
        if items:
            self._items[cl_ord_id] = items
            self.changed[key] = lambda: dump_held(items)
        else:
            self._items.pop(cl_ord_id, None)
            self.changed[key] = None

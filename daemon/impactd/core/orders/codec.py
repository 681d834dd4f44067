"""Orders, executions and held events as values of the state topic, and back.

Executions are kept in chunks of `EXECUTIONS_A_KEY`, because an order may have
tens of thousands of them and a value must stay far below the largest message.
What was assumed is kept in chunks of time (`assumed_chunk`), because each minute adds to the last one alone.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from itertools import islice
from operator import attrgetter
from typing import Any, Final, NamedTuple

import orjson

from impactd.core.base.instrument import Instrument
from impactd.core.base.topics import Side
from impactd.core.inputs.events import Bust, CancelOrder, Correct, Fill, NewOrder, Received, ReplaceOrder
from impactd.core.inputs.terms import plain_term, terms_from
from impactd.core.orders.auction import Entry
from impactd.core.orders.costs import Costs, Mark
from impactd.core.orders.order import Execution, Order, Status
from impactd.core.orders.schedule import Schedule

EXECUTIONS_A_KEY: Final = 500

#: A chunk of what was assumed is so many powers of two of a nanosecond.
_CHUNK_BITS: Final = 40

#: Values of an execution between its exec_id and its mark.
_N_FIELDS: Final = len(Execution._fields) - 2


class Held(NamedTuple):
    """An event that arrived before what it refers to."""

    #: Event time since which it is held, ns.
    since: int
    received: Received[Any]
    #: The id of an unknown order, or the first id of an order and the exec_id of an unknown execution.
    awaits: tuple[str, ...]


_EVENT_TYPES: Final = {cls.__name__: cls for cls in (NewOrder, ReplaceOrder, CancelOrder, Fill, Correct, Bust)}

_ORDER_FIELDS: Final = tuple(
    f.name for f in dataclasses.fields(Order) if f.name not in {"executions", "assumed", "reassumed"}
)
_values_of: Final = attrgetter(*_ORDER_FIELDS)


def dump_order(order: Order) -> bytes:
    """Return the state value of an order, without its executions and what was assumed."""
    fields = dict(zip(_ORDER_FIELDS, _values_of(order), strict=True))
    fields["schedule"] = order.schedule.save()
    fields["auctions"] = [tuple(entry) for entry in order.auctions]
    fields["alerted"] = sorted(order.alerted)
    fields["costs"] = order.costs.save()
    fields["closed"] = None if order.closed is None else [order.closed[0], str(order.closed[1])]
    fields["filled_in"] = list(order.filled_in.items())
    fields["n_executions"] = len(order.executions)
    fields["instrument"] = order.instrument.values()
    return orjson.dumps(fields)


def load_order(value: bytes) -> tuple[Order, int]:
    """Return the order in a state value, and how many executions it has in other keys."""
    fields: dict[str, Any] = orjson.loads(value)
    n_executions: int = fields.pop("n_executions")
    fields["new"] = _new_order(fields["new"])
    fields["schedule"] = Schedule.load(fields["schedule"])
    fields["status"] = Status(fields["status"])
    fields["terms"] = terms_from(fields["terms"])
    fields["instrument"] = Instrument(**fields["instrument"])
    fields["cost_band"] = None if fields["cost_band"] is None else tuple(fields["cost_band"])
    fields["auctions"] = tuple(Entry(*entry) for entry in fields["auctions"])
    fields["alerted"] = set(fields["alerted"])
    fields["filled_in"] = dict(fields["filled_in"])
    fields["costs"] = Costs.load(fields["costs"])
    fields["closed"] = None if fields["closed"] is None else (fields["closed"][0], int(fields["closed"][1]))
    return Order(**fields), n_executions


def dump_executions(order: Order, chunk: int) -> bytes:
    """Return the state value of the `chunk`-th group of an order's executions."""
    items = islice(order.executions.items(), chunk * EXECUTIONS_A_KEY, (chunk + 1) * EXECUTIONS_A_KEY)
    return orjson.dumps([[exec_id, *execution[1:-1], *(execution.mark or ())] for exec_id, execution in items])


def load_executions(value: bytes, first: int = 0) -> dict[str, Execution]:
    """Return the executions in a state value, in order of arrival; `first` is the position of the first one."""
    return {
        exec_id: Execution._make((n, *fields[:_N_FIELDS], Mark(*fields[_N_FIELDS:]) if fields[_N_FIELDS:] else None))
        for n, (exec_id, *fields) in enumerate(orjson.loads(value), first)
    }


def assumed_chunk(start: int) -> int:
    """Return the number of the chunk, some 18 minutes, that an interval with this start (ns) is in."""
    return start >> _CHUNK_BITS


def dump_assumed(order: Order, chunk: int) -> bytes:
    """Return the state value of what was assumed in the intervals of a chunk."""
    first, last = chunk << _CHUNK_BITS, (chunk + 1 << _CHUNK_BITS) - 1
    return orjson.dumps(sorted([start, qty] for start, qty in order.assumed.items() if first <= start <= last))


def load_assumed(value: bytes) -> dict[int, int]:
    """Return what was assumed, by start of the interval."""
    return dict(orjson.loads(value))


def dump_held(held: Held) -> bytes:
    """Return the state value of a held event."""
    item = held.received
    return orjson.dumps(
        {
            "since": held.since,
            "awaits": held.awaits,
            "type": type(item.event).__name__,
            "event": item.event,
            "offset": item.offset,
            "ts_record": item.ts_record,
            "raw": base64.b64encode(item.raw).decode("ascii"),
            "key": None if item.key is None else base64.b64encode(item.key).decode("ascii"),
        }
    )


def load_held(value: bytes) -> Held:
    """Return the held event in a state value."""
    entry: dict[str, Any] = orjson.loads(value)
    received = Received(
        _event(entry["type"], entry["event"]),
        entry["offset"],
        entry["ts_record"],
        base64.b64decode(entry["raw"]),
        None if entry["key"] is None else base64.b64decode(entry["key"]),
    )
    return Held(entry["since"], received, tuple(entry["awaits"]))


def _new_order(fields: Mapping[str, Any]) -> NewOrder:
    return NewOrder(**{**fields, "side": Side(fields["side"]), "terms": terms_from(fields["terms"])})


def _event(name: str, fields: dict[str, Any]) -> Any:
    if name == "NewOrder":
        return _new_order(fields)
    if name == "ReplaceOrder":
        changes = tuple((key, plain_term(value)) for key, value in fields["changes"])
        return ReplaceOrder(**{**fields, "changes": changes})
    return _EVENT_TYPES[name](**fields)

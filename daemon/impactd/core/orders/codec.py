"""Orders, executions and held events as values of the state topic, and back.

Executions are kept in chunks of `EXECUTIONS_A_KEY`, because an order may have
tens of thousands of them and a value must stay far below the largest message.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

import orjson

from impactd.core.base.topics import Side
from impactd.core.inputs.events import Bust, CancelOrder, Correct, Fill, NewOrder, Received, ReplaceOrder
from impactd.core.inputs.terms import plain_term, terms_from
from impactd.core.orders.costs import Costs, Mark
from impactd.core.orders.order import Execution, Order, Status
from impactd.core.orders.schedule import Schedule

EXECUTIONS_A_KEY: Final = 500

_EVENT_TYPES: Final = {cls.__name__: cls for cls in (NewOrder, ReplaceOrder, CancelOrder, Fill, Correct, Bust)}

_ORDER_FIELDS: Final = tuple(f.name for f in dataclasses.fields(Order) if f.name != "executions")


def dump_order(order: Order) -> bytes:
    """Return the state value of an order, without its executions."""
    fields = {name: getattr(order, name) for name in _ORDER_FIELDS}
    fields["alerted"] = sorted(order.alerted)
    fields["costs"] = order.costs.save()
    fields["closed"] = None if order.closed is None else [order.closed[0], str(order.closed[1])]
    fields["n_executions"] = len(order.executions)
    return orjson.dumps(fields)


def load_order(value: bytes) -> tuple[Order, int]:
    """Return the order in a state value, and how many executions it has in other keys."""
    fields: dict[str, Any] = orjson.loads(value)
    n_executions: int = fields.pop("n_executions")
    fields["new"] = _new_order(fields["new"])
    fields["schedule"] = Schedule(**fields["schedule"])
    fields["status"] = Status(fields["status"])
    fields["terms"] = terms_from(fields["terms"])
    fields["alerted"] = set(fields["alerted"])
    fields["costs"] = Costs.load(fields["costs"])
    fields["closed"] = None if fields["closed"] is None else (fields["closed"][0], int(fields["closed"][1]))
    return Order(**fields), n_executions


def dump_executions(order: Order, chunk: int) -> bytes:
    """Return the state value of the `chunk`-th group of an order's executions."""
    items = islice(order.executions.items(), chunk * EXECUTIONS_A_KEY, (chunk + 1) * EXECUTIONS_A_KEY)
    return orjson.dumps([[exec_id, *execution[:2], *(execution.mark or ())] for exec_id, execution in items])


def load_executions(value: bytes) -> dict[str, Execution]:
    """Return the executions in a state value, in the order of their arrival."""
    return {
        exec_id: Execution(qty, px, Mark(*mark) if mark else None) for exec_id, qty, px, *mark in orjson.loads(value)
    }


def dump_held(held: tuple[int, Received[Any]]) -> bytes:
    """Return the state value of an event that waits for its order: (held since, event)."""
    since, item = held
    return orjson.dumps(
        {
            "since": since,
            "type": type(item.event).__name__,
            "event": item.event,
            "offset": item.offset,
            "ts_record": item.ts_record,
            "raw": base64.b64encode(item.raw).decode("ascii"),
            "key": None if item.key is None else base64.b64encode(item.key).decode("ascii"),
        }
    )


def load_held(value: bytes) -> tuple[int, Received[Any]]:
    """Return the event time since which the event in a state value is held, ns, and the event."""
    entry: dict[str, Any] = orjson.loads(value)
    received = Received(
        _event(entry["type"], entry["event"]),
        entry["offset"],
        entry["ts_record"],
        base64.b64decode(entry["raw"]),
        None if entry["key"] is None else base64.b64decode(entry["key"]),
    )
    return entry["since"], received


def _new_order(fields: Mapping[str, Any]) -> NewOrder:
    return NewOrder(**{**fields, "side": Side(fields["side"]), "terms": terms_from(fields["terms"])})


def _event(name: str, fields: dict[str, Any]) -> Any:
    if name == "NewOrder":
        return _new_order(fields)
    if name == "ReplaceOrder":
        changes = tuple((key, plain_term(value)) for key, value in fields["changes"])
        return ReplaceOrder(**{**fields, "changes": changes})
    return _EVENT_TYPES[name](**fields)

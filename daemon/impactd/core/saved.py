"""The state of one partition as keys and values of a compacted topic.

Rules:

- one key a thing that changes by itself: ``meta``, ``settings``,
  ``tape/SYMBOL``, ``market/SYMBOL``, ``tca/SYMBOL``, ``order/ID``,
  ``execs/ID/N``, ``held/N``; so that a commit writes only what it changed and no value grows
  without bound;
- floats are written by their shortest exact decimal and read back bit for
  bit; arrays are written as their bytes;
- positions are part of ``meta``, so that state and position cannot disagree.

Executions are kept in chunks of `EXECUTIONS_A_KEY`, because an order may have
tens of thousands of them and a value must stay far below the largest message.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final, TypeVar

import orjson

from impactd.core.events import Bust, CancelOrder, Correct, Fill, NewOrder, Received, ReplaceOrder, Side
from impactd.core.order import Execution, Order, Status
from impactd.core.schedule import Schedule
from impactd.core.settings import (
    BookSettings,
    CoreSettings,
    GateSettings,
    InvalidSettings,
    ModelSettings,
    PlanSettings,
    SessionRule,
    WireSettings,
)
from impactd.core.tca import Costs, Mark

#: Version of everything in this module; a state of another version is migrated or refused.
SCHEMA_VERSION: Final = 4

#: The key of what the state says of itself, and that of the settings that it was made under.
META: Final = "meta"
SETTINGS: Final = "settings"

EXECUTIONS_A_KEY: Final = 500

_EVENT_TYPES: Final = {cls.__name__: cls for cls in (NewOrder, ReplaceOrder, CancelOrder, Fill, Correct, Bust)}


_ORDER_FIELDS: Final = tuple(f.name for f in dataclasses.fields(Order) if f.name != "executions")


class StateMismatchError(Exception):
    """A saved state that these settings, this release or this topic cannot continue."""


def settings_hash(settings: CoreSettings) -> str:
    """Return the hash of all that can change a published byte beside the inputs (16 hex digits)."""
    return hash_of(dataclasses.asdict(settings))


def hash_of(fields: Mapping[str, Any]) -> str:
    """Return the hash of settings that are given as a mapping."""
    return hashlib.sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


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
    fields["blackouts"] = _windows(fields["blackouts"])
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
    """Return the held event in a state value, and since when it is held."""
    entry: dict[str, Any] = orjson.loads(value)
    received = Received(
        _event(entry["type"], entry["event"]),
        entry["offset"],
        entry["ts_record"],
        base64.b64decode(entry["raw"]),
        None if entry["key"] is None else base64.b64decode(entry["key"]),
    )
    return entry["since"], received


def _windows(pairs: list[list[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((start, end) for start, end in pairs)


def _new_order(fields: Mapping[str, Any]) -> NewOrder:
    return NewOrder(**{**fields, "side": Side(fields["side"]), "blackouts": _windows(fields["blackouts"])})


def _event(name: str, fields: dict[str, Any]) -> Any:
    if name == "NewOrder":
        return _new_order(fields)
    if name == "ReplaceOrder":
        changes = tuple((key, _windows(value) if key == "blackouts" else value) for key, value in fields["changes"])
        return ReplaceOrder(**{**fields, "changes": changes})
    return _EVENT_TYPES[name](**fields)


def settings_from(fields: Mapping[str, Any]) -> CoreSettings:
    """Return the settings that a journal record holds in full.

    Raises
    ------
    TypeError
        If they are those of a release with other settings, or a section is missing or none.
    """
    named = dict(fields)
    for section in ("books", "model", "plans", "session"):
        if not isinstance(named.get(section), Mapping):
            raise TypeError(f"settings.{section}: is not a section; read the record with the release that wrote it")
    return CoreSettings(
        books=_settings(BookSettings, named.pop("books")),
        model=_settings(ModelSettings, named.pop("model")),
        plans=_settings(PlanSettings, named.pop("plans")),
        session=_settings(SessionRule, named.pop("session")),
        gate=_settings(GateSettings, named.pop("gate", {})),
        invalid=_settings(InvalidSettings, named.pop("invalid", {})),
        wire=_settings(WireSettings, named.pop("wire", {})),
        **named,
    )


S = TypeVar("S")


def _settings(cls: type[S], fields: Mapping[str, Any]) -> S:
    """Return a section with the tuples that JSON has turned into lists."""
    return cls(**{name: _tuples(value) for name, value in fields.items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value

"""Tables of plans, executions and costs: one row per record, with its place on its topic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol, get_args, get_origin

import orjson

from impactd.core.base.topics import Topic
from impactd.core.outputs.messages import DayCost, FillCost, OrderCost, Plan
from impactd.core.outputs.units import Unit
from impactd.shell.kafka.consume import ConsumedRecord
from impactd.wire.codec import Limits
from impactd.wire.json_orders import decode_events
from impactd.wire.message_types import field_type, message_fields, message_type


class Kind(StrEnum):
    """Form of a column. A time is a whole number of ns since the epoch, UTC; JSON is text of an object or of pairs."""

    TEXT = "text"
    TIME = "time"
    WHOLE = "whole"
    NUMBER = "number"
    FLAG = "flag"
    JSON = "json"
    TIMES = "times"
    NUMBERS = "numbers"
    TEXTS = "texts"


class Table(NamedTuple):
    """A table: the topic whose records of one type are its rows."""

    name: str
    topic: Topic
    #: `type` of its records; None: all of the topic.
    type: str | None
    #: `partition` and `offset` first; together they name a row.
    columns: Mapping[str, Kind]


class Place(NamedTuple):
    """Whose rows a sink has taken, up to which offset: of a table, and a partition of the topic of this name."""

    table: str
    topic: str
    partition: int


class Sink(Protocol):
    """Takes rows, each range of offsets whole or not at all."""

    def positions(self) -> Mapping[Place, int]:
        """Return the offset that follows what is already there."""

    def write(self, table: Table, place: Place, first: int, end: int, rows: Sequence[Sequence[Any]]) -> None:
        """Take the rows of the offsets [first, end); `first` is the position."""


_PLACE: Final = {"partition": Kind.WHOLE, "offset": Kind.WHOLE}

_KIND_OF: Final[Mapping[type, Kind]] = {int: Kind.WHOLE, float: Kind.NUMBER, bool: Kind.FLAG, str: Kind.TEXT}


def _kind(hint: Any) -> Kind:
    base, unit, _, _ = field_type(hint)
    if get_origin(base) is tuple:
        inner = _kind(get_args(base)[0])
        of_inner = {Kind.TIME: Kind.TIMES, Kind.TEXT: Kind.TEXTS, Kind.JSON: Kind.JSON}
        return of_inner.get(inner, Kind.NUMBERS)
    if get_origin(base) is dict or is_dataclass(base):
        return Kind.JSON
    if unit is Unit.TIME:
        return Kind.TIME
    if unit is Unit.QUANTA:
        return Kind.NUMBER
    return _KIND_OF.get(base, Kind.TEXT)


def _output(name: str, topic: Topic, cls: type) -> Table:
    columns = {field: _kind(hint) for field, hint in message_fields(cls).items()}
    return Table(name, topic, message_type(cls), {**_PLACE, **columns})


TABLES: Final = (
    _output("plans", Topic.PLANS, Plan),
    Table(
        "executions",
        Topic.EXECUTIONS,
        None,
        {
            **_PLACE,
            **dict.fromkeys(("type", "exec_id", "exec_ref_id", "cl_ord_id", "symbol"), Kind.TEXT),
            "last_qty": Kind.NUMBER,
            "last_px": Kind.NUMBER,
            "last_liquidity_ind": Kind.TEXT,
            "venue": Kind.TEXT,
            "ts_event": Kind.TIME,
        },
    ),
    _output("fill_costs", Topic.TCA, FillCost),
    _output("order_costs", Topic.TCA, OrderCost),
    _output("day_costs", Topic.TCA, DayCost),
)


def tables_of(topic: Topic) -> list[Table]:
    """Return the tables that a topic's records are rows of."""
    return [table for table in TABLES if table.topic is topic]


def rows(
    topic: Topic, records: Sequence[ConsumedRecord], limits: Limits | None = None
) -> tuple[list[tuple[Table, list[Any]]], int]:
    """Return the rows of records, each with its table, and how many records are no message of the service.

    Executions that the service refuses have no row; those that it takes have its reading of their times and ids.
    """
    tables = [(table, list(table.columns.items())[len(_PLACE) :]) for table in tables_of(topic)]
    taken: dict[int, Any] = {}
    if topic is Topic.EXECUTIONS:
        values, offsets = [record.value or b"" for record in records], [record.offset for record in records]
        decoded = decode_events(topic, values, offsets, [record.timestamp for record in records], limits=limits)
        taken = {item.offset: item.event for item in decoded.events}
        records = [record for record in records if record.offset in taken]
    found: list[tuple[Table, list[Any]]] = []
    foreign = 0
    for record in records:
        try:
            message = orjson.loads(record.value or b"null")
            if (event := taken.get(record.offset)) is not None:
                message |= {"cl_ord_id": event.cl_ord_id, "ts_event": event.ts_event}
            (table, names) = next(one for one in tables if one[0].type in (None, message["type"]))
            row = [record.partition, record.offset, *(_CONVERT[kind](message.get(name)) for name, kind in names)]
        except (ValueError, TypeError, KeyError, AttributeError, StopIteration):
            foreign += 1
            continue
        found.append((table, row))
    return found, foreign


def _each(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda values: None if values is None else [None if value is None else convert(value) for value in values]


def _known(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


def _whole(value: Any) -> int:
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{number} has more than 64 bits")
    return number


#: From a record's values; times and quantities may be strings there.
_CONVERT: Final[Mapping[Kind, Callable[[Any], Any]]] = {
    Kind.TEXT: _known(str),
    Kind.TIME: _known(_whole),
    Kind.WHOLE: _known(_whole),
    Kind.NUMBER: _known(float),
    Kind.FLAG: _known(bool),
    Kind.JSON: _known(lambda value: orjson.dumps(value).decode()),
    Kind.TIMES: _each(_whole),
    Kind.NUMBERS: _each(float),
    Kind.TEXTS: _each(str),
}

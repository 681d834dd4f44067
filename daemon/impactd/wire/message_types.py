"""Encoders generated from the types of messages: a dataclass in, a JSON object out.

A field's converter follows from its type and unit (`impactd.core.outputs.units`);
a class's table of them is made once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from functools import cache, lru_cache
from operator import attrgetter
from types import UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from impactd.core.base.quantity import format_qty
from impactd.core.base.topics import Side
from impactd.core.outputs.units import Unit

Timestamps = Literal["int", "string"]
Convert = Callable[[Any], Any]


class FieldType(NamedTuple):
    """A field's type, taken apart."""

    #: Without Annotated and None.
    base: Any
    #: The outermost that its annotations name.
    unit: Unit | None
    meaning: str
    optional: bool


def field_type(hint: Any) -> FieldType:
    """Take a type hint apart."""
    unit: Unit | None = None
    meaning = ""
    optional = False
    while True:
        origin = get_origin(hint)
        if origin is Annotated:
            for extra in hint.__metadata__:
                if isinstance(extra, Unit):
                    unit = unit or extra
                else:
                    meaning = meaning or str(extra)
            hint = hint.__origin__
        elif origin in (UnionType, Union):
            (hint,) = (item for item in get_args(hint) if item is not type(None))
            optional = True
        else:
            return FieldType(hint, unit, meaning, optional)


def message_fields(cls: type) -> Mapping[str, Any]:
    """Return the published fields of a message's class with their type hints, in their order."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls)}


def is_left_out(item: Field[Any]) -> bool:
    """Return whether a field of a message is not published while it has its default."""
    return "left_out" in item.metadata


def message_type(cls: type) -> str | None:
    """Return a message's `type` field, the name in its schema; None for a part of a message."""
    schema = getattr(cls, "SCHEMA", None)
    return None if schema is None else str(schema).partition(".")[2].partition("/")[0]


@cache
def encoder_of(cls: type, timestamps: Timestamps) -> Convert:
    """Return what turns a message of this class into its JSON object."""
    kind = message_type(cls)
    head = () if kind is None else (kind,)
    hints = message_fields(cls)
    names = tuple(hints)
    converters = [(name, made) for name, hint in hints.items() if (made := _converter(hint, timestamps)) is not None]
    values_of = attrgetter(*names) if len(names) > 1 else lambda message: (getattr(message, names[0]),)
    keys = (*(() if kind is None else ("type",)), *names)
    absent = [(item.name, item.default) for item in fields(cls) if is_left_out(item)]

    def encode(message: Any) -> dict[str, Any]:
        made: dict[str, Any] = dict(zip(keys, (*head, *values_of(message)), strict=True))
        for name, convert in converters:
            value = made[name]
            if value is not None:
                made[name] = convert(value)
        for name, default in absent:
            if getattr(message, name) == default:
                del made[name]
        return made

    return encode


def _converter(hint: Any, timestamps: Timestamps) -> Convert | None:
    """Return what writes a value other than None; None where it is written as it is."""
    base, unit, _, _ = field_type(hint)
    if get_origin(base) is tuple:
        of_each = _converter(get_args(base)[0], timestamps)
        return _OF_MANY.get(of_each) or _each(of_each)
    if get_origin(base) is dict:
        each = _each(_converter(get_args(base)[1], timestamps))
        return lambda value: dict(zip(value, each(value.values()), strict=True))
    if is_dataclass(base):
        return encoder_of(base, timestamps)  # type: ignore[arg-type]  # a class here, never an instance
    if unit is Unit.TIME:
        return str if timestamps == "string" else None
    if unit is Unit.QUANTA:
        return format_qty
    if base is float:
        return quantity if unit is Unit.SIZE else number
    if base is Side:
        return str
    if base in _PLAIN:
        return None
    raise TypeError(f"{hint} has no encoding")


_PLAIN: Final = (int, str, bool)


def _each(convert: Convert | None) -> Convert:
    if convert is None:
        return list
    return lambda values: [None if value is None else convert(value) for value in values]


@lru_cache(maxsize=4_096)
def _quantity(quanta: int | None) -> int | float | None:
    return None if quanta is None else format_qty(quanta)


def _quantities(values: Sequence[int | None]) -> list[int | float | None]:
    """Return quantities as `format_qty` does; they are kept, as most of a plan's hundreds are the same few."""
    return list(map(_quantity, values))


def number(value: float) -> float | None:
    """Return a number that JSON can hold, without a negative zero."""
    return value + 0 if value - value == 0.0 else None


def _numbers(values: Sequence[float | None]) -> list[float | None]:
    """Return numbers as `number` does."""
    return [None if value is None or value - value != 0.0 else value + 0 for value in values]


def quantity(value: float) -> float | int | None:
    """Return a measured quantity: an integer when whole."""
    if value - value != 0.0:
        return None
    return int(value) if abs(value) < 2**63 and value == int(value) else value + 0


#: What converts a tuple without a call for each of its values.
_OF_MANY: Final[Mapping[Convert | None, Convert]] = {format_qty: _quantities, number: _numbers}

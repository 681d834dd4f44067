"""The messages as types of the client, read from the core's messages and terms."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Final, get_args, get_origin

from impactd.core.base.topics import Side
from impactd.core.inputs.terms import Terms
from impactd.core.outputs.messages import (
    Alert,
    AuctionEntry,
    Certificate,
    DayCost,
    FillCost,
    ModelRef,
    OrderCost,
    Plan,
    Slice,
    SupplyPoint,
    VenuePart,
)
from impactd.core.outputs.units import Unit
from impactd.wire.message_types import field_type, is_left_out, message_fields, message_type
from tests.reference.outputs import meaning_of

_HEAD: Final = '''\
# Made by python -m tests.write_reference.
"""Messages as the client's types: what orders may say, and what the service publishes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NotRequired, Required, TypedDict

#: A number, or a decimal string where it has to be exact.
Quantity = int | float | str

#: ns since the epoch, UTC, or a datetime with a zone.
Time = int | datetime
'''

#: Messages that a client can follow, and their parts, each after those that it has.
_PUBLISHED: Final = (
    ModelRef, Certificate, AuctionEntry, VenuePart, SupplyPoint, Plan, Slice, Alert, FillCost, OrderCost, DayCost,
)  # fmt: skip

_PLAIN: Final[dict[Any, str]] = {
    int: "int",
    float: "float",
    str: "str",
    bool: "bool",
    Side: 'Literal["buy", "sell"]',
}

_GIVEN: Final[dict[Unit | None, str]] = {
    Unit.QUANTA: "Quantity",
    Unit.TIME: "Time",
    Unit.SHARE: "float",
    Unit.PER_CURRENCY: "float",
    Unit.PRICE: "float",
    Unit.BPS: "float",
    Unit.SECONDS: "float",
    Unit.AUCTIONS: 'Literal["none", "open", "close", "both"]',
    Unit.URGENCY: 'float | Literal["low", "normal", "high", "get_done"]',
    Unit.WINDOWS: "Sequence[tuple[Time, Time]]",
    Unit.VENUES: "Sequence[str]",
    Unit.FLAG: "bool",
}


def text() -> str:
    """Return the module."""
    optional = [item.name for item in fields(Terms) if item.default is not MISSING]
    needed = [item.name for item in fields(Terms) if item.default is MISSING]
    parts = [
        _HEAD,
        _terms("Instructions", "Terms that an order may do without; None clears one.", optional, "{} | None"),
        _terms("Terms", "Terms of a new order.", needed, "Required[{}]"),
        _terms("Amendments", "Terms that a replace changes.", needed, "{}"),
    ]
    parts += [_published(cls) for cls in _PUBLISHED]
    return "\n\n".join(parts).rstrip("\n") + "\n"


def _terms(name: str, doc: str, chosen: Sequence[str], form: str) -> str:
    """Return the type with these of the terms, each of the `form` around its own."""
    hints = message_fields(Terms)
    base = "TypedDict" if name == "Instructions" else "Instructions"
    lines = [f"class {name}({base}, total=False):", f'    """{doc}"""', ""]
    for term in chosen:
        unit = field_type(hints[term]).unit
        own = _GIVEN[unit] if unit in _GIVEN else _form(hints[term])
        lines += _field(term, form.format(own), meaning_of(hints[term]))
    return "\n".join(lines) + "\n"


def _published(cls: Any) -> str:
    kind = message_type(cls)
    lines = [f"class {cls.__name__}(TypedDict):", f'    """{cls.__doc__.splitlines()[0]}"""', ""]
    if kind is not None:
        lines.append(f'    type: Literal["{kind}"]')
    left_out = {item.name for item in fields(cls) if is_left_out(item)}
    for name, hint in message_fields(cls).items():
        form = _form(hint)
        lines += _field(name, f"NotRequired[{form}]" if name in left_out else form, meaning_of(hint))
    return "\n".join(lines) + "\n"


def _field(name: str, form: str, meaning: str) -> list[str]:
    return [*textwrap.wrap(meaning, 114, initial_indent="    #: ", subsequent_indent="    #: "), f"    {name}: {form}"]


def _form(hint: Any) -> str:
    base, unit, _, optional = field_type(hint)
    if get_origin(base) is tuple:
        of = get_args(base)
        form = f"list[{_form(of[0])}]"
    elif get_origin(base) is dict:
        form = "dict[str, float]"
    elif is_dataclass(base):
        form = base.__name__  # type: ignore[union-attr]  # a class here, never an instance
    else:
        form = "float" if unit in {Unit.QUANTA, Unit.SIZE} else _PLAIN[base]
    return f"{form} | None" if optional else form

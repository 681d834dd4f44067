"""Fields of our JSON, checked one by one.

Each function returns the field's value or raises `FieldError` with the reason
and a sentence that names the field and the remedy.  Numbers and decimal
strings follow one grammar, JSON's, so that ``31.2`` and ``"31.2"`` mean the
same and ``"0x1F"``, ``"1_000"`` or ``" 1"`` mean nothing.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson

from impactd.core.base.limits import LARGEST_PX, SMALLEST_PX
from impactd.core.base.quantity import QuantityError, parse_qty
from impactd.core.base.topics import Side
from impactd.core.base.venue import VENUE_NAME, is_venue
from impactd.wire.codec import FieldError, shown

MAX_SYMBOL: Final = 32
MAX_ID: Final = 64

#: Longer decimal strings are no measurement.
_MAX_DECIMAL: Final = 40
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)


def parse_json(value: bytes) -> Any:
    """Return the JSON document in `value`; NaN, which JSON has no word for, is a float.

    Raises
    ------
    FieldError
        ``empty``, ``truncated``, ``not_finite`` or ``json``.
    """
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        if not value:
            raise FieldError("empty", "the record has no value; send a JSON object") from None
        rest = error.doc[error.pos : error.pos + 9]
        if error.msg.startswith("unexpected end"):
            raise FieldError("truncated", f"the JSON ends early, after {len(value)} bytes; send it whole") from None
        if rest.startswith("NaN"):
            return _with_nan(value, error)
        if rest.startswith(("Infinity", "-Infinity")) or error.msg.startswith("number is infinity"):
            raise FieldError("not_finite", f"{shown(rest)} at {error.pos} is not a finite number; send one") from None
        raise FieldError("json", f"not JSON: {error.msg} at {error.pos}; send one JSON document in UTF-8") from None


def _with_nan(value: bytes, error: orjson.JSONDecodeError) -> Any:
    """Return a document with NaN in it, as pandas and others write what is missing."""
    try:
        return json.loads(value, parse_int=lambda text: int(text) if len(text) < 20 else float(text))
    except (ValueError, RecursionError):
        raise FieldError("json", f"not JSON: {error.msg} at {error.pos}; send one JSON document in UTF-8") from None


def is_blank(value: object) -> bool:
    """Return whether a value means nothing: null or NaN."""
    return value is None or (type(value) is float and value != value)  # noqa: PLR0124  (NaN)


def parse_object(value: object) -> dict[str, Any]:
    """Return `value` if it is a JSON object."""
    if type(value) is not dict:
        raise FieldError("type", f"{shown(value)} is not a JSON object; send one, with a type field")
    return value


def require(obj: dict[str, Any], field: str) -> Any:
    """Return a field that has to be there, and not null."""
    value = obj.get(field)
    if is_blank(value):
        raise FieldError("missing_field", f"{field} is missing; send it")
    return value


def parse_number(value: object, field: str) -> float:
    """Return a finite float from a JSON number or a decimal string; never a negative zero."""
    if type(value) is float or type(value) is int:
        if value - value != 0.0:
            raise FieldError("not_finite", f"{field}: {shown(value)} is not a finite number; send one, or leave it out")
        return value + 0.0
    if type(value) is str and len(value) <= _MAX_DECIMAL and _DECIMAL.fullmatch(value):
        number = float(value)
        if number - number != 0.0:
            raise FieldError("not_finite", f"{field}: {shown(value)} is beyond float64; send a finite number")
        return number + 0.0
    raise FieldError("type", f"{field}: {shown(value)} is not a number; send a number or a decimal string")


def parse_price(value: object, field: str) -> float:
    """Return a price within the bounds that the core's arithmetic has; the instrument says if it may be 0 or less."""
    px = parse_number(value, field)
    if px != 0.0 and not SMALLEST_PX <= abs(px) < LARGEST_PX:
        raise FieldError(
            "value", f"{field}: {shown(value)} is not a price; send one from {SMALLEST_PX:g} to {LARGEST_PX:g}"
        )
    return px


def parse_flag(value: object, field: str) -> bool:
    """Return a boolean."""
    if type(value) is bool:
        return value
    raise FieldError("type", f"{field}: {shown(value)} is not a boolean; send true, false or null")


def parse_text(value: object, field: str, limit: int) -> str:
    """Return a printable text of 1..limit characters."""
    if type(value) is not str:
        raise FieldError("type", f"{field}: {shown(value)} is not a string; send one")
    if not 0 < len(value) <= limit:
        raise FieldError("value", f"{field}: {len(value)} characters; send 1 to {limit}")
    if not value.isprintable():
        raise FieldError("value", f"{field}: {shown(value)} is not printable; send printable characters")
    return value


def parse_symbol(value: object) -> str:
    """Return the symbol."""
    return parse_text(value, "symbol", MAX_SYMBOL)


def parse_venue(value: object, field: str = "venue") -> str:
    """Return the name of a venue."""
    if type(value) is not str or not is_venue(value):
        reason = "value" if type(value) is str else "type"
        raise FieldError(reason, f"{field}: {shown(value)} is not a venue; send {VENUE_NAME}, such as XNAS")
    return value


def parse_side(value: object) -> Side:
    """Return the side of an order."""
    if value == "buy":
        return Side.BUY
    if value == "sell":
        return Side.SELL
    raise FieldError("value", f'side: {shown(value)} is not a side; send "buy" or "sell"')


def parse_positive_qty(value: object, field: str) -> int:
    """Return a quantity above zero, in quanta."""
    if type(value) is str and not _DECIMAL.fullmatch(value):
        raise FieldError("value", f"{field}: {shown(value)} is not a decimal number; send one as JSON writes it")
    try:
        quanta = parse_qty(value, field)
    except QuantityError as error:
        reason = "type" if not isinstance(value, int | float | str) or isinstance(value, bool) else "value"
        if isinstance(value, float) and value - value != 0.0:
            reason = "not_finite"
        raise FieldError(reason, str(error)) from None
    if quanta <= 0:
        raise FieldError("value", f"{field}: {shown(value)} is not positive; send a quantity above 0")
    return quanta

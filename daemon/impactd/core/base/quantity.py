"""Order quantities as exact integers.

A quantity is held as an integer number of *quanta*, each 1e-9 of a share,
contract or coin.  Identities such as ``order_qty = cum_qty + leaves_qty``
then hold exactly for coins as they do for shares, and a lot size such as
0.0001 has no rounding error.  Books keep their sizes as float64: they are
measurements, not obligations.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

#: Quanta in one share, contract or coin.
QUANTA: Final = 1_000_000_000

#: The largest quantity accepted: 9e9 units keep every sum of a plan inside int64.
MAX_QUANTA: Final = 9_000_000_000 * QUANTA

_MAX_UNITS: Final = Decimal(MAX_QUANTA // QUANTA)
_NINE_PLACES: Final = Decimal(1).scaleb(-9)


class QuantityError(ValueError):
    """A quantity that is not a finite decimal of at most nine places."""


def parse_qty(value: object, field: str) -> int:
    """Return `value` as quanta.

    Parameters
    ----------
    value : int, float or str
        A whole number, a JSON number, or a decimal string.  A float stands
        for the shortest decimal that reads back as it.

    Returns
    -------
    int
        Quanta (1e-9 units); negative where `value` is.

    Raises
    ------
    QuantityError
        If `value` is not a number, not finite, has more than nine decimal
        places, or is larger than 9e9 units.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise QuantityError(f"{field}: {value!r} is not a number; send an integer or a decimal string")
    if isinstance(value, str) and len(value) > 40:
        raise QuantityError(f"{field}: a decimal string of {len(value)} characters is not a quantity")
    try:
        exact = Decimal(value) if isinstance(value, int) else Decimal(str(value).strip())
    except InvalidOperation:
        raise QuantityError(f"{field}: {value!r} is not a decimal number") from None
    if not exact.is_finite():
        raise QuantityError(f"{field}: {value!r} is not finite")
    # A comparison is exact; arithmetic, abs() too, would overflow at an exponent of a billion.
    if not -_MAX_UNITS <= exact <= _MAX_UNITS:
        raise QuantityError(f"{field}: {value!r} is larger than {MAX_QUANTA // QUANTA} units")
    rounded = exact.quantize(_NINE_PLACES)
    if rounded != exact:
        raise QuantityError(f"{field}: {value!r} has more than nine decimal places")
    return int(rounded.scaleb(9))


def positive_qty(value: object, field: str) -> int:
    """Return `value` as quanta, above 0; see `parse_qty`.

    Raises
    ------
    QuantityError
        If it is no quantity, or not positive.
    """
    quanta = parse_qty(value, field)
    if quanta <= 0:
        raise QuantityError(f"{field}: {value!r} is not positive; give a quantity above 0")
    return quanta


def format_qty(quanta: int) -> int | float:
    """Return `quanta` as a JSON number: an integer when whole.

    The float of a fraction is the one nearest to the exact decimal, as Python divides integers, so it is
    printed as that decimal for up to fifteen significant digits.
    """
    whole, rest = divmod(quanta, QUANTA)
    return quanta / QUANTA if rest else whole


def to_float(quanta: int) -> float:
    """Return `quanta` in units, as the nearest float64."""
    return quanta / QUANTA

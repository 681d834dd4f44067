"""Quantities are exact, or refused: no number in any notation makes the parser fail."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impactd.core.base.quantity import MAX_QUANTA, QUANTA, QuantityError, format_qty, parse_qty


@pytest.mark.parametrize(
    "value",
    [
        *("9e999999999", "-9e999999999", "1e-999999999", "1e99999999999999999999", "1e-99999999999999999999", "sNaN"),
        *("", "1e", "inf", "9000000000.000000001", "0.0000000001", 1e308, 5e-324, 10**400, None, True, [1]),
    ],
)
def test_parse_qty_what_is_no_quantity_is_refused_by_its_field(value: object) -> None:
    with pytest.raises(QuantityError, match=r"^order_qty: "):
        parse_qty(value, "order_qty")


@given(st.integers(-MAX_QUANTA, MAX_QUANTA))
def test_parse_qty_any_quantity_as_a_decimal_string_is_exact(quanta: int) -> None:
    assert parse_qty(format(Decimal(quanta).scaleb(-9), "f"), "qty") == quanta


@given(st.integers(-MAX_QUANTA, MAX_QUANTA))
def test_format_qty_is_the_float_nearest_to_the_decimal(quanta: int) -> None:
    assert format_qty(quanta) == float(Decimal(quanta).scaleb(-9))


@given(st.integers(0, MAX_QUANTA // QUANTA))
def test_format_qty_whole_quantity_is_an_integer_and_reads_back(units: int) -> None:
    assert format_qty(parse_qty(units, "qty")) == units

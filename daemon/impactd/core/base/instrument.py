"""Instruments: what a price and a quantity of a symbol mean.

A definition comes from the settings (`CoreSettings.instruments`), from the
topic of definitions or from the feed.  A field that is None is not stated; the
settings' value then counts before a record's.

The cost of trading q at p above mid is q p M in the instrument's currency, with
M its multiplier: 50 for a future of 50 dollars a point.  Quantities of an FX
pair are in its base currency, and its costs in the quote currency with M = 1.

An order keeps the definition under which it was taken, so a later one changes
neither its lot nor the unit of its costs.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Final

from impactd.core.base.quantity import QUANTA, format_qty, positive_qty
from impactd.core.base.setting import setting

_CURRENCY: Final = re.compile(r"[A-Z][A-Z0-9]{1,9}", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,31}", re.ASCII)

#: No contract is worth more a point; with it every cost stays far inside float64.
MAX_MULTIPLIER: Final = 1e9
MIN_MULTIPLIER: Final = 1e-9


@dataclass(frozen=True)
class Instrument:
    """The definition of one instrument.

    Raises
    ------
    ValueError
        If a value cannot be used; the text names the field and the remedy.
    """

    tick_size: float | None = setting(None, "Smallest difference of two prices.", unit="price", gt=0)
    lot_size: float | None = setting(None, "Lot of orders that state none.", unit="shares", gt=0)
    multiplier: float | None = setting(
        None,
        "Currency that one unit of quantity gains when the price rises by 1; 1 if unset.",
        unit="currency",
        ge=MIN_MULTIPLIER,
        le=MAX_MULTIPLIER,
    )
    currency: str | None = setting(None, "Currency of costs, such as USD; of an FX pair its quote currency.")
    min_qty: float | None = setting(None, "Smallest quantity of an order.", unit="shares", gt=0)
    max_qty: float | None = setting(None, "Largest quantity of an order.", unit="shares", gt=0)
    calendar: str | None = setting(None, "Calendar of its trading hours, such as XNYS.")
    asset_class: str | None = setting(None, "Asset class, such as equity, future, spread, fx or crypto.")
    negative_px: bool | None = setting(None, "Whether prices at or below zero are valid.")

    def __post_init__(self) -> None:
        for name in ("lot_size", "min_qty", "max_qty"):
            value = getattr(self, name)
            if value is not None:
                self._quanta(name)
        for name in ("tick_size", "multiplier"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < float("inf"):
                raise ValueError(f"{name}: {value} is not positive and finite; give the {name.replace('_', ' ')}")
        if self.multiplier is not None and not MIN_MULTIPLIER <= self.multiplier <= MAX_MULTIPLIER:
            raise ValueError(
                f"multiplier: {self.multiplier:g} is not in [{MIN_MULTIPLIER:g}, {MAX_MULTIPLIER:g}]; give currency "
                "that one unit of quantity gains when the price rises by 1"
            )
        if self.currency is not None and not _CURRENCY.fullmatch(self.currency):
            raise ValueError(f"currency: {self.currency!r} is not a code such as USD or USDT; give one in capitals")
        for name in ("calendar", "asset_class"):
            value = getattr(self, name)
            if value is not None and not _NAME.fullmatch(value):
                raise ValueError(f"{name}: {value!r} is not a name of up to 32 letters, digits, dots or dashes")
        if self.min_qty is not None and self.max_qty is not None and self.min_qty > self.max_qty:
            raise ValueError("min_qty is above max_qty; lower it, or leave one of them out")

    def _quanta(self, name: str) -> int:
        return positive_qty(getattr(self, name), name)

    def over(self, other: Instrument) -> Instrument:
        """Return this definition with what it does not state taken from another."""
        return Instrument(**{k: getattr(other, k) if v is None else v for k, v in self.values().items()})

    def values(self) -> dict[str, Any]:
        """Return the fields by name; `dataclasses.asdict` copies in depth, which shows where each order is saved."""
        return {name: getattr(self, name) for name in FIELDS}

    @property
    def lot(self) -> int:
        """Lot of orders that state none, quanta."""
        return QUANTA if self.lot_size is None else self._quanta("lot_size")

    @cached_property
    def scale(self) -> Fraction:
        """The multiplier, exactly as its decimal says."""
        return Fraction(1) if self.multiplier is None else Fraction(repr(float(self.multiplier)))

    @property
    def points(self) -> float:
        """The multiplier, 1 where none is stated: currency a unit of quantity and price."""
        return 1.0 if self.multiplier is None else float(self.multiplier)

    @property
    def unit(self) -> tuple[Fraction, str | None]:
        """What its costs are counted in: two definitions with different ones cannot share a sum."""
        return self.scale, self.currency

    def in_ticks(self, px: float | None) -> float | None:
        """Return a difference of prices in ticks; None where either is unknown."""
        return None if px is None or self.tick_size is None else px / self.tick_size

    def refuses(self, order_qty: int) -> str | None:
        """Return why an order of this many quanta cannot be taken, or None."""
        if self.min_qty is not None and order_qty < self._quanta("min_qty"):
            return f"order_qty {format_qty(order_qty)} is below the instrument's min_qty {self.min_qty:.12g}; send more"
        if self.max_qty is not None and order_qty > self._quanta("max_qty"):
            return f"order_qty {format_qty(order_qty)} is above the instrument's max_qty {self.max_qty:.12g}; send less"
        return None


#: A definition that states nothing.
UNDEFINED: Final = Instrument()

#: Names of a definition's fields, in order.
FIELDS: Final = tuple(field.name for field in dataclasses.fields(Instrument))

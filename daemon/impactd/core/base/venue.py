"""Venues: the places where one symbol trades.

A tick that names its venue is one of the symbol *at* that venue: inside the core such a row has the name
`at_venue(symbol, venue)`, which no symbol from outside can have.  The books of a symbol's venues are kept apart under
these names, and merged under the symbol's own (`impactd.core.books.merge`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from impactd.core.base.quantity import positive_qty
from impactd.core.base.setting import setting

#: No name from outside holds it, for it is not printable.
_MARK: Final = "\x1f"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", re.ASCII)
VENUE_NAME: Final = "1 to 32 letters, digits, dots, dashes and underscores"

#: Most that a fee or rebate can be, basis points: a tenth of the price, above any there is.
MAX_FEE_BPS: Final = 1_000.0
MAX_FEE_PER_UNIT: Final = 1e6


def is_venue(name: str) -> bool:
    """Return whether a text can name a venue."""
    return _NAME.fullmatch(name) is not None


def at_venue(symbol: str, venue: str | None) -> str:
    """Return the name of a symbol at a venue; the symbol itself without one."""
    return symbol if venue is None else f"{symbol}{_MARK}{venue}"


def whole_of(name: str) -> str:
    """Return the symbol of a name that may be one at a venue."""
    return name.partition(_MARK)[0]


def in_words(name: str) -> str:
    """Return a name as people read it, such as AMZN at XNAS."""
    return name.replace(_MARK, " at ")


def venue_of(name: str) -> str | None:
    """Return the venue of a name; None of a symbol by itself."""
    return name.partition(_MARK)[2] or None


@dataclass(frozen=True, slots=True)
class VenueRule:
    """What is stated of a venue, for the symbols that a pattern matches.

    Raises
    ------
    ValueError
        If a value cannot be used; the text names the field and the remedy.
    """

    name: str = ""
    symbols: tuple[str, ...] = ("*",)
    taker_fee_bps: float = setting(
        0.0, "Fee of taking, of the notional; a rebate is negative.", ge=-MAX_FEE_BPS, le=MAX_FEE_BPS
    )
    taker_fee_per_unit: float = setting(
        0.0,
        "Fee of taking, for each share, contract or coin, in the currency of costs; a rebate is negative.",
        unit="currency",
        ge=-MAX_FEE_PER_UNIT,
        le=MAX_FEE_PER_UNIT,
    )
    lot_size: float | None = setting(
        None, "Quantities sent there are multiples of it; unset: of the order's lot.", unit="shares", gt=0
    )
    max_book_age_ns: int | None = setting(
        None,
        "Age beyond which its book is not used; unset: `books.max_book_age_s`.",
        gt=0,
        le=366 * 86_400 * 1_000_000_000,
    )
    publishers: tuple[str, ...] = setting(
        (),
        "Values of a `publisher_id`, `exchange` or like column that mean this venue, such as 2.",
    )

    def __post_init__(self) -> None:
        if self.name and not is_venue(self.name):
            raise ValueError(f"name: {self.name!r} is not a venue; give {VENUE_NAME}")
        if self.lot_size is not None:
            self.lot()

    def is_about(self, symbol: str) -> bool:
        """Return whether one of its patterns matches a symbol."""
        return any(fnmatchcase(symbol, pattern) for pattern in self.symbols)

    def lot(self) -> int | None:
        """Return the lot, quanta; None where none is stated."""
        return None if self.lot_size is None else positive_qty(self.lot_size, "lot_size")


def rule_of(rules: tuple[VenueRule, ...], symbol: str, venue: str) -> VenueRule:
    """Return the first rule that is about a symbol at a venue; one that states nothing where there is none."""
    for rule in rules:
        if rule.name == venue and rule.is_about(symbol):
            return rule
    return VenueRule(venue)


def named_venue(rules: tuple[VenueRule, ...], text: str) -> str | None:
    """Return the venue that a column's value means: one of the names, or of their publishers."""
    for rule in rules:
        if text == rule.name or text in rule.publishers:
            return rule.name
    return None

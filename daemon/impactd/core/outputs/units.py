"""Units of fields: a field's type names its unit; codecs and the reference read it.

``Annotated[Currency | None, "What the half-spread cost."]`` states all of a field: form, unit and meaning.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated


class Unit(StrEnum):
    """What a number counts; the text is the reference's."""

    TIME = "ns since the epoch, UTC"
    """Published as an integer, or as a string where the settings ask for it."""
    QUANTA = "shares, contracts or coins"
    """Quanta inside the core; published as a quantity, an integer when whole."""
    SIZE = "shares, contracts or coins, measured"
    """A float inside the core; published as an integer when whole."""
    PRICE = "price"
    PER_SHARE = "price per share"
    CURRENCY = "currency"
    BPS = "basis points"
    SECONDS = "s"
    SHARE = "share of 1"
    PER_CURRENCY = "1/currency"
    URGENCY = "low, normal, high, get_done, or a number from 0 to 10"
    AUCTIONS = "none, open, close or both"
    WINDOWS = "[start, end) pairs of ns since the epoch, UTC"
    VENUES = "names of venues"
    FLAG = "true or false"
    COUNT = "count"


Time = Annotated[int, Unit.TIME]
Quanta = Annotated[int, Unit.QUANTA]
Size = Annotated[float, Unit.SIZE]
Price = Annotated[float, Unit.PRICE]
PerShare = Annotated[float, Unit.PER_SHARE]
Currency = Annotated[float, Unit.CURRENCY]
Bps = Annotated[float, Unit.BPS]
Seconds = Annotated[float, Unit.SECONDS]
WholeSeconds = Annotated[int, Unit.SECONDS]
Share = Annotated[float, Unit.SHARE]
Count = Annotated[int, Unit.COUNT]
Urgency = Annotated[float, Unit.URGENCY]
PerCurrency = Annotated[float, Unit.PER_CURRENCY]
Windows = Annotated[tuple[tuple[int, int], ...], Unit.WINDOWS]
Venues = Annotated[tuple[str, ...], Unit.VENUES]
Auctions = Annotated[str, Unit.AUCTIONS]
Flag = Annotated[bool, Unit.FLAG]

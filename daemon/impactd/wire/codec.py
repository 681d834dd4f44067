"""Shared by all codecs: limits on a record, reasons to refuse one, and the result of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Self

from impactd.core.base.publisher import NO_INSTRUMENT, NO_PUBLISHER, publisher_number
from impactd.core.base.settings import CoreSettings
from impactd.core.base.venue import VenueRule, at_venue, named_venue
from impactd.core.inputs.events import Received
from impactd.core.inputs.ticks import Refused, TickBatch

#: In place of a record's timestamp: take it from the data, ``ts_recv or ts_event`` floored to the millisecond.
FROM_DATA: Final = -1

#: Every reason for which the wire refuses a record, and what it means.
REASONS: Final = {
    "corrupt": "the compressed stream is damaged",
    "empty": "the record has no value",
    "encoding": "not UTF-8",
    "gap": "changes of a book are missing before this one, or its snapshot is; the book has ended",
    "instrument": "an order of another instrument id than those of the symbol's book before",
    "json": "not JSON",
    "missing_field": "a field that is needed is absent",
    "not_finite": "NaN, an infinity, or a number beyond float64",
    "publisher": "an order of another publisher than those of the symbol's book before",
    "schema": "the bytes do not match the schema that they name",
    "sentinel": "a traded quantity that means 'undefined'",
    "time_unit": "a time whose magnitude fits another unit than `wire.time_unit`",
    "too_deep": "more levels than the limit",
    "too_large": "more bytes than the limit",
    "truncated": "the record ends early",
    "type": "a field has the wrong type",
    "unknown_codec": "the codec that the record's header names does not exist",
    "unknown_field": "an order, execution or control has a field that is not known",
    "unknown_type": "an order, execution or control has a type that is not known",
    "unknown_schema": "the schema registry has no such schema, or it cannot be used",
    "unmapped": "a row of an instrument or publisher that `--symbol` does not name",
    "value": "a field has a value that is not allowed",
}

#: Reasons that are alerted by symbol.
OF_SYMBOL: Final = frozenset({"gap", "instrument", "publisher"})

MAX_DETAIL: Final = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one record may hold, so that none can exhaust memory, and the unit of its times."""

    max_message_bytes: int = 1_000_000
    max_levels: int = 100
    #: Unit of times that are whole numbers; a key of `impactd.wire.times.UNITS`.
    time_unit: str = "ns"
    #: Venues of the settings, which the columns of tables and Databento's publishers are named by.
    venues: tuple[VenueRule, ...] = ()

    @property
    def has_instruments(self) -> bool:
        """Whether a book has one instrument id: not where one venue has several publishers, with ids of their own."""
        return all(len(venue.publishers) < 2 for venue in self.venues)

    @classmethod
    def of(cls, settings: CoreSettings) -> Self:
        """Return the limits that settings state."""
        wire = settings.wire
        return cls(wire.max_message_bytes, settings.books.max_levels, wire.time_unit, settings.venues)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of a batch of records."""

    #: The rows of all good records, in the order of the records.
    batch: TickBatch
    refused: list[Refused] = field(default_factory=list)
    #: Messages whose `type` this release does not know.
    skipped_unknown: int = 0
    #: Definitions and trading statuses among them, in the same order.
    events: list[Received[Any]] = field(default_factory=list)
    #: Offsets of the records that books built from changes may depend on, ascending; only of a live codec.
    building: list[int] = field(default_factory=list)


class FieldError(Exception):
    """A field that cannot be used; becomes a `Refused` where its record is known.

    Attributes
    ----------
    symbol : str or None
        Of a gap: whose book ends. Of an order of another publisher or instrument: whose book it would have changed.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = bounded(detail)
        self.symbol: str | None = None

    def unraised(self) -> FieldError:
        """Return the error for keeping: the frames that a raised one refers to hold every record of a fetch."""
        found = FieldError(self.reason, self.detail)
        found.symbol = self.symbol
        return found


class GapError(FieldError):
    """Changes of a book are missing before a record: it is refused, and the row that ends the book is kept."""

    def __init__(self, detail: str) -> None:
        super().__init__("gap", detail)


def bounded(detail: str) -> str:
    """Return `detail`, cut to what a header or log line should hold."""
    return detail if len(detail) <= MAX_DETAIL else detail[: MAX_DETAIL - 3] + "..."


def shown(value: object) -> str:
    """Return `value` for an error message, never longer than a line."""
    # The slice comes first: the text of a large list must not be made whole only to be cut.
    text = repr(value[:40] if isinstance(value, str | bytes | list) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def floor_ms(ts_ns: int) -> int:
    """Return a time floored to the millisecond, which is all that a Kafka timestamp holds."""
    return ts_ns // 1_000_000 * 1_000_000


def instrument_of(limits: Limits, text: str) -> int:
    """Return the number of a row's instrument id; 0 where a book may have several ids."""
    return publisher_number(text) if limits.has_instruments else NO_INSTRUMENT


def placed(symbol: str, limits: Limits, column: str, text: str) -> tuple[str, int]:
    """Return the name and the publisher of a row by its column of venues.

    Where venues are set, each has books of its own, whatever publishers it has; otherwise the symbol's book is of one
    publisher.

    Raises
    ------
    FieldError
        If venues are set, and none has this name or publisher.
    """
    if not limits.venues:
        return symbol, publisher_number(text)
    venue = named_venue(limits.venues, text) if text else None
    if text and venue is None:
        raise FieldError(
            "value", f"{column}: {shown(text)} is no venue of the settings; add it to publishers in [[venues]]"
        )
    return at_venue(symbol, venue), NO_PUBLISHER

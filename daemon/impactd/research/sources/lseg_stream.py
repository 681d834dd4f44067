"""LSEG's books by price as a stream: ``MarketByPrice`` messages of the WebSocket API [1]_.

- A ``Refresh`` gives the whole book, perhaps in parts: all but the last have
  ``Complete`` false.  Its first part clears the old book (``ClearCache``, true
  if absent).  An ``Update`` gives changes; those that come between the parts
  of a refresh count.  Before the first refresh is complete there is no book.
- ``Map.Entries`` are the price points.  ``Action`` is Add, Update or Delete,
  ``Key`` names the point, ``Fields`` are ``ORDER_PRC``, ``ORDER_SIDE`` (BID or
  ASK), ``ACC_SIZE``, ``NO_ORD``, ``LV_TIM_MS`` or ``LV_TIM_NS``, ``LV_DATE``; an
  update names those that have changed.
- ``Key.Name`` is the instrument.  Updates may lack it: their ``ID`` is then
  the one that its refresh had.
- Messages have no time of their own.  A book prevails from ``Date-Time``, if
  the recorder of the message has added it; otherwise from the newest of the
  levels' times and the Summary's (``ACTIV_DATE`` with ``TIMACT_MS`` or
  ``TIMACT_NS``), which a mere deletion has not: it counts from the last time
  known.  Books never run back.
- A ``Status`` is skipped: what prevailed continues until the next refresh.

.. [1] LSEG, WebSocket API developer guide and RDM usage guide, Market By Price
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import pandas as pd

from impactd.research.errors import MALFORMED, MISSING_COLUMNS, ValidationError
from impactd.research.sources.fields import Record, Side, is_missing, level, name_of, number, whole

#: Sides by name, and as the field dictionary's enumeration has them.
_SIDES: Final = {"BID": 0, "1": 0, "ASK": 1, "2": 1}

_DAY_NS: Final = 86_400_000_000_000


@dataclass(frozen=True, slots=True)
class PriceBook:
    """A book after a message; `bids` and `asks` are (price, size), best first."""

    name: str
    ts_ns: int
    bids: Side
    asks: Side


@dataclass(slots=True)
class _Stream:
    """Book state of one instrument."""

    points: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: (price, size) of the points with a price and a size, by side and key.
    sides: tuple[dict[str, tuple[float, float]], dict[str, tuple[float, float]]] = field(
        default_factory=lambda: ({}, {})
    )
    refreshed: bool = False
    in_parts: bool = False
    date: object = None
    ts_ns: int | None = None


def is_message(record: Record) -> bool:
    """Return whether a record is a message of the WebSocket API, of whatever kind."""
    if record.get("Domain") in {"MarketByPrice", "Login"} or "Map" in record:
        return True
    return record.get("Type") in {"Refresh", "Update", "Status", "Ping", "Pong", "Error"}


class LostBookError(Exception):
    """A message that cannot be used, of an instrument whose book is unknown from then on."""

    def __init__(self, error: Exception, name: str, ts_ns: int | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.name = name
        self.ts_ns = ts_ns


class PriceBooks:
    """Applies messages, and keeps the books of all instruments.

    Parameters
    ----------
    n_levels : int
        Best levels a side that a `PriceBook` has.
    """

    def __init__(self, n_levels: int) -> None:
        self._n_levels = n_levels
        self._streams: dict[str, _Stream] = {}
        self._names: dict[Any, str] = {}

    def apply(self, message: Record) -> PriceBook | None:
        """Apply a message; return the book after it, or None where there is none or it does not concern one.

        Raises
        ------
        LostBookError
            If the message cannot be used: its instrument has no book until the next refresh.
        ValidationError
            1002 if it names no instrument.
        """
        kind = message.get("Type")
        if kind not in {"Refresh", "Update"} or message.get("Domain", "MarketByPrice") != "MarketByPrice":
            return None
        name = self._name(message)
        stream = self._streams.setdefault(name, _Stream())
        try:
            return self._applied(name, stream, message)
        except (ValidationError, TypeError, AttributeError) as error:
            self._streams[name] = _Stream(date=stream.date, ts_ns=stream.ts_ns)
            raise LostBookError(error, name, stream.ts_ns) from error

    def _applied(self, name: str, stream: _Stream, message: Record) -> PriceBook | None:
        if message["Type"] == "Refresh":
            first = not stream.in_parts or message.get("PartNum") == 0
            if first and message.get("ClearCache", True):
                stream.points.clear()
                for side in stream.sides:
                    side.clear()
            stream.in_parts = not message.get("Complete", True)
            stream.refreshed = stream.refreshed or not stream.in_parts
        table = message.get("Map") or {}
        summary = (table.get("Summary") or {}).get("Fields") or {}
        stream.date = summary.get("ACTIV_DATE") or stream.date
        entries = table.get("Entries") or []
        for entry in entries:
            _change(stream, entry)
        times = [] if stream.ts_ns is None else [stream.ts_ns]
        stream.ts_ns = max([*times, *_times(message, summary, entries, stream.date)], default=None)
        if stream.in_parts or not stream.refreshed:
            return None
        if stream.ts_ns is None:
            raise ValidationError(
                MISSING_COLUMNS, "LV_TIM_MS with LV_DATE or ACTIV_DATE: missing", "record a Date-Time with each message"
            )
        bids, asks = (sorted(side.values()) for side in stream.sides)
        return PriceBook(name, stream.ts_ns, bids[: -self._n_levels - 1 : -1], asks[: self._n_levels])

    def _name(self, message: Record) -> str:
        name = name_of(message.get("Key") or {}, "Name")
        if name is None:
            name = self._names.get(message.get("ID"))
        if name is None:
            raise ValidationError(
                MISSING_COLUMNS, f"Key.Name: missing, and no refresh had the ID {message.get('ID')!r}", "give it"
            )
        if "ID" in message:
            self._names[message["ID"]] = name
        return name


def _change(stream: _Stream, entry: Record) -> None:
    """Apply one entry of a map."""
    action, key = entry.get("Action"), str(entry.get("Key"))
    if action not in {"Add", "Update", "Delete"}:
        raise ValidationError(MALFORMED, f"Action: {action!r} is unknown", "give Add, Update or Delete")
    for side in stream.sides:
        side.pop(key, None)
    if action == "Delete":
        stream.points.pop(key, None)
        return
    old = stream.points.get(key, {}) if action == "Update" else {}
    point = stream.points[key] = {**old, **(entry.get("Fields") or {})}
    index = _SIDES.get(str(point.get("ORDER_SIDE", "")).strip().upper())
    if index is None:
        raise ValidationError(
            MALFORMED if "ORDER_SIDE" in point else MISSING_COLUMNS,
            f"ORDER_SIDE: {point.get('ORDER_SIDE')!r} is not a side",
            "give BID or ASK",
        )
    for pair in level(number(point, "ORDER_PRC"), number(point, "ACC_SIZE")):
        stream.sides[index][key] = pair


def _times(message: Record, summary: Record, entries: list[Record], date: object) -> Iterator[int]:
    """Yield all times that a message names, in ns."""
    stamp = message.get("Date-Time")
    if not is_missing(stamp):
        yield _iso_ns(str(stamp))
        return
    for fields, of_date, names in (
        (summary, "ACTIV_DATE", ("TIMACT_NS", "TIMACT_MS")),
        *((entry.get("Fields") or {}, "LV_DATE", ("LV_TIM_NS", "LV_TIM_MS")) for entry in entries),
    ):
        day = date if is_missing(fields.get(of_date)) else fields[of_date]
        name = next((name for name in names if not is_missing(fields.get(name))), None)
        if name is not None and day is not None:
            yield _iso_ns(str(day)) + _of_day_ns(fields, name)


@lru_cache(maxsize=64)
def _iso_ns(text: str) -> int:
    try:
        at = pd.Timestamp(text)
        return int((at.tz_localize("UTC") if at.tzinfo is None else at).as_unit("ns").value)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValidationError(
            MALFORMED, f"Date-Time, LV_DATE, ACTIV_DATE: {text!r} is not a time", "give ISO"
        ) from error


def _of_day_ns(fields: Record, name: str) -> int:
    """Return a time of day, whole milliseconds or HH:MM:SS with a fraction, in ns."""
    value = fields[name]
    if isinstance(value, str) and ":" in value:
        try:
            ns = pd.Timedelta(value).as_unit("ns").value
        except ValueError as error:
            raise ValidationError(MALFORMED, f"{name}: {value!r} is not a time of day", "give HH:MM:SS") from error
    else:
        ns = whole(fields, name) * 1_000_000
    if not 0 <= ns <= _DAY_NS:
        raise ValidationError(MALFORMED, f"{name}: {value!r} is not a time of day", "give ms since midnight, GMT")
    return int(ns)

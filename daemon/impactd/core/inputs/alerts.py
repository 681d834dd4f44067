"""Feed-quality alerts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import orjson

from impactd.core.base.publisher import NO_INSTRUMENT, publisher_text
from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import Side, Topic
from impactd.core.inputs.events import REFUSED
from impactd.core.inputs.reject_rate import InvalidShare
from impactd.core.inputs.ticks import Refused
from impactd.core.outputs.messages import Alert
from impactd.core.outputs.outbox import Outbox

#: Reasons of refused ticks that are alerted by symbol: the alert's kind, and what is counted.
BY_SYMBOL: Final = {
    "gap": ("book_gap", "gap"),
    "publisher": ("other_publisher", "order"),
    "instrument": ("other_instrument", "order"),
}


class FeedAlerts:
    """Alerts about unusable input.

    Attributes
    ----------
    told : tuple of (int, int)
        Number of dropped rows that has been alerted, and the event time before which no further alert is published, ns.
    """

    def __init__(self, settings: CoreSettings, outbox: Outbox) -> None:
        self._outbox = outbox
        self._interval = settings.books.interval_ns
        self._max_symbols = settings.max_symbols
        self.told = (0, 0)
        #: By kind and symbol: refusals that have not been alerted, and the time before which none is, ns.
        self._held: dict[str, dict[str, tuple[int, int]]] = {kind: {} for kind, _ in BY_SYMBOL.values()}
        self.invalid = InvalidShare(settings.invalid, self._interval)

    def refused(self, topic: Topic, record: Refused, key: int, now: int) -> None:
        """Count a refused record at its key (ns), and alert if the share of refused ones is too high.

        Every refused order, execution or control is an alert as well: its sender
        relies on it.
        """
        if topic is not Topic.TICKS:
            alert = Alert(REFUSED[topic], record.symbol, record.cl_ord_id, now, f"{record.reason}: {record.detail}")
            self._outbox.publish(Topic.ALERTS, record.symbol, alert)
        elif record.reason in BY_SYMBOL:
            self._of_symbol(record, now)
        text = self.invalid.refused(key, f"{record.reason}: {record.detail}")
        if text is not None:
            self._outbox.publish(Topic.ALERTS, None, Alert("invalid_ratio", None, None, key, text))

    def _of_symbol(self, record: Refused, now: int) -> None:
        """Alert what is wrong with a symbol's feed; once an interval for each symbol, with the number since."""
        kind, what = BY_SYMBOL[record.reason]
        held = self._held[kind]
        symbol = record.symbol
        if symbol is None and record.key is not None:
            symbol = record.key.decode(errors="replace")
        # Any text may come as a symbol: beyond the most symbols they share one entry.
        entry = symbol or ""
        entry = entry if entry in held or len(held) < self._max_symbols else ""
        count, until = held.get(entry, (0, 0))
        count += 1
        if now >= until:
            text = f"{count} {what if count == 1 else what + 's'} since the last alert: {record.detail}"
            self._outbox.publish(Topic.ALERTS, symbol, Alert(kind, symbol, None, now, text))
            count, until = 0, now + self._interval
        held[entry] = count, until

    def dropped(self, rows: int, now: int) -> None:
        """Alert, at most once an interval, that rows were dropped because there are too many symbols.

        Parameters
        ----------
        rows : int
            Rows dropped since the state began.
        now : int
            Event time, ns.
        """
        before, until = self.told
        if rows > before and now >= until:
            text = (
                f"{rows - before} rows dropped: this partition has reached books.max_symbols ({self._max_symbols}); "
                "raise it, or send fewer symbols"
            )
            self.told = (rows, now + self._interval)
            self._outbox.publish(Topic.ALERTS, None, Alert("max_symbols", None, None, now, text))

    def bad_books(
        self, symbol: str, rejected: Mapping[str, int], n_books: int, now: int, venue: str | None = None
    ) -> None:
        """Alert that a minute had no usable book (at a venue, if one is named) and that some were crossed."""
        crossed = rejected.get("crossed", 0)
        if crossed and not n_books:
            at = "" if venue is None else f" at {venue}"
            text = f"all books of the minute{at} were refused, {crossed} of them crossed"
            self._outbox.publish(Topic.ALERTS, symbol, Alert("crossed_feed", symbol, None, now, text))

    def other_publisher(self, symbol: str, rejected: Mapping[str, int], publishers: tuple[int, int], now: int) -> None:
        """Alert that ticks of a minute were rejected because they are of another publisher than the symbol's book."""
        count = rejected.get("publisher", 0)
        if count:
            first, other = map(publisher_text, publishers)
            text = (
                f"{count} {'tick' if count == 1 else 'ticks'} of publisher {other} rejected: the book is of publisher "
                f"{first}; give each publisher a symbol of its own, or name both in [[venues]]"
            )
            self._outbox.publish(Topic.ALERTS, symbol, Alert("other_publisher", symbol, None, now, text))

    def other_instrument(
        self,
        symbol: str,
        rejected: Mapping[str, int],
        instruments: tuple[int, int],
        now: int,
        venue: str | None = None,
    ) -> None:
        """Alert that ticks were of another instrument id than the symbol's book, or that its book is of another now."""
        count = rejected.get("instrument", 0)
        own, other = map(publisher_text, instruments)
        at = "" if venue is None else f" at {venue}"
        if count:
            text = (
                f"{count} {'tick' if count == 1 else 'ticks'} rejected{at}: instruments {own} and {other} have one "
                f"symbol, and its book is now of {own}; give each a symbol of its own. After a roll nothing is to be "
                "done: the new one takes over after a minute without books of the old one"
            )
        elif instruments[1] != NO_INSTRUMENT:
            text = f"the book{at} is of instrument {own} from now on: instrument {other} has sent no more books"
        else:
            return
        self._outbox.publish(Topic.ALERTS, symbol, Alert("other_instrument", symbol, None, now, text))

    def venue_lost(self, symbol: str, venue: str, since: int, now: int) -> None:
        """Alert that a venue's book became too old at `since` (ns), so that the merged book excludes it."""
        text = f"the book of {symbol} at {venue} is too old: the merged book excludes it from {since} on"
        self._outbox.publish(Topic.ALERTS, symbol, Alert("venue_lost", symbol, None, now, text))

    def shifted(self, symbol: str, sides: Iterable[Side], now: int) -> None:
        """Alert that the impact level of some sides has shifted for more than a few minutes."""
        for side in sorted(sides):
            self._shifted(symbol, side, now)

    def _shifted(self, symbol: str, side: Side, now: int) -> None:
        text = f"impact level shift ({side}): history down-weighted, plans recomputed"
        self._outbox.publish(Topic.ALERTS, symbol, Alert("regime_change", symbol, None, now, text))

    def forecaster_changed(
        self, symbol: str, now: int, lead: float, *, learned: bool, taught: Sequence[str] = ()
    ) -> None:
        """Alert that another forecast makes the plans of a symbol; `taught` are those that it was trained on."""
        names = ("learned", "default") if learned else ("default", "learned")
        text = (
            f"plans are made with the {names[0]} forecast, no longer with the {names[1]} one: the learned forecast's "
            f"lead over recent days is {lead:.2f} standard errors"
        )
        if learned and taught and symbol not in taught:
            text += "; it was trained on other symbols"
        self._outbox.publish(Topic.ALERTS, symbol, Alert("forecaster_change", symbol, None, now, text))

    def dump(self) -> bytes:
        """Return the state value."""
        held = {kind: dict(sorted(of.items())) for kind, of in self._held.items() if of}
        return orjson.dumps({"dropped": self.told, "invalid": self.invalid.save()} | ({"held": held} if held else {}))

    def load(self, value: bytes) -> None:
        """Restore from the state value."""
        saved = orjson.loads(value)
        self.told = (saved["dropped"][0], saved["dropped"][1])
        self.invalid.load(saved["invalid"])
        held = saved.get("held", {})
        self._held = {kind: {symbol: (n, at) for symbol, (n, at) in held.get(kind, {}).items()} for kind in self._held}

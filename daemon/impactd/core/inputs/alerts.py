"""What a person should be told about the feed itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import Side, Topic
from impactd.core.inputs.reject_rate import InvalidShare
from impactd.core.outputs.messages import Alert


class FeedAlerts:
    """Alerts about input that was of no use.

    Parameters
    ----------
    say : callable
        Takes each message to publish, with its topic and key.

    Attributes
    ----------
    told : tuple of (int, int)
        Rows dropped for want of room that have been alerted, and until when another alert waits: an interval, ns.
    invalid : InvalidShare
        Counts what was refused, and what was not.
    """

    def __init__(self, say: Callable[[Topic, str | None, Alert], None], settings: CoreSettings) -> None:
        self._say = say
        self._interval = settings.books.interval_ns
        self._max_symbols = settings.max_symbols
        self.told = (0, 0)
        self.invalid = InvalidShare(settings.invalid, self._interval)

    def refused(self, key: int) -> None:
        """Count a refused record at its key (ns), and alert when too many were."""
        text = self.invalid.refused(key)
        if text is not None:
            self._say(Topic.ALERTS, None, Alert("invalid_ratio", None, None, key, text))

    def dropped(self, rows: int, now: int) -> None:
        """Alert, at most once an interval, that rows were dropped because there are too many symbols.

        Parameters
        ----------
        rows : int
            How many were since the state began.
        now : int
            Event time, ns.
        """
        before, until = self.told
        if rows > before and now >= until:
            text = (
                f"{rows - before} rows were dropped: this partition has {self._max_symbols} symbols already, as many "
                "as max_symbols allows"
            )
            self.told = (rows, now + self._interval)
            self._say(Topic.ALERTS, None, Alert("max_symbols", None, None, now, text))

    def bad_books(self, symbol: str, rejected: Mapping[str, int], n_books: int, now: int) -> None:
        """Alert that a minute had no usable book, because they were crossed."""
        crossed = rejected.get("crossed", 0)
        if crossed and not n_books:
            text = f"all books of the minute were refused, {crossed} of them crossed"
            self._say(Topic.ALERTS, symbol, Alert("crossed_feed", symbol, None, now, text))

    def shifted(self, symbol: str, sides: Iterable[Side], now: int) -> None:
        """Say of which sides the level of spread or depth has changed for more than a few minutes."""
        for side in sorted(sides):
            self._shifted(symbol, side, now)

    def _shifted(self, symbol: str, side: Side, now: int) -> None:
        text = f"the cost to {side} has changed its level: what was known counts for less, and plans are made anew"
        self._say(Topic.ALERTS, symbol, Alert("regime_change", symbol, None, now, text))

    def save(self) -> dict[str, Any]:
        """Return the state as JSON-ready values."""
        return {"dropped": self.told, "invalid": self.invalid.save()}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Continue from a mapping that holds what `save` returned."""
        self.told = (saved["dropped"][0], saved["dropped"][1])
        self.invalid.load(saved["invalid"])

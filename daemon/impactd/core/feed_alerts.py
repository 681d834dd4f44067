"""What a person should be told about the feed itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from impactd.core.messages import Alert, Topic


class FeedAlerts:
    """Alerts about ticks that were of no use.

    Parameters
    ----------
    say : callable
        Takes each message to publish, with its topic and key.
    interval_ns : int
        The least distance of two alerts about dropped rows, ns.
    max_symbols : int

    Attributes
    ----------
    told : tuple of (int, int)
        Rows dropped for want of room that have been alerted, and until when another alert waits, ns.
    """

    def __init__(self, say: Callable[[Topic, str | None, Alert], None], interval_ns: int, max_symbols: int) -> None:
        self._say = say
        self._interval = interval_ns
        self._max_symbols = max_symbols
        self.told = (0, 0)

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

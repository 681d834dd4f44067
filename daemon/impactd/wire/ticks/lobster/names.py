"""Names of LOBSTER's files: ``AMZN_2012-06-21_34200000_57600000_orderbook_5.csv``."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Final, NamedTuple, Self
from zoneinfo import ZoneInfo

MESSAGE: Final = "message"
ORDERBOOK: Final = "orderbook"
#: Each line of the message file, a comma, and its line of the orderbook file.
PAIR: Final = "pair"

#: LOBSTER's times are seconds after midnight at the exchange.
ZONE: Final = "America/New_York"

_NAME: Final = re.compile(r"(.+)_(\d{4}-\d\d-\d\d)_(\d+)_(\d+)_(message|orderbook|pair)_(\d+)\.csv", re.IGNORECASE)


class LobsterName(NamedTuple):
    """The parts of a file's name."""

    symbol: str
    day: date
    start_ms: int
    end_ms: int
    kind: str
    n_levels: int

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Return the parts of a name; None where it is not one of LOBSTER's."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        symbol, day, start, end, kind, n_levels = match.groups()
        try:
            return cls(symbol, date.fromisoformat(day), int(start), int(end), kind.lower(), int(n_levels))
        except ValueError:
            return None

    def text(self, kind: str) -> str:
        """Return the name of the file of another kind."""
        return f"{self.symbol}_{self.day}_{self.start_ms}_{self.end_ms}_{kind}_{self.n_levels}.csv"

    @property
    def midnight_ns(self) -> int:
        """Midnight in New York, UTC nanoseconds."""
        day = datetime(self.day.year, self.day.month, self.day.day, tzinfo=ZoneInfo(ZONE))
        return int(day.timestamp()) * 1_000_000_000

"""Trading status of markets, as venues publish it.

A symbol whose market is not trading has no book, trains no model, and its orders
wait.  So it stays until a record says that it trades again: nothing resumes by
itself.  A short-sale restriction stops sells alone: an order does not say
whether it sells short, and books are as good as ever.

A market's status and a halt by a control record are independent; an order works
once neither holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import orjson

from impactd.core.base.stateful import Changes
from impactd.core.base.topics import Side
from impactd.core.inputs.events import TRADING, TradingStatus

_KEY: Final = "status/"

#: So many symbols for each that may have books.
_PER_SYMBOL: Final = 10


class StatusFullError(ValueError):
    """There are too many statuses to remember a further one."""


class _Held(NamedTuple):
    """What holds orders of a symbol: `since` (ns) is None while its market trades."""

    status: str
    reason: str
    since: int | None
    short_restricted: bool


_FREE: Final = _Held(TRADING, "", None, short_restricted=False)


class MarketStatus:
    """The statuses of one partition's symbols."""

    def __init__(self, max_symbols: int = 5_000) -> None:
        self._most = _PER_SYMBOL * max_symbols
        self._held: dict[str, _Held] = {}
        self._changes = Changes()

    def __bool__(self) -> bool:
        """Return whether the market of any symbol does not trade freely."""
        return bool(self._held)

    def since(self, symbol: str) -> int | None:
        """Return when the market of a symbol ceased to trade, ns; None while it trades."""
        return self._held.get(symbol, _FREE).since

    def holds(self, symbol: str, side: Side) -> str | None:
        """Return why orders on one side of a symbol wait, or None."""
        held = self._held.get(symbol)
        if held is None:
            return None
        if held.since is not None:
            return f"market status {held.status}" + (f": {held.reason}" if held.reason else "")
        return "short sales are restricted: sells wait until that is lifted" if side is Side.SELL else None

    def apply(self, event: TradingStatus) -> str | None:
        """Apply a record; return what it changes, or None if it changes nothing.

        Raises
        ------
        StatusFullError
            If the status cannot be remembered.
        """
        was = self._held.get(event.symbol, _FREE)
        status = was.status if event.status is None else event.status
        reason = was.reason if event.status is None else event.reason
        short = was.short_restricted if event.short_restricted is None else event.short_restricted
        since = None if status == TRADING else was.since if was.since is not None else event.ts_event
        held = _Held(status, reason if since is not None else "", since, short)
        if held == was:
            return None
        if held == _FREE:
            del self._held[event.symbol]
            self._changes.delete(_KEY + event.symbol)
        else:
            if event.symbol not in self._held and len(self._held) >= self._most:
                raise StatusFullError(
                    f"symbol: {self._most} symbols have a status, {_PER_SYMBOL} times books.max_symbols; raise it"
                )
            self._held[event.symbol] = held
            self._changes.mark(_KEY + event.symbol, lambda: _dump(self._held[event.symbol]))
        text = f"{event.symbol}: {status}" + (f": {event.reason}" if event.reason else "")
        return text + ("; short sales are restricted" if short else "")

    # --- state ------------------------------------------------------------

    def changes(self) -> dict[str, bytes | None]:
        """Return the keys of the statuses that have changed since the last call."""
        return self._changes.take()

    def dump(self) -> dict[str, bytes]:
        """Return every key with its value."""
        return {_KEY + symbol: _dump(held) for symbol, held in sorted(self._held.items())}

    def load(self, items: Mapping[str, bytes]) -> None:
        """Restore the statuses in a whole state."""
        for key, value in items.items():
            if key.startswith(_KEY):
                self._held[key.removeprefix(_KEY)] = _Held(**orjson.loads(value))
        self._changes.clear()


def _dump(held: _Held) -> bytes:
    return orjson.dumps(held._asdict())

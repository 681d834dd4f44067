"""The markets of one partition by symbol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from impactd.core.base.session import Session, Sessions
from impactd.core.base.settings import CoreSettings
from impactd.core.base.stateful import Changes, Lasting
from impactd.core.books.aggregator import MinuteAggregator
from impactd.core.books.checks import Book
from impactd.core.inputs.events import Imbalance
from impactd.core.market.symbol import SymbolMarket
from impactd.core.model.profile.profile import Profile

_KEY = "market/"
#: What venues have paired for auctions: as often as a message comes, so apart from the rest of a market.
_PAIRED_KEY = "imbalance/"
#: Parts of a market that seldom change, each under a key of its own: `SymbolMarket.lasting`.
_LASTING_KEY = "lasting/"


class Markets:
    """Market state of each symbol that has had a closed minute or an order."""

    def __init__(self, settings: CoreSettings, books: MinuteAggregator) -> None:
        self._settings = settings
        self._books = books
        self._sessions = Sessions(settings)
        self._profiles = {session: Profile.of(settings.model, session) for session in self._sessions.all()}
        self._markets: dict[str, SymbolMarket] = {}
        self._changes = Changes()
        #: Symbols whose market has changed, whose lasting parts may have changed with it.
        self._touched: dict[str, None] = {}

    def venues(self, symbol: str) -> tuple[str, ...]:
        """Return the venues of a symbol that its ticks or the settings name, by name."""
        stated = {rule.name for rule in self._settings.venues if rule.is_about(symbol)}
        return tuple(sorted({*self._books.venues(symbol), *stated}))

    def at_venues(self, symbol: str, at: int) -> dict[str, Book]:
        """Return the books that prevail at `at` (ns) at a symbol's venues."""
        return self._books.at_venues(symbol, at)

    def is_at_venues(self, symbol: str, at: int) -> bool:
        """Return whether a book prevails at `at` (ns) at any of a symbol's venues."""
        return self._books.is_at_venues(symbol, at)

    def session(self, symbol: str) -> Session:
        """Return a symbol's trading hours."""
        return self._sessions.of(symbol)

    def get(self, symbol: str) -> SymbolMarket | None:
        """Return a symbol's market; None before its first closed minute or order."""
        return self._markets.get(symbol)

    def of(self, symbol: str) -> SymbolMarket:
        """Return a symbol's market, a new one at its first closed minute or order."""
        market = self._markets.get(symbol)
        if market is None:
            session = self._sessions.of(symbol)
            market = SymbolMarket(symbol, self._settings, session, self._profiles[session], self._books)
            self._markets[symbol] = market
            self.mark(symbol)
        return market

    def mark(self, symbol: str) -> None:
        """Note that a symbol's market has changed."""
        self._changes.mark(_KEY + symbol, lambda: orjson.dumps(self._markets[symbol].save()))
        self._touched[symbol] = None
        if self._markets[symbol].auctions.told:
            self._mark_paired(symbol)

    def see_imbalance(self, event: Imbalance) -> bool:
        """Take in what a venue has paired for an auction, and return whether it changes anything.

        A symbol without a closed minute or an order has no market that could use it.
        """
        market = self._markets.get(event.symbol)
        if market is None or not market.auctions.see(event.auction, event.ts_event, event.paired_qty):
            return False
        self._mark_paired(event.symbol)
        return True

    def _mark_paired(self, symbol: str) -> None:
        self._changes.mark(_PAIRED_KEY + symbol, lambda: orjson.dumps(self._markets[symbol].auctions.save_paired()))

    def changes(self) -> dict[str, bytes | None]:
        """Return the keys of the markets that have changed since the last call."""
        taken = self._changes.take()
        for symbol in self._touched:
            for name, parts in self._markets[symbol].lasting.items():
                if any(part.changed for part in parts):
                    taken[f"{_LASTING_KEY}{symbol}/{name}"] = _dumped(parts)
                    for part in parts:
                        part.changed = False
        self._touched.clear()
        return taken

    def dump(self) -> dict[str, bytes]:
        """Return every key with its value."""
        found = sorted(self._markets.items())
        lasting = {
            f"{_LASTING_KEY}{symbol}/{name}": _dumped(parts)
            for symbol, market in found
            for name, parts in market.lasting.items()
        }
        return (
            {key: value for key, value in lasting.items() if value is not None}
            | {_KEY + symbol: orjson.dumps(market.save()) for symbol, market in found}
            | {
                _PAIRED_KEY + symbol: orjson.dumps(market.auctions.save_paired())
                for symbol, market in found
                if market.auctions.told
            }
        )

    def load(self, items: Mapping[str, bytes]) -> None:
        """Restore the markets in a whole state."""
        for key, value in items.items():
            if key.startswith(_LASTING_KEY):
                symbol, _, name = key.removeprefix(_LASTING_KEY).rpartition("/")
                for part, saved in zip(self.of(symbol).lasting.get(name, ()), orjson.loads(value), strict=False):
                    if saved is not None:
                        part.load_lasting(saved)
        for key, value in items.items():
            if key.startswith(_KEY):
                self.of(key.removeprefix(_KEY)).load(orjson.loads(value))
            elif key.startswith(_PAIRED_KEY):
                self.of(key.removeprefix(_PAIRED_KEY)).auctions.load_paired(orjson.loads(value))
        self._changes.clear()
        self._touched.clear()


def _dumped(parts: Sequence[Lasting]) -> bytes | None:
    """Return what of a market is lasting, by side; None where there is nothing yet."""
    saved = [part.save_lasting() for part in parts]
    return None if all(one is None for one in saved) else orjson.dumps(saved)

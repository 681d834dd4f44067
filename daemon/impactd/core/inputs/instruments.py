"""The definitions of one partition's instruments.

A symbol's definition is what the settings state of it, and for the rest what
its latest definition record states.  The settings prevail: a desk corrects a
feed there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

import orjson

from impactd.core.base.instrument import UNDEFINED, Instrument
from impactd.core.base.settings import CoreSettings
from impactd.core.base.stateful import Changes

_KEY: Final = "instrument/"

#: So many definitions for each symbol that may have books: a feed defines more than a desk trades.
_PER_SYMBOL: Final = 10


class Instruments:
    """Definitions by symbol."""

    def __init__(self, settings: CoreSettings) -> None:
        self._patterns = settings.instruments
        self._most = _PER_SYMBOL * settings.max_symbols
        self._records: dict[str, Instrument] = {}
        self._found: dict[str, Instrument] = {}
        self._changes = Changes()

    def of(self, symbol: str) -> Instrument:
        """Return a symbol's definition; one that states nothing where there is none."""
        found = self._found.get(symbol)
        if found is None:
            found = self._found[symbol] = self._merged(symbol, self._records.get(symbol, UNDEFINED))
        return found

    def negative_px(self, symbol: str) -> bool:
        """Return whether a symbol's prices may be at or below zero."""
        return bool(self.of(symbol).negative_px)

    def with_record(self, symbol: str, record: Instrument) -> Instrument:
        """Return what a symbol's definition is once a record has defined it.

        Raises
        ------
        ValueError
            If the record contradicts the settings, or there are too many definitions.
        """
        if symbol not in self._records and len(self._records) >= self._most:
            raise ValueError(
                f"symbol: {self._most} symbols are defined already, {_PER_SYMBOL} times books.max_symbols; raise it"
            )
        return self._merged(symbol, record)

    def define(self, symbol: str, record: Instrument) -> bool:
        """Take in a definition record and return whether it differs from the one before it."""
        if self._records.get(symbol) == record:
            return False
        self._records[symbol] = record
        self._found.pop(symbol, None)
        self._changes.mark(_KEY + symbol, lambda: _dump(self._records[symbol]))
        return True

    def _merged(self, symbol: str, record: Instrument) -> Instrument:
        for pattern, stated in self._patterns:
            if fnmatchcase(symbol, pattern):
                return stated.over(record)
        return record

    # --- state ------------------------------------------------------------

    def changes(self) -> dict[str, bytes | None]:
        """Return the keys of the definitions that have changed since the last call."""
        return self._changes.take()

    def dump(self) -> dict[str, bytes]:
        """Return every key with its value."""
        return {_KEY + symbol: _dump(record) for symbol, record in sorted(self._records.items())}

    def load(self, items: Mapping[str, bytes]) -> None:
        """Restore the definitions in a whole state."""
        for key, value in items.items():
            if key.startswith(_KEY):
                self._records[key.removeprefix(_KEY)] = Instrument(**orjson.loads(value))
        self._found.clear()
        self._changes.clear()


def _dump(record: Instrument) -> bytes:
    return orjson.dumps(dataclasses.asdict(record))

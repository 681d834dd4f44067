"""Raw symbols by instrument id and time, in the form that the compiled reader searches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import numpy as np

from impactd.wire.codec import FieldError
from impactd.wire.fields import parse_symbol
from impactd.wire.ticks.dbn.kernel import Symbols
from impactd.wire.ticks.dbn.metadata import Mapping

FOREVER: Final = 2**63 - 1


class Symbology:
    """The symbols of one stream, or of several that are distinguished by their group."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._mapped: set[str] = set()
        self._intervals: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        self._table: Symbols | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All symbols, by their number."""
        return tuple(self._codes)

    def code(self, symbol: str) -> int:
        """Return the number of a symbol."""
        return self._codes.setdefault(symbol, len(self._codes))

    def add(self, mappings: Iterable[Mapping], group: int = 0) -> None:
        """Add the mappings of a head.

        Where one symbol stands for several instruments at once (a parent such as ``ES.FUT``), each
        keeps its own books under ``symbol#instrument``.
        """
        ordered = sorted(mappings, key=lambda m: (m.symbol, m.start_ns))
        shared: set[str] = set()
        latest: dict[str, Mapping] = {}
        for mapping in ordered:
            other = latest.get(mapping.symbol)
            if other is not None and other.end_ns > mapping.start_ns and other.instrument_id != mapping.instrument_id:
                shared.add(mapping.symbol)
            if other is None or mapping.end_ns > other.end_ns:
                latest[mapping.symbol] = mapping
        for mapping in ordered:
            name = f"{mapping.symbol}#{mapping.instrument_id}" if mapping.symbol in shared else mapping.symbol
            key = group << 32 | mapping.instrument_id
            if _is_symbol(name):
                self._intervals[key].append((mapping.start_ns, mapping.end_ns, self.code(name)))
                self._mapped.add(name)
        self._table = None

    def replace(self, mapping: Mapping) -> None:
        """Give an instrument another symbol for all that follows."""
        if _is_symbol(mapping.symbol):
            self._intervals[mapping.instrument_id] = [(0, FOREVER, self.code(mapping.symbol))]
            self._mapped.add(mapping.symbol)
        else:
            self._intervals.pop(mapping.instrument_id, None)
        self._table = None

    def find(self, instrument_id: int, at: int, group: int = 0) -> str | None:
        """Return the symbol of an instrument at a time, ns; None where no mapping names one."""
        for begin, end, code in self._intervals.get(group << 32 | instrument_id, ()):
            if begin <= at < end:
                return self.names[code]
        return None

    def is_mapped(self, symbol: str) -> bool:
        """Return whether a mapping names this symbol."""
        return symbol in self._mapped

    def table(self) -> Symbols:
        """Return all intervals, sorted by instrument and start."""
        if self._table is None:
            rows = [(key, *interval) for key in sorted(self._intervals) for interval in sorted(self._intervals[key])]
            columns = np.array(rows, np.int64).reshape(-1, 4)
            self._table = Symbols(*(np.ascontiguousarray(columns[:, i]) for i in range(4)))
        return self._table


def _is_symbol(text: str) -> bool:
    try:
        parse_symbol(text)
    except FieldError:
        return False
    return True

"""Rows of one book each: a symbol of several venues or instruments in one file is refused.

Read as one book, its prices would jump between theirs.  A file names them in a column
(`VENUES`, `INSTRUMENTS`) that is otherwise skipped.  An instrument's number may change, when a contract rolls, but not
back; a symbol's venue never changes.  Databento's files have rules of their own
(`impactd.wire.ticks.databento.identity`), and prints of several venues are one tape.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from impactd.wire.codec import shown
from impactd.wire.content import Line
from impactd.wire.tick_codec import FileFormatError
from impactd.wire.ticks.column_names import column_of

VENUES: Final = ("exchange", "exchangeid", "venue", "venueid", "mic", "publisher", "publisherid")
INSTRUMENTS: Final = ("instrumentid", "securityid", "isin", "figi")


def id_columns(names: Sequence[str], symbol: int) -> tuple[int, int]:
    """Return the columns of the venue and of the instrument's id; -1 where there is none besides `symbol`."""
    venue, instrument = (column_of(names, known) for known in (VENUES, INSTRUMENTS))
    return -1 if venue == symbol else venue, -1 if instrument == symbol else instrument


class OneBook:
    """Follows the venue and the instrument of each symbol's rows.

    Parameters
    ----------
    names : sequence of str
        The header's columns.
    symbol : int
        Column of the symbol; -1 where there is none.
    name : str, optional
        Symbol of rows that name none.

    Attributes
    ----------
    venues : dict of str to str
        Column and value of each symbol's venue.
    """

    def __init__(self, names: Sequence[str], symbol: int, delimiter: str, name: str | None = None) -> None:
        self._name = name or ""
        self.venues: dict[str, str] = {}
        ids = id_columns(names, symbol)
        self._names, self._symbol_at, self._mark = names, symbol, delimiter.encode()
        #: Columns, and whether a change that is not taken back passes.
        self._ids = [(at, allowed) for at, allowed in zip(ids, (False, True), strict=True) if at >= 0]
        self._n_split = max([symbol, *ids]) + 1
        self._last: dict[tuple[int, bytes], bytes] = {}
        self._left: set[tuple[int, bytes, bytes]] = set()

    def follow(self, lines: Iterator[Line]) -> Iterator[Line]:
        """Yield the lines.

        Raises
        ------
        FileFormatError
            If rows of several venues or instruments have one symbol.
        """
        if not self._ids:
            yield from lines
            return
        for line in lines:
            if line.fault is None:
                self._look(line.text)
            yield line

    def _look(self, text: bytes) -> None:
        if text.count(self._mark) != len(self._names) - 1:
            return  # damaged, or quoted: such a line shows nothing
        fields = text.split(self._mark, self._n_split)
        symbol = fields[self._symbol_at].strip(b' "\r') if self._symbol_at >= 0 else b""
        for at, may_change in self._ids:
            value = fields[at].strip(b' "\r')
            before = self._last.get((at, symbol), b"")
            self._last[at, symbol] = value
            if not before and value and not may_change:
                column = self._names[at]
                self.venues[symbol.decode(errors="replace") or self._name] = (
                    f"{column} {value.decode(errors='replace')}"
                )
            if value == before or not value or not before:
                continue
            self._left.add((at, symbol, before))
            if not may_change or not symbol or (at, symbol, value) in self._left:
                of = f"the symbol {shown(symbol.decode(errors='replace'))}" if symbol else "no symbol"
                first, second = (shown(each.decode(errors="replace")) for each in (before, value))
                raise FileFormatError(
                    f"{self._names[at]}: rows of {first} and {second} with {of} would be one book; "
                    f"write a file for each {self._names[at]}, and read one at a time"
                )

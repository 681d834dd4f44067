"""Instruments and publishers of a Databento file's rows.

Each row has an `instrument_id`, and the `publisher_id` of its venue.  Rows of
several of them under one symbol are several books; read as one, its prices jump
between theirs.  A file of such rows is refused, with both ids and the map that
distinguishes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from impactd.wire.codec import FieldError
from impactd.wire.content import Line
from impactd.wire.symbols import FileSymbols
from impactd.wire.tick_codec import FileFormatError

_COLUMNS: Final = ("publisher_id", "instrument_id")

Pair = tuple[str, str]


class Identity:
    """Follows the ids of a file's rows.

    Parameters
    ----------
    names : sequence of str
        The header's columns.
    check : callable
        Raises `FieldError` for a line that is no row: such a line tells nothing.
    merges : bool
        Whether publishers are venues of the settings, whose books are kept apart by that.
    """

    def __init__(
        self, names: list[str], symbols: FileSymbols, check: Callable[[bytes], object], *, merges: bool = False
    ) -> None:
        self._at = tuple(names.index(name) if name in names else -1 for name in _COLUMNS)
        self._symbol_at = names.index("symbol") if "symbol" in names else -1
        self._n_columns = len(names)
        self._symbols = symbols
        self._check = check
        self._merges = merges
        self._symbol_of: dict[Pair, str] = {}
        self._pair_of: dict[str, Pair] = {}
        self._left: dict[str, set[Pair]] = {}
        #: Publisher of each symbol, for files that are read together.
        self.venues: dict[str, str] = {}

    @property
    def is_mapped(self) -> bool:
        """Whether names are given by id."""
        return bool(self._symbols.by_key)

    def follow(self, lines: Iterator[Line]) -> Iterator[Line]:
        """Yield the lines; where names are given by id, with the name as their last column.

        Raises
        ------
        FileFormatError
            If rows of several instruments or publishers have one symbol.
        """
        for line in lines:
            if line.fault is not None:
                yield line
                continue
            fields = line.text.split(b",", max(self._at) + 1)
            pair = (self._field(fields, self._at[0]), self._field(fields, self._at[1]))
            if self.is_mapped:
                yield self._named(line, pair)
                continue
            symbol = self._symbol_of.get(pair)
            if symbol is None or self._pair_of[symbol] != pair:
                self._changed(pair, line)
            yield line

    def _named(self, line: Line, pair: Pair) -> Line:
        publisher, instrument = pair
        names = self._symbols.by_key
        name = names.get(f"{publisher}/{instrument}") or names.get(instrument)
        if name is None:
            ids = f"{publisher}/{instrument}" if publisher else instrument
            return line._replace(fault=FieldError("unmapped", f"{ids}: no symbol is given; give --symbol {ids}=NAME"))
        return line._replace(text=line.text + b"," + name.encode())

    @staticmethod
    def _field(fields: list[bytes], column: int) -> str:
        return fields[column].decode(errors="replace").strip('"') if 0 <= column < len(fields) else ""

    def _changed(self, pair: Pair, line: Line) -> None:
        """Take in a pair of ids that is new, or another one than the symbol's last row had."""
        try:
            self._check(line.text)
        except FieldError:
            return
        symbol = self._field(line.text.split(b","), self._symbol_at)
        if self._merges:
            symbol = f"{symbol}/{pair[0]}"  # each publisher's instrument by itself
        before = self._pair_of.get(symbol)
        self._symbol_of[pair] = symbol
        if pair[0] and not self._merges:
            self.venues[symbol or self._symbols.name or ""] = f"publisher_id {pair[0]}"
        self._pair_of[symbol] = pair
        if before is None or before == pair:
            return
        left = self._left.setdefault(symbol, set())
        left.add(before)
        # Where rows name their symbol, its id may change, from day to day or when a contract rolls, but not back.
        if before[0] == pair[0] and symbol and pair not in left:
            return
        self._refuse(symbol, before, pair)

    def _refuse(self, symbol: str, before: Pair, pair: Pair) -> None:
        several = "publisher_id" if before[0] != pair[0] else "instrument_id"
        use = ["/".join(ids) if before[0] != pair[0] or before[0] else ids[1] for ids in (before, pair)]
        values = " and ".join(ids[0] if several == "publisher_id" else ids[1] for ids in (before, pair))
        of = f"the symbol {symbol}" if symbol else "no symbol column"
        raise FileFormatError(
            f"{several}: rows of {values} with {of} would be one book; "
            f"name each: --symbol {use[0]}=NAME,{use[1]}=OTHER, or one to leave the other out: --symbol {use[0]}=NAME"
        )

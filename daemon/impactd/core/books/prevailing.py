"""Which book of a `SymbolTable` prevails at an instant: a symbol's own, a venue's, or one merged from venues.

A book prevails from its ``ts_event`` until it is too old or the symbol halts.  How old it may become is stated by the
settings, and for a venue by its rule; a merged book ends only with the books that it is merged from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import kernel
from impactd.core.base.venue import VenueRule, rule_of, venue_of
from impactd.core.books.checks import Book
from impactd.core.books.merge import ALONE, WHOLE, Family, merge_books
from impactd.core.books.store import SymbolTable
from impactd.core.inputs.ticks import Float, Int

#: A book that never ages prevails for this long, 36 years: times stay inside int64.
LONGEST_NS: Final = 2**60


class PrevailingBooks:
    """Reads the books of a table at an instant, and knows how its rows belong together.

    Parameters
    ----------
    silence_ns : int
        How long any book prevails at most.
    max_age_ns : int or None
        How long one prevails where no rule of a venue differs; None for no limit of its own.
    """

    def __init__(
        self, table: SymbolTable, silence_ns: int, max_age_ns: int | None, venues: tuple[VenueRule, ...]
    ) -> None:
        self._table = table
        self._silence_ns = silence_ns
        self._max_age_ns = max_age_ns
        self._venues = venues
        self._family = self._related()

    @property
    def family(self) -> Family:
        """How the rows of venues belong to those of their wholes."""
        # Rows are only ever added, and what they belong to follows from their names.
        if len(self._family.whole) != len(self._table):
            self._family = self._related()
        return self._family

    def _related(self) -> Family:
        n, usual = len(self._table), self._stand_ns(self._max_age_ns)
        alone, none = np.full(n, ALONE), np.full(n, -1)
        family = Family(alone, none, none.copy(), np.full(n, usual))
        for symbol, at_venues in self._table.at_venues.items():
            whole = last = self._table.add(symbol)
            family.whole[whole], family.stand_ns[whole] = WHOLE, LONGEST_NS
            for name in at_venues:
                slot = self._table.add(name)
                (family.first if last == whole else family.after)[last] = slot
                last = slot
                family.whole[slot] = whole
                age = rule_of(self._venues, symbol, str(venue_of(name))).max_book_age_ns
                family.stand_ns[slot] = usual if age is None else self._stand_ns(age)
        return family

    def _stand_ns(self, age_ns: int | None) -> int:
        return self._silence_ns if age_ns is None else min(self._silence_ns, age_ns)

    def book(self, slot: int, at: int) -> Book | None:
        """Return the two-sided book of a row that prevails at `at`, ns, or None."""
        store, family = self._table.store, self.family
        since, n_bid, n_ask = _prevails(store.symbol, family.stand_ns, slot, at)
        if not n_bid:
            return None
        if family.whole[slot] != WHOLE:
            return _book(since, store.levels[slot], n_bid, n_ask)
        book = self._read(slot, at)
        return book if len(book.bid_px) and len(book.ask_px) else None

    def is_there(self, slot: int, at: int) -> bool:
        """Return whether a two-sided book of a row prevails at `at`, ns; only that of a whole has to be made for it."""
        family = self.family
        if family.whole[slot] == WHOLE:
            return self.book(slot, at) is not None
        return _prevails(self._table.store.symbol, family.stand_ns, slot, at)[1] > 0

    def at_venues(self, symbol: str, at: int) -> dict[str, Book]:
        """Return the books that prevail at `at` (ns) at a symbol's venues; a side of them may be empty."""
        return {venue: self._read(slot, at) for venue, slot in self._of_venues(symbol, at)}

    def is_at_venues(self, symbol: str, at: int) -> bool:
        """Return whether a book prevails at `at` (ns) at any of a symbol's venues."""
        return any(True for _ in self._of_venues(symbol, at))

    def became_old(self, slot: int, begin: int, end: int) -> int | None:
        """Return when the book of a row at a venue became too old after `begin` and by `end`, ns, or None."""
        row = self._table.store.symbol[slot]
        until = int(row["book_ns"]) + int(self.family.stand_ns[slot])
        inside = begin < until <= end and row["n_bid"] + row["n_ask"] > 0
        return until if inside and _is_fresh(self._table.store.symbol, self.family.stand_ns, slot, until) else None

    def _of_venues(self, symbol: str, at: int) -> Iterator[tuple[str, int]]:
        """Yield each venue of a symbol whose book prevails at `at` (ns), with its row."""
        for name in self._table.at_venues.get(symbol, ()):
            slot = self._table.add(name)
            row = self._table.store.symbol[slot]
            if row["n_bid"] + row["n_ask"] and _is_fresh(self._table.store.symbol, self.family.stand_ns, slot, at):
                yield str(venue_of(name)), slot

    def _read(self, slot: int, at: int) -> Book:
        """Return the book of a row; of a whole, merged from what prevails at `at`, ns."""
        store = self._table.store
        row, levels = store.symbol[slot], store.levels[slot]
        n_bid, n_ask = int(row["n_bid"]), int(row["n_ask"])
        if self.family.whole[slot] == WHOLE:
            merged = np.empty((1, 4, store.levels.shape[2]))
            n_bid, n_ask = merge_books(store.symbol, store.levels, self.family, slot, at - 1, merged, 0)
            levels = merged[0]
        return _book(int(row["book_ns"]), levels, n_bid, n_ask)


@kernel
def _is_fresh(symbol: npt.NDArray[np.void], stand_ns: Int, slot: int, at: int) -> bool:
    """Return whether a row's book is not too old at `at` (ns) and not from before a halt."""
    row = symbol[slot]
    return bool(at <= row.book_ns + stand_ns[slot] and not row.book_ns < row.halt_ns <= at)


@kernel
def _prevails(symbol: npt.NDArray[np.void], stand_ns: Int, slot: int, at: int) -> tuple[int, int, int]:
    """Return since when a row's book prevails, ns, and how many bids and asks it has: 0 where it does not at `at`, ns.

    It does with two sides, not too old and not from before a halt.  Those that a whole is merged from may be too old
    all the same.
    """
    row = symbol[slot]
    if row.n_bid == 0 or row.n_ask == 0 or not _is_fresh(symbol, stand_ns, slot, at):
        return row.book_ns, 0, 0
    return row.book_ns, int(row.n_bid), int(row.n_ask)


def _book(since: int, levels: Float, n_bid: int, n_ask: int) -> Book:
    """Return a book of its own from the levels of a row, shape (4, n_levels)."""
    bid_px, bid_sz, ask_px, ask_sz = levels.copy()
    return Book(since, bid_px[:n_bid], bid_sz[:n_bid], ask_px[:n_ask], ask_sz[:n_ask])

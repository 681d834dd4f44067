"""Builds books from snapshots and changes of levels, with the sequence rules of the venues.

A change is applied if it follows the last one applied:

- where it names the one before it (`prev`: Binance's futures, Deribit, OKX), that is the last one;
- otherwise, where it is numbered (`first` to `last`: Binance, Bybit), it begins behind the last number;
- otherwise every change counts (Coinbase, Kraken, Tardis), and one that cannot be read ends the book.

A numbered change that ends at or before the last number is known already, and is skipped. After a snapshot the
first change may begin within what the snapshot holds. Where a venue gives snapshots on request (`waits`), changes that
come before the answer are kept, and applied behind it. Where a message has a checksum, the book must have it.

A change that does not follow is a gap: the book ends, and begins again with the next snapshot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import orjson

from impactd.wire.codec import FieldError, GapError
from impactd.wire.ticks.building.ladder import ASK, BID, Ladder, Levels

#: Text of a price and of its size, as the venue wrote them, best first.
Texts = list[tuple[str, str]]

#: Changes of one book that are kept while its snapshot is awaited, at most.
MAX_WAITING: Final = 1_000

#: Texts of a side, which are kept for its checksum, before those of levels that have gone are dropped.
_MOST_TEXTS: Final = 4_096


class Checksum(NamedTuple):
    """What a venue gives to check a book by: its value, and how it comes from the texts of bids and asks."""

    value: int
    of: Callable[[Texts, Texts], int]
    n_levels: int


@dataclass(frozen=True, slots=True)
class Change:
    """A snapshot of a book, or changes of its levels."""

    #: A symbol's streams are books of their own; the first that has a snapshot is followed.
    stream: str
    #: Prices and sizes; in changes a size of 0 removes the level.
    bids: Levels
    asks: Levels
    is_snapshot: bool
    #: Numbers, see the module; a snapshot has `last`.
    first: int | None = None
    last: int | None = None
    prev: int | None = None
    #: Whether its snapshots come on request.
    waits: bool = False
    #: Of a snapshot: levels that the stream keeps; those that fall behind are not removed by changes.
    depth: int | None = None
    checksum: Checksum | None = None
    #: Bids and asks as they were written, where there is a checksum.
    texts: tuple[Texts, Texts] = field(default_factory=lambda: ([], []))


@dataclass(slots=True)
class _Book:
    stream: str
    last: int | None
    depth: int | None
    ladder: Ladder = field(default_factory=Ladder)
    #: Only a snapshot was applied.
    is_fresh: bool = True
    #: A message was lost that may have been a change of it.
    is_lost: bool = False
    #: By side: texts of price and size, by price.
    texts: tuple[dict[float, tuple[str, str]], ...] = field(default_factory=lambda: ({}, {}))


class Builder:
    """The books of one source, by symbol.

    Parameters
    ----------
    n_levels : int
        Levels of a side that are handed on, at most.
    """

    def __init__(self, n_levels: int) -> None:
        self._n_levels = n_levels
        self._books: dict[str, _Book] = {}
        self._waiting: dict[tuple[str, str], deque[Change]] = {}
        #: Books without a snapshot of which it was said once.
        self._told: set[tuple[str, str]] = set()
        #: Symbols that may have changed since they were saved.
        self._dirty: set[str] = set()

    def stands(self, symbol: str) -> bool:
        """Return whether a symbol's book is being built."""
        return symbol in self._books

    def lose(self, symbol: str | None = None) -> None:
        """Note that a message could not be read: a book whose changes have no numbers may lack one.

        Parameters
        ----------
        symbol : str, optional
            The only symbol that the message can have been of.
        """
        lost = self._books.items() if symbol is None else [(symbol, self._books[symbol])]
        for name, book in lost:
            if book.last is None:
                book.is_lost = True
                self._dirty.add(name)

    def end(self, symbol: str) -> None:
        """End a symbol's book until its next snapshot, and forget what waits for one."""
        self._books.pop(symbol, None)
        for key in [key for key in self._waiting if key[0] == symbol]:
            del self._waiting[key]
        self._dirty.add(symbol)

    def follow(self, symbol: str, change: Change) -> tuple[Levels, Levels] | None:
        """Apply a snapshot or changes.

        Returns
        -------
        bids, asks : tuple of list of float, or None
            The book's best levels; None where it is as it was, or there is none yet.

        Raises
        ------
        GapError
            If changes are missing; the book has ended.
        FieldError
            ``gap`` once for a book whose changes come without a snapshot.
        """
        key = symbol, change.stream
        self._dirty.add(symbol)
        book = self._books.get(symbol)
        if book is not None and book.stream != change.stream:
            return None
        try:
            if change.is_snapshot:
                book = self._begin(symbol, change, book)
            elif book is None:
                self._wait(key, change)
            elif not self._apply(book, change):
                return None
        except GapError:
            self._books.pop(symbol, None)
            self._told.add(key)
            if change.waits and not change.is_snapshot:
                self._waiting[key] = deque([change], MAX_WAITING)
            raise
        if book is None:
            return None
        return book.ladder.best(BID, self._n_levels), book.ladder.best(ASK, self._n_levels)

    def _wait(self, key: tuple[str, str], change: Change) -> None:
        waiting = self._waiting.setdefault(key, deque(maxlen=MAX_WAITING))
        if change.waits:
            waiting.append(change)
        if key not in self._told and len(waiting) in (0, MAX_WAITING):
            self._told.add(key)
            raise FieldError("gap", f"{change.stream}: changes of a book without its snapshot before; capture it too")

    def _begin(self, symbol: str, change: Change, book: _Book | None) -> _Book | None:
        key = symbol, change.stream
        if change.waits and book is not None and (change.last or 0) < (book.last or 0):
            return None  # an answer that is older than the book
        begun = _Book(change.stream, change.last, change.depth)
        self._put(begun, change)
        for waiting in self._waiting.get(key, ()):
            self._apply(begun, waiting)
        self._waiting.pop(key, None)
        self._told.discard(key)
        self._books[symbol] = begun
        return begun

    def _apply(self, book: _Book, change: Change) -> bool:
        """Apply changes; return False for those that are known already."""
        if book.is_lost:
            raise GapError(f"{change.stream}: a message before this one could not be read; the book has ended")
        if not _is_next(book, change):
            if change.last is not None and book.last is not None and change.last <= book.last:
                return False
            raise GapError(
                f"{change.stream}: changes between {book.last} and "
                f"{change.first if change.prev is None else change.prev} are missing; the book ends until a snapshot"
            )
        self._put(book, change)
        book.last = change.last
        book.is_fresh = False
        return True

    @staticmethod
    def _put(book: _Book, change: Change) -> None:
        ladder = book.ladder
        for side, levels in ((BID, change.bids), (ASK, change.asks)):
            ladder.change(side, *levels)
        if book.depth is not None:
            ladder.keep(book.depth)
        if change.checksum is None:
            return
        for side, levels in ((BID, change.bids), (ASK, change.asks)):
            texts = book.texts[side]
            texts.update(zip(levels[0], change.texts[side], strict=True))
            if len(texts) > _MOST_TEXTS:
                # Levels that have gone leave theirs behind.
                for gone in texts.keys() - set(ladder.best(side, len(texts))[0]):
                    del texts[gone]
        checksum = change.checksum
        best = [
            [book.texts[side][px] for px in ladder.best(side, checksum.n_levels)[0] if px in book.texts[side]]
            for side in (BID, ASK)
        ]
        if checksum.of(best[BID], best[ASK]) != checksum.value:
            raise GapError(f"{change.stream}: the book has another checksum than {checksum.value}; it ends")

    def saved(self) -> dict[str, bytes | None]:
        """Return what is known of each symbol that has changed since the last call; None where nothing is."""
        dirty, self._dirty = sorted(self._dirty), set()
        return {symbol: self._saved(symbol) for symbol in dirty}

    def _saved(self, symbol: str) -> bytes | None:
        book = self._books.get(symbol)
        waiting = {
            key[1]: [_saved_change(one) for one in kept] for key, kept in self._waiting.items() if key[0] == symbol
        }
        told = sorted(stream for name, stream in self._told if name == symbol)
        if book is None and not waiting and not told:
            return None
        found = None
        if book is not None:
            found = {
                "stream": book.stream,
                "last": book.last,
                "depth": book.depth,
                "is_fresh": book.is_fresh,
                "is_lost": book.is_lost,
                "levels": [book.ladder.best(side, book.ladder.n_levels(side)) for side in (BID, ASK)],
                "texts": [
                    [[px, *texts[px]] for px in book.ladder.best(side, book.ladder.n_levels(side))[0] if px in texts]
                    for side, texts in zip((BID, ASK), book.texts, strict=True)
                ],
            }
        return orjson.dumps({"book": found, "waiting": dict(sorted(waiting.items())), "told": told})

    def load(self, saved: Mapping[str, bytes]) -> None:
        """Continue with what `saved` returned for each symbol."""
        for symbol, value in saved.items():
            items = orjson.loads(value)
            found = items["book"]
            if found is not None:
                book = _Book(found["stream"], found["last"], found["depth"])
                book.is_fresh, book.is_lost = found["is_fresh"], found["is_lost"]
                for side in (BID, ASK):
                    book.ladder.change(side, *found["levels"][side])
                    book.texts[side].update({px: (price, size) for px, price, size in found["texts"][side]})
                self._books[symbol] = book
            for stream, kept in items["waiting"].items():
                self._waiting[symbol, stream] = deque((Change(**one) for one in kept), MAX_WAITING)
            self._told.update((symbol, stream) for stream in items["told"])


def _saved_change(change: Change) -> dict[str, object]:
    """Return changes that wait for their snapshot; those have no checksum."""
    names = ("stream", "bids", "asks", "is_snapshot", "first", "last", "prev", "waits", "depth")
    return {name: getattr(change, name) for name in names}


def _is_next(book: _Book, change: Change) -> bool:
    """Return whether changes follow on what was applied."""
    if change.prev is not None and change.prev == book.last:
        return True
    if change.first is None or book.last is None:
        return change.prev is None and change.last is None
    is_in_reach = change.first <= book.last + 1 and (change.last or 0) > book.last
    return is_in_reach and (book.is_fresh or (change.prev is None and change.first == book.last + 1))

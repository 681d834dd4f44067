"""Known symbols by their bytes: a hash table that compiled scanners can read.

It is a cache.  A codec gives symbols the numbers of the order in which a
batch's rows name them (`local`, `order`), never those of this table, so that
what was decoded before cannot be seen in a batch.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from impactd.core.base.jit import uncounted_kernel
from impactd.core.inputs.ticks import Int32
from impactd.wire.fields import MAX_SYMBOL
from impactd.wire.ticks.scanning.numbers import Bytes

#: Symbols in the cache, and the slots of its hash table (a power of two, at most half full).
MAX_CACHED: Final = 8_192
SLOTS: Final = 16_384

# FNV-1a, 64 bit: http://www.isthe.com/chongo/tech/comp/fnv/
_FNV_BASIS: Final = 14695981039346656037
_FNV_PRIME: Final = 1099511628211


class Table(NamedTuple):
    """Known symbols, and their numbers within the batch."""

    slot: Int32
    """Symbol number in each slot of the hash table, or -1."""
    text: Bytes
    """Symbols, shape (MAX_CACHED, MAX_SYMBOL)."""
    length: Int32
    local: Int32
    """Number of each symbol within the batch, or -1."""
    order: Int32
    """Symbol numbers in the order in which the batch names them."""


@uncounted_kernel
def find_symbol(buf: Bytes, start: int, end: int, slots: Int32, text: Bytes, lengths: Int32) -> int:
    """Return the number of the symbol in ``buf[start:end]``.

    Returns
    -------
    int
        -1 where it is no printable ASCII of 1 to `MAX_SYMBOL` characters without quote or
        backslash, -2 where the table does not know it.
    """
    n = end - start
    if not 0 < n <= MAX_SYMBOL:
        return -1
    h = np.uint64(_FNV_BASIS)
    for k in range(start, end):
        c = buf[k]
        if not 32 <= c < 127 or c in (34, 92):
            return -1
        h = (h ^ np.uint64(c)) * np.uint64(_FNV_PRIME)
    slot = np.int64((h ^ (h >> np.uint64(32))) & np.uint64(SLOTS - 1))
    while slots[slot] >= 0:
        number = slots[slot]
        same = lengths[number] == n
        k = 0
        while same and k < n:
            same = text[number, k] == buf[start + k]
            k += 1
        if same:
            return int(number)
        slot = (slot + 1) & (SLOTS - 1)
    return -2


class SymbolCache:
    """Owns a `Table` and the symbols' names."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Empty the cache."""
        self._names: list[str] = []
        self.table = Table(
            slot=np.full(SLOTS, -1, np.int32),
            text=np.zeros((MAX_CACHED, MAX_SYMBOL), np.uint8),
            length=np.zeros(MAX_CACHED, np.int32),
            local=np.full(MAX_CACHED, -1, np.int32),
            order=np.zeros(MAX_CACHED, np.int32),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """All symbols in the cache, by their number."""
        return tuple(self._names)

    @property
    def is_full(self) -> bool:
        """Whether a new symbol would find no room."""
        return len(self._names) >= MAX_CACHED

    def remember(self, symbol: bytes) -> bool:
        """Add a symbol that `find_symbol` did not know; return whether there was room."""
        if self.is_full:
            return False
        h = _FNV_BASIS
        for c in symbol:
            h = ((h ^ c) * _FNV_PRIME) & (2**64 - 1)
        slot = (h ^ (h >> 32)) & (SLOTS - 1)
        while self.table.slot[slot] >= 0:
            slot = (slot + 1) & (SLOTS - 1)
        number = len(self._names)
        self.table.slot[slot] = number
        self.table.text[number, : len(symbol)] = np.frombuffer(symbol, np.uint8)
        self.table.length[number] = len(symbol)
        self._names.append(symbol.decode("ascii"))
        return True

    def end_batch(self, n_local: int) -> tuple[str, ...]:
        """Return the batch's symbols in order of first appearance, and be ready for the next batch."""
        order = self.table.order[:n_local]
        self.table.local[order] = -1
        return tuple(self._names[number] for number in order)

"""Kafka's partitioner: which partition a key belongs to.

Ticks, orders, executions and control of one symbol share a partition number,
because every producer partitions by Kafka's murmur2 (the Java client's
default; librdkafka's is ``partitioner=murmur2``).  A record that arrives on
another partition is misplaced.

References
----------
.. [1] A. Appleby, MurmurHash2, 32 bit; with the seed of Apache Kafka's
   ``org.apache.kafka.common.utils.Utils.murmur2``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_R: Final = 24
_MASK: Final = 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """Return the 32-bit MurmurHash2 of `key`, unsigned (Java's is the same number, signed)."""
    n = len(key)
    h = _SEED ^ n
    whole = n & ~3
    for i in range(0, whole, 4):
        word = int.from_bytes(key[i : i + 4], "little") * _M & _MASK
        word = (word ^ word >> _R) * _M & _MASK
        h = (h * _M & _MASK) ^ word
    if whole < n:
        h = (h ^ int.from_bytes(key[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


@lru_cache(maxsize=65_536)
def partition_for(symbol: str, n_partitions: int) -> int:
    """Return the partition number of a symbol's records.

    Parameters
    ----------
    symbol : str
        The record's key, encoded as UTF-8.
    n_partitions : int
        Partitions of the topic.

    Returns
    -------
    int
        In [0, n_partitions).
    """
    return (murmur2(symbol.encode()) & 0x7FFFFFFF) % n_partitions

"""The records of a Kafka record batch (message format 2), read by a compiled kernel.

The kernel is certain or declines: a batch whose bytes do not match the format exactly is left to aiokafka's own reader,
which raises the right errors.  https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from impactd.core.base.jit import uncounted_kernel
from impactd.core.inputs.columns import (
    CODEC,
    CODEC_LENGTH,
    HEADERS,
    KEY,
    KEY_LENGTH,
    NO_CODEC,
    OFFSET,
    TIMESTAMP,
    VALUE,
    VALUE_LENGTH,
    varint,
)

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

#: The least bytes of a record: length, attributes, time, offset, key, value and number of headers.
LEAST_RECORD: Final = 7

#: Times and offsets of a record beyond this are left to aiokafka: no sum of two of them wraps.
_FAR: Final = 1 << 61

_CODEC_NAME: Final = int.from_bytes(b"codec", "big")


@uncounted_kernel
def _headers(buf: Bytes, at: int, end: int, count: int, rows: Ints, n: int) -> int:
    """Note the codec that the headers name, and return the position behind them, -1 where unsure."""
    for _ in range(count):
        length, at = varint(buf, at, end)
        if at < 0 or not 0 <= length <= end - at:
            return -1
        name = 0
        for k in range(at, at + length):
            if buf[k] > 127:
                return -1
            name = (name << 8) | int(buf[k]) if k < at + 5 else 0
        at += length
        is_codec = length == 5 and name == _CODEC_NAME and rows[CODEC_LENGTH, n] == NO_CODEC
        length, at = varint(buf, at, end)
        if at < 0 or not -1 <= length <= end - at:
            return -1
        if is_codec:
            rows[CODEC, n] = at
            rows[CODEC_LENGTH, n] = length
        at += max(length, 0)
    return at


@uncounted_kernel
def read_records(
    buf: Bytes,
    at: int,
    stop: int,
    count: int,
    base_offset: int,
    last_offset: int,
    first_ms: int,
    append_ms: int,
    position: int,
    rows: Ints,
    n: int,
) -> int:
    """Read the records of one batch from offset `position` on into the columns `rows`, from place `n` on.

    Parameters
    ----------
    at, stop : int
        Where its records are in `buf`, decompressed.
    base_offset, last_offset : int
        Offsets of the first and last record.
    first_ms : int
        What the records' times are relative to.
    append_ms : int
        The time of every record, if the broker gave it; else -1.
    position : int
        Records before this offset are left out.
    rows : ndarray of int64, shape (N_COLUMNS, at least n + count)

    Returns
    -------
    int
        Places that are filled now; -1 where anything is not as the format has it.
    """
    if not (0 <= base_offset <= last_offset < _FAR and -1 <= first_ms < _FAR):
        return -1
    for _ in range(count):
        length, at = varint(buf, at, stop)
        # The bits of the attributes are unused.
        if at < 0 or not 0 < length <= stop - at or buf[at] != 0:
            return -1
        end = at + length
        behind_ms, at = varint(buf, at + 1, end)
        if at < 0 or not -_FAR < behind_ms < _FAR:
            return -1
        behind, at = varint(buf, at, end)
        if at < 0 or not 0 <= behind <= last_offset - base_offset:
            return -1
        key_length, at = varint(buf, at, end)
        if at < 0 or not -1 <= key_length <= end - at:
            return -1
        key = at
        value_length, at = varint(buf, at + max(key_length, 0), end)
        if at < 0 or not -1 <= value_length <= end - at:
            return -1
        value = at
        at += max(value_length, 0)
        headers = at
        n_headers, at = varint(buf, at, end)
        if at < 0 or not 0 <= n_headers <= end - at:
            return -1
        rows[CODEC, n] = 0
        rows[CODEC_LENGTH, n] = NO_CODEC
        at = _headers(buf, at, end, n_headers, rows, n)
        if at != end:
            return -1
        offset = base_offset + behind
        if offset < position:
            continue
        position = offset + 1
        rows[OFFSET, n] = offset
        rows[TIMESTAMP, n] = first_ms + behind_ms if append_ms < 0 else append_ms
        rows[KEY, n] = key
        rows[KEY_LENGTH, n] = key_length
        rows[VALUE, n] = value
        rows[VALUE_LENGTH, n] = value_length
        # A value without headers is followed by a zero byte, which ends every scan of it.
        rows[HEADERS, n] = 0 if buf[headers] == 0 else headers
        n += 1
    return n if at == stop else -1

"""What the wire's tests share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from impactd.core.inputs.ticks import TickBatch
from impactd.wire.codec import Decoded
from impactd.wire.decoder import join
from impactd.wire.tick_codec import TickCodec

T0 = 1_743_687_000_125_395_235


def assert_same_batch(left: TickBatch, right: TickBatch) -> None:
    """Assert that two batches are the same bit for bit, NaN and zero signs included."""
    assert left.symbols == right.symbols
    for name in TickBatch.__dataclass_fields__:
        if name != "symbols":
            a, b = getattr(left, name), getattr(right, name)
            assert a.dtype == b.dtype, name
            assert a.shape == b.shape, name
            assert a.tobytes() == b.tobytes(), name
            assert a.flags.c_contiguous, name


def decode_in_batches(codec: TickCodec, values: Sequence[bytes], size: int, ts_record: int = -1) -> Decoded:
    """Decode `values` as records 0, 1, ... in batches of `size`."""
    parts = []
    for start in range(0, len(values), size):
        chunk = values[start : start + size]
        offsets = np.arange(start, start + len(chunk))
        parts.append(codec.decode_columns(chunk, offsets, np.full(len(chunk), ts_record)))
    return join(parts)


def reasons(decoded: Decoded) -> list[str]:
    """Return the reasons of what was refused."""
    return [refused.reason for refused in decoded.refused]


def keep(state: dict[str, bytes], changes: Mapping[str, bytes | None]) -> None:
    """Take changed keys into a state; None deletes one, which it must have."""
    for key, value in changes.items():
        if value is None:
            del state[key]
        else:
            state[key] = value

"""Codecs by name, and the decoder that picks one a record.

A new codec is one module and one line in `_CODECS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final

import numpy as np

from impactd.core.inputs.ticks import Int, Refused, TickBatch
from impactd.wire.codec import Decoded, FieldError, Limits, TickCodec, bounded, shown
from impactd.wire.ticks.databento import codec as databento
from impactd.wire.ticks.json import codec as json_ticks
from impactd.wire.ticks.long_csv import codec as long_csv

_CODECS: Final[dict[str, Callable[[Limits], TickCodec]]] = {
    json_ticks.NAME: json_ticks.JsonTickCodec,
    databento.NAME: lambda limits: databento.DatabentoCodec(limits=limits),
    long_csv.NAME: lambda limits: long_csv.LongCsvCodec(limits=limits),
}

CODEC_NAMES: Final = tuple(_CODECS)
DEFAULT_CODEC: Final = json_ticks.NAME


class UnknownCodecError(ValueError):
    """A codec name that nothing stands behind."""


def make_codec(name: str, limits: Limits | None = None) -> TickCodec:
    """Return a new codec.

    Raises
    ------
    UnknownCodecError
        Names the codecs that there are.
    """
    try:
        return _CODECS[name](limits or Limits())
    except KeyError:
        raise UnknownCodecError(f"codec {shown(name)} does not exist; choose one of {', '.join(CODEC_NAMES)}") from None


class TickDecoder:
    """Decodes records by the codec that each one's header names.

    Parameters
    ----------
    default : str
        For records whose header names none.

    Raises
    ------
    UnknownCodecError
        If `default` does not exist.
    """

    def __init__(self, default: str = DEFAULT_CODEC, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._codecs = {default: make_codec(default, self._limits)}
        self._default = default

    def codec_for(self, header: str | None) -> TickCodec | None:
        """Return the codec that a record's header names, or None where there is no such codec."""
        name = header if header is not None else self._default
        if name not in self._codecs:
            if name not in _CODECS:
                return None
            self._codecs[name] = make_codec(name, self._limits)
        return self._codecs[name]

    def decode_columns(
        self,
        values: Sequence[bytes],
        offsets: Sequence[int] | Int,
        ts_records: Sequence[int] | Int,
        keys: Sequence[bytes | None] | None = None,
        headers: Sequence[str | None] | None = None,
    ) -> Decoded:
        """Decode records of one or several codecs, in their order.

        Parameters
        ----------
        values, offsets, ts_records, keys
            As `impactd.wire.codec.TickCodec.decode_columns` has them.
        headers : sequence of str or None, optional
            The codec that each record names; leave out where none does.

        Returns
        -------
        Decoded
            A record with an unknown codec is refused as ``unknown_codec``.
        """
        if headers is None or all(name is None for name in headers):
            return self._codecs[self._default].decode_columns(values, offsets, ts_records, keys)
        parts = []
        at = 0
        for name, run in groupby(headers):
            rows = slice(at, at + len(list(run)))
            at = rows.stop
            columns = (values[rows], offsets[rows], ts_records[rows], keys[rows] if keys is not None else None)
            codec = self.codec_for(name)
            parts.append(codec.decode_columns(*columns) if codec is not None else _refuse_all(str(name), *columns))
        return join(parts)


def _refuse_all(
    name: str,
    values: Sequence[bytes],
    offsets: Sequence[int] | Int,
    ts_records: Sequence[int] | Int,
    keys: Sequence[bytes | None] | None,
) -> Decoded:
    error = FieldError("unknown_codec", f"codec {shown(name)} does not exist; choose one of {', '.join(CODEC_NAMES)}")
    # The name came from outside: it is bounded before it becomes part of anything.
    codec = bounded(name)[:64]
    return Decoded(
        TickBatch.empty(),
        [
            Refused(
                int(offsets[i]), error.reason, error.detail, value, keys[i] if keys else None, codec, int(ts_records[i])
            )
            for i, value in enumerate(values)
        ],
    )


def join(parts: Sequence[Decoded]) -> Decoded:
    """Return what several batches gave, one after another."""
    if len(parts) == 1:
        return parts[0]
    return Decoded(
        TickBatch.concat([part.batch for part in parts]),
        [refused for part in parts for refused in part.refused],
        int(np.sum([part.skipped_unknown for part in parts], dtype=np.int64)),
    )

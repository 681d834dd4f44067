"""Decodes records by the codec that each one's header names."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from impactd.core.base.registry import UnknownNameError
from impactd.core.inputs.ticks import Int, Refused, TickBatch
from impactd.wire.codec import Decoded, FieldError, Limits, bounded
from impactd.wire.registry import CODECS, DEFAULT_CODEC
from impactd.wire.tick_codec import Books, TickCodec


class TickDecoder:
    """Decodes records of one or several codecs.

    Parameters
    ----------
    default : str
        Codec of records whose header names none.
    live : bool, optional
        Whether books are built from the records of one call to the next; otherwise each record is decoded by itself.
    """

    def __init__(self, default: str = DEFAULT_CODEC, limits: Limits | None = None, *, live: bool = False) -> None:
        self._limits = limits or Limits()
        self._live = live
        self._default = default
        self._codecs: dict[str, TickCodec] = {}
        self._codecs[default] = self._made(default)

    def _made(self, name: str) -> TickCodec:
        codec = CODECS.get(name)(self._limits)
        return codec.live() if self._live else codec

    @property
    def books(self) -> list[tuple[str, Books]]:
        """Books of the codecs that have been used so far, by the codec's name."""
        return [(name, codec.books) for name, codec in sorted(self._codecs.items()) if codec.books is not None]

    def codec_for(self, header: str | None) -> TickCodec:
        """Return the codec that a record's header names.

        Raises
        ------
        FieldError
            ``unknown_codec`` if there is none, or it cannot be loaded.
        """
        name = header if header is not None else self._default
        if name not in self._codecs:
            try:
                self._codecs[name] = self._made(name)
            except (UnknownNameError, ImportError) as error:
                raise FieldError("unknown_codec", str(error)) from error
        return self._codecs[name]

    def decode_columns(
        self,
        values: Sequence[bytes],
        offsets: Sequence[int] | Int,
        ts_records: Sequence[int] | Int,
        keys: Sequence[bytes | None] | None = None,
        headers: Sequence[str | None] | None = None,
    ) -> Decoded:
        """Decode records in their order.

        Parameters
        ----------
        values, offsets, ts_records, keys
            See `impactd.wire.tick_codec.TickCodec.decode_columns`.
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
            try:
                codec = self.codec_for(name)
            except FieldError as error:
                parts.append(_refuse_all(error, str(name), *columns))
            else:
                parts.append(codec.decode_columns(*columns))
        return join(parts)


def _refuse_all(
    error: FieldError,
    name: str,
    values: Sequence[bytes],
    offsets: Sequence[int] | Int,
    ts_records: Sequence[int] | Int,
    keys: Sequence[bytes | None] | None,
) -> Decoded:
    # The name is foreign: it is bounded before it becomes part of anything.
    codec = bounded(name)[:64]
    refused = [
        Refused(
            int(offsets[i]), error.reason, error.detail, value, keys[i] if keys else None, codec, int(ts_records[i])
        )
        for i, value in enumerate(values)
    ]
    return Decoded(TickBatch.empty(), refused)


def join(parts: Sequence[Decoded]) -> Decoded:
    """Return what several batches decoded to, one after another."""
    if len(parts) == 1:
        return parts[0]
    return Decoded(
        TickBatch.concat([part.batch for part in parts]),
        [refused for part in parts for refused in part.refused],
        int(np.sum([part.skipped_unknown for part in parts], dtype=np.int64)),
        [event for part in parts for event in part.events],
        [offset for part in parts for offset in part.building],
    )

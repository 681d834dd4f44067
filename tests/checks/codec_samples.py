"""Good records of a codec: what the contract checks and the fuzzer work with.

Each codec of ours has a `SAMPLES` next to its tests, in the package that mirrors its module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from impactd.wire.codec import Limits
from impactd.wire.content import Head
from impactd.wire.registry import CODECS
from impactd.wire.tick_codec import FileOptions, TickCodec

#: (price, size), best first.
Side = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class CodecSamples:
    """Records of one codec.

    Attributes
    ----------
    book : callable
        (symbol, ts_event in ns, bids, asks) to a record, without a line end.
    trade : callable or None
        (symbol, ts_event, px, qty) to a record that holds a trade; None where the encoding has none.
    header : bytes
        Lines of a file before its records, with their line ends.
    file_name : str
        What such a file is called.
    fixed_unit : bool
        Whether the encoding fixes the unit of its times, whatever the setting.
    more : callable
        (symbol, ts_event) to further good records, of other forms.
    join : callable
        Records to the content of a file behind its header.
    whole_sizes : bool
        Whether the encoding holds whole sizes only.
    one_symbol : bool
        Whether the symbol is the file's, FROG here, whatever a record is asked to have.
    """

    book: Callable[[str, int, Side, Side], bytes]
    trade: Callable[[str, int, float, float], bytes] | None = None
    header: bytes = b""
    file_name: str = "day.csv"
    fixed_unit: bool = False
    more: Callable[[str, int], list[bytes]] = lambda symbol, ts_event: []  # noqa: ARG005  # none
    join: Callable[[Sequence[bytes]], bytes] = lambda records: b"".join(record + b"\n" for record in records)
    whole_sizes: bool = False
    one_symbol: bool = False

    def codec(self, name: str, limits: Limits | None = None, **options: Any) -> TickCodec:
        """Return the codec as it is for these records."""
        return CODECS.get(name).from_header(
            Head(self.file_name, self.header), FileOptions(limits=limits or Limits(), **options)
        )

    def file(self, records: Sequence[bytes]) -> bytes:
        """Return a file of records."""
        return self.header + self.join(records)


def samples_of(name: str) -> CodecSamples:
    """Return the samples of one of our codecs."""
    module = CODECS.get(name).__module__.replace("impactd.", "tests.", 1).rpartition(".")[0]
    found = import_module(f"{module}.samples").SAMPLES
    if isinstance(found, dict):  # several codecs in one package
        found = found[name]
    assert isinstance(found, CodecSamples)
    return found

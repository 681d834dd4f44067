"""Definitions, trading statuses and imbalances in DBN (record types 19, 18 and 20), as events of the core.

What definitions and statuses state is in `impactd.wire.ticks.databento.notices`.

An imbalance gives what is paired for the auction at the open (types O and M) or the close (C); others, such as that of
a halt, are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from impactd.core.inputs.events import Definition, Imbalance, MarketEvent, TradingStatus
from impactd.core.inputs.ticks import Int
from impactd.wire.ticks.databento.imbalance import AUCTIONS, IMBALANCE, NO_QTY
from impactd.wire.ticks.databento.notices import DEFINITION, STATUS, definition_of, status_of
from impactd.wire.times import MAX_NS, MIN_NS


def _layout(**fields: tuple[str, int]) -> np.dtype[Any]:
    formats, offsets = [form for form, _ in fields.values()], [at for _, at in fields.values()]
    return np.dtype({"names": list(fields), "formats": formats, "offsets": offsets})


#: By length in bytes: that of versions 1, 2 and 3 (Databento, InstrumentDefMsg).
_DEFINITIONS: Final = {
    360: _layout(
        tick=("<i8", 24), low=("<i8", 64), tick_value=("<i8", 96), most=("<u4", 136), lot=("<i4", 140),
        least=("<u4", 152), multiplier=("<i4", 160), currency=("S4", 186), kind=("S1", 325), update=("S1", 349),
    ),
    400: _layout(
        tick=("<i8", 24), low=("<i8", 64), tick_value=("<i8", 96), most=("<u4", 144), lot=("<i4", 148),
        least=("<u4", 160), multiplier=("<i4", 164), currency=("S4", 186), kind=("S1", 374), update=("S1", 382),
    ),
    520: _layout(
        tick=("<i8", 24), low=("<i8", 64), tick_value=("<i8", 88), most=("<u4", 156), lot=("<i4", 160),
        least=("<u4", 172), multiplier=("<i4", 176), currency=("S4", 224), kind=("S1", 487), update=("S1", 493),
    ),
}  # fmt: skip

_STATUS: Final = _layout(action=("<u2", 24), reason=("<u2", 26), trades=("S1", 30), short=("S1", 32))
_STATUS_BYTES: Final = 40

_IMBALANCE: Final = _layout(paired=("<u4", 88), auction=("S1", 104))
_IMBALANCE_BYTES: Final = 112


def market_events(
    words: npt.NDArray[np.int64], start: Int, name_of: Callable[[int, int, int], str | None]
) -> Iterator[tuple[int, MarketEvent]]:
    """Yield the definitions, statuses and imbalances among records, each with the index of its record.

    Parameters
    ----------
    start : ndarray of int64, shape (n,)
        First word of each.
    name_of : callable
        From index, instrument id and ts_event (ns) of a record to its symbol, or None.
    """
    rtype = (words[start] >> 8) & 0xFF
    for j in np.flatnonzero(np.isin(rtype, list(_READERS))).tolist():
        at = int(start[j])
        size = int(words[at] & 0xFF) * 4
        raw = words[at : at + (size + 7) // 8].tobytes()[:size]
        ts_event = int.from_bytes(raw[8:16], "little")
        if not MIN_NS <= ts_event <= MAX_NS:
            continue
        symbol = name_of(j, int.from_bytes(raw[4:8], "little"), ts_event)
        event = None if symbol is None else _READERS[int(rtype[j])](raw, symbol, ts_event)
        if event is not None:
            yield j, event


def _definition(raw: bytes, symbol: str, ts_event: int) -> Definition | None:
    layout = _DEFINITIONS.get(len(raw), _DEFINITIONS.get(len(raw) - 8))  # some have ts_out behind them
    if layout is None:
        return None
    return definition_of(symbol, ts_event, np.frombuffer(raw[: layout.itemsize], layout, 1)[0])


def _status(raw: bytes, symbol: str, ts_event: int) -> TradingStatus | None:
    if len(raw) < _STATUS_BYTES:
        return None
    return status_of(symbol, ts_event, np.frombuffer(raw[: _STATUS.itemsize], _STATUS, 1)[0])


def _imbalance(raw: bytes, symbol: str, ts_event: int) -> Imbalance | None:
    if len(raw) < _IMBALANCE_BYTES:
        return None
    row = np.frombuffer(raw[: _IMBALANCE.itemsize], _IMBALANCE, 1)[0]
    auction, paired = AUCTIONS.get(bytes(row["auction"]).decode("latin-1")), int(row["paired"])
    return None if auction is None or paired == NO_QTY else Imbalance(symbol, ts_event, auction, float(paired))


_READERS: Final[dict[int, Callable[[bytes, str, int], MarketEvent | None]]] = {
    STATUS: _status,
    DEFINITION: _definition,
    IMBALANCE: _imbalance,
}

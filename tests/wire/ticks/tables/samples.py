"""Good rows of tables, by dialect."""

from __future__ import annotations

from collections.abc import Callable

from impactd.wire.ticks.tables.incremental import HEADER
from impactd.wire.ticks.tables.sip import _QUOTE
from tests.checks.codec_samples import CodecSamples, Side

N_LEVELS = 10


def samples(
    time: Callable[[int], str], head: str, levels: Callable[[int], str], *, fixed_unit: bool = False
) -> CodecSamples:
    """Return samples of a table whose rows begin as `head`, with the time's and the symbol's places."""
    header = ",".join([head.format(time="timestamp", symbol="symbol"), *(levels(i) for i in range(N_LEVELS))])

    def book(symbol: str, ts_event: int, bids: Side, asks: Side) -> bytes:
        fields = [head.replace("local_timestamp", "{time}").format(time=time(ts_event), symbol=symbol)]
        for i in range(N_LEVELS):
            fields += [f"{side[i][0]},{side[i][1]}" if i < len(side) else "," for side in (asks, bids)]
        return ",".join(fields).encode()

    return CodecSamples(book, header=header.encode() + b"\n", fixed_unit=fixed_unit)


def message(symbol: str, ts_event: int, bids: Side, asks: Side) -> bytes:
    """Return a snapshot of incremental_book_L2; one without levels has a line of no size."""
    time = f"{ts_event // 1_000}.{ts_event % 1_000:03}"
    lines = [f"x,{symbol},{time},{time},true,{side},{px},{sz}" for side, levels in (("ask", asks), ("bid", bids))
             for px, sz in levels]  # fmt: skip
    return "\n".join(lines or [f"x,{symbol},{time},{time},true,bid,1.0,0"]).encode()


def tape(time: str, *, fixed_unit: bool) -> CodecSamples:
    """Return samples of a vendor's quotes of the US tapes, with more levels than they have, and sizes in round lots."""
    names = [time, "symbol", "conditions", "tape", *sorted(_QUOTE)]
    names += [
        f"{side}_{what}_{i + 1}" for i in range(N_LEVELS) for side in ("bid", "ask") for what in ("price", "size")
    ]

    def book(symbol: str, ts_event: int, bids: Side, asks: Side) -> bytes:
        fields = [str(ts_event), symbol, *[""] * (2 + len(_QUOTE))]
        for i in range(N_LEVELS):
            fields += [f"{side[i][0]},{int(side[i][1]) / 100}" if i < len(side) else "," for side in (bids, asks)]
        return ",".join(fields).encode()

    return CodecSamples(book, header=",".join(names).encode() + b"\n", fixed_unit=fixed_unit, whole_sizes=True)


SAMPLES = {
    "polygon-quotes-csv": tape("sip_timestamp", fixed_unit=True),
    "alpaca-quotes-csv": tape("timestamp", fixed_unit=False),
    "tardis-incremental-csv": CodecSamples(message, header=HEADER.encode() + b"\n", fixed_unit=True),
    "wide-csv": samples(
        str, "{time},{symbol}", lambda i: f"ask_price_{i + 1},ask_size_{i + 1},bid_price_{i + 1},bid_size_{i + 1}"
    ),
    "tardis-csv": samples(
        lambda ns: f"{ns // 1_000}.{ns % 1_000:03}",
        "exchange,{symbol},{time},local_timestamp",
        lambda i: f"asks[{i}].price,asks[{i}].amount,bids[{i}].price,bids[{i}].amount",
        fixed_unit=True,
    ),
}

"""Good joined lines of LOBSTER's files, of one day of FROG."""

from __future__ import annotations

from datetime import date

from impactd.wire.ticks.lobster.names import PAIR, LobsterName
from tests.checks.codec_samples import CodecSamples, Side

N_LEVELS = 5
NAME = LobsterName("FROG", date(2025, 4, 3), 34_200_000, 57_600_000, PAIR, N_LEVELS)


def message(ts_event: int, kind: int = 1, px: float = 31.0, qty: int = 100, direction: int = 1) -> str:
    ns = ts_event - NAME.midnight_ns
    return f"{ns // 10**9}.{ns % 10**9:09},{kind},17,{qty},{round(px * 10_000)},{direction}"


def levels(bids: Side, asks: Side) -> str:
    made = []
    for i in range(N_LEVELS):
        for side, empty in ((asks, 9_999_999_999), (bids, -9_999_999_999)):
            made.append(f"{round(side[i][0] * 10_000)},{int(side[i][1])}" if i < len(side) else f"{empty},0")
    return ",".join(made)


def book(symbol: str, ts_event: int, bids: Side, asks: Side) -> bytes:
    del symbol
    return f"{message(ts_event)},{levels(bids, asks)}".encode()


def trade(symbol: str, ts_event: int, px: float, qty: float) -> bytes:
    del symbol
    return f"{message(ts_event, 4, px, int(qty))},{levels([(px - 0.01, 300)], [(px + 0.01, 300)])}".encode()


def more(symbol: str, ts_event: int) -> list[bytes]:
    del symbol
    sides = levels([(31.0, 300)], [(31.1, 300)])
    return [f"{message(ts_event, kind, direction=-1)},{sides}".encode() for kind in (2, 3, 5, 6, 7)]


SAMPLES = CodecSamples(
    book, trade, file_name=NAME.text(PAIR), fixed_unit=True, more=more, whole_sizes=True, one_symbol=True
)

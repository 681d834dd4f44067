"""quixstreams doing the service's per-minute slippage of 16 sizes a side, in a process of its own.

Two programs, both with the walk and the time-weighting compiled by numba, as a user who cares for speed would have
them:

- ``window``: the documented way, a tumbling window whose reducer keeps the book's walk and the minute's sums.
  quixstreams keeps a window's value as JSON.
- ``tuned``: what can be had by leaving windows alone: one array of bytes a symbol in a stateful function that closes
  minutes by itself.

Settings are the defaults (a checkpoint each five seconds, changelog topics), with lz4 for what is produced.  Time
runs from the first message processed to the last; neither start nor the last checkpoint count.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit
from quixstreams import Application
from quixstreams.dataframe import StreamingDataFrame
from quixstreams.state import State

from tests.benchmarks.books import OPEN_NS, SIZES
from tests.benchmarks.legs import Measured, reply

Float = npt.NDArray[np.float64]

_MINUTE_NS: Final = 60_000_000_000
_K: Final = 2 * len(SIZES)
#: Of the accumulator: time of the standing book, its walk, then sums over time and the time held, by side and size.
_TS, _WALK, _SUM, _HELD = 0, slice(1, 1 + _K), slice(1 + _K, 1 + 2 * _K), slice(1 + 2 * _K, 1 + 3 * _K)
_SIZES: Final = np.array(SIZES)


@njit(cache=True)
def _walk(bids: Float, asks: Float, sizes: Float, g: Float) -> None:
    mid = 0.5 * (bids[0, 0] + asks[0, 0])
    n = sizes.shape[0]
    for side in range(2):
        levels, sign = (asks, 1.0) if side == 0 else (bids, -1.0)
        filled, paid, j = 0.0, 0.0, 0
        for k in range(n):
            while j < levels.shape[0] and filled + levels[j, 1] < sizes[k]:
                filled += levels[j, 1]
                paid += levels[j, 1] * levels[j, 0]
                j += 1
            if j == levels.shape[0]:
                g[side * n + k] = np.nan
            else:
                g[side * n + k] = sign * ((paid + (sizes[k] - filled) * levels[j, 0]) / sizes[k] - mid)


@njit(cache=True)
def _stand(acc: Float, until: float) -> None:
    """Count the standing book up to `until`, seconds."""
    n = (acc.shape[0] - 1) // 3
    held = until - acc[0]
    for k in range(1, n + 1):
        if not np.isnan(acc[k]):
            acc[n + k] += acc[k] * held
            acc[2 * n + k] += held
    acc[0] = until


@njit(cache=True)
def _step(acc: Float, until: float, bids: Float, asks: Float, sizes: Float) -> None:
    """Count the standing book up to `until`, and put the next in its place."""
    _stand(acc, until)
    _walk(bids, asks, sizes, acc[1 : 1 + (acc.shape[0] - 1) // 3])


def _seconds(book: dict[str, Any]) -> float:
    return float(book["ts_event"] - OPEN_NS) * 1e-9


def _levels(book: dict[str, Any]) -> tuple[Float, Float]:
    return np.array(book["bids"], np.float64), np.array(book["asks"], np.float64)


def _estimate(acc: Float, minute_ns: int) -> dict[str, Any]:
    with np.errstate(invalid="ignore"):
        slippage = acc[_SUM] / acc[_HELD]
    return {"minute": minute_ns, "slippage": slippage.tolist(), "held_s": acc[_HELD].tolist()}


def _windowed(books: StreamingDataFrame) -> StreamingDataFrame:
    def first(book: dict[str, Any]) -> list[float]:
        acc = np.zeros(1 + 3 * _K)
        acc[_TS] = _seconds(book)
        _step(acc, acc[_TS], *_levels(book), _SIZES)
        return acc.tolist()

    def following(held: list[float], book: dict[str, Any]) -> list[float]:
        acc = np.array(held, np.float64)  # what was censored comes back as None, and becomes NaN again
        _step(acc, _seconds(book), *_levels(book), _SIZES)
        return acc.tolist()

    closed = books.tumbling_window(60_000, grace_ms=1_000).reduce(following, first).final()
    return closed.apply(lambda window: _estimate(np.array(window["value"], np.float64), window["start"] * 1_000_000))


def _tuned(books: StreamingDataFrame) -> StreamingDataFrame:
    def update(book: dict[str, Any], state: State) -> dict[str, Any] | None:
        ts = book["ts_event"]
        kept = state.get_bytes("acc")
        if kept is None:
            acc = np.zeros(1 + 3 * _K)
            acc[_TS] = _seconds(book)
        else:
            acc = np.frombuffer(kept).copy()
        minute = ts // _MINUTE_NS
        closed = None
        before = (OPEN_NS + round(acc[_TS] * 1e9)) // _MINUTE_NS
        if minute > before:
            end = (before + 1) * _MINUTE_NS
            _stand(acc, (end - OPEN_NS) * 1e-9)
            closed = _estimate(acc, before * _MINUTE_NS)
            acc[_SUM] = acc[_HELD] = 0.0
        _step(acc, _seconds(book), *_levels(book), _SIZES)
        state.set_bytes("acc", acc.tobytes())
        return closed

    return books.apply(update, stateful=True).filter(lambda closed: closed is not None)


def run(bootstrap: str, topic: str, out: str, messages: int, program: str, guarantee: str) -> Measured:
    """Process the first `messages` of `topic` and return how long those after the first took."""
    marks: list[tuple[float, float]] = []

    def processed(_topic: str, _partition: int, offset: int) -> None:
        if offset in {0, messages - 1}:
            marks.append((time.perf_counter(), time.process_time()))
            if offset:
                app.stop()

    with tempfile.TemporaryDirectory() as state_dir:
        app = Application(
            broker_address=bootstrap,
            consumer_group=f"{out}.{time.time_ns()}",
            auto_offset_reset="earliest",
            processing_guarantee=guarantee,
            producer_extra_config={"compression.type": "lz4"},
            state_dir=state_dir,
            loglevel="WARNING",
            on_message_processed=processed,
        )
        books = app.dataframe(app.topic(topic, key_deserializer="str", value_deserializer="json"))
        estimates = _windowed(books) if program == "window" else _tuned(books)
        estimates.to_topic(app.topic(out, key_serializer="str", value_serializer="json"))
        app.run()
    (start, cpu), (end, cpu_end) = marks
    return Measured(messages - 1, end - start, cpu_end - cpu)


if __name__ == "__main__":
    reply(run(**json.loads(sys.argv[1])))

"""What it costs to decode a tick, two ways: ``python -m tests.benchmarks.decode``.

Best of several rounds, so that a busy machine shows less; compare figures of one run only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np
import orjson

from impactd.core.ticks import BOOK, TickBatch
from impactd.research.generator import GeneratorSpec, generate
from impactd.wire.codec import TickCodec
from impactd.wire.json_ticks import JsonTickCodec, ReferenceJsonTickCodec
from impactd.wire.tick_records import encode_ticks

N_MESSAGES = 20_000
ROUNDS = 7


def ten_level_books() -> list[bytes]:
    """Return generated ten-level books as our JSON, one a message."""
    batch = TickBatch.concat(list(generate(GeneratorSpec(snapshots=N_MESSAGES))))
    return [record.value for record in encode_ticks(batch.take(batch.kind == BOOK))]


def microseconds(run: Callable[[], object]) -> float:
    """Return the least time of `run` over the rounds, in us a message."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best / N_MESSAGES * 1e6


def measure(batch_size: int = 1_000) -> dict[str, float]:
    """Return the cost of a message by way of decoding, us."""
    values = ten_level_books()
    ts_records = np.full(batch_size, 1_743_687_000_125_000_000)

    def drain() -> None:
        for value in values:
            orjson.loads(value)

    def decode_with(codec: TickCodec) -> Callable[[], None]:
        def run() -> None:
            for start in range(0, len(values), batch_size):
                chunk = values[start : start + batch_size]
                codec.decode_columns(chunk, np.arange(start, start + len(chunk)), ts_records[: len(chunk)])

        return run

    return {
        "bytes_a_message": sum(map(len, values)) / len(values),
        "orjson_loads_us": microseconds(drain),
        "reference_us": microseconds(decode_with(ReferenceJsonTickCodec())),
        "scanner_us": microseconds(decode_with(JsonTickCodec())),
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))  # noqa: T201  # a command's output

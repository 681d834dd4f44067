"""What is good: a short day that comes out the same whatever stands between, and the messages that mutants are made of.

Nothing good is ever mutated. Mutants speak of symbols and orders of their own (``MUT1``, ``M1``), which also have good
books and orders, so that a mutant that is accepted finds a market and an order to do harm to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from impactd.core.base.topics import Topic
from impactd.wire.registry import CODECS
from tests.checks.codec_samples import samples_of

#: 2025-04-03 13:30 UTC, a minute's beginning.
OPEN_NS: Final = 1_743_687_000_000_000_000
SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS
STEP_NS: Final = 10 * SECOND_NS

#: Minutes of the day, and books each ten seconds.
MINUTES: Final = 4
STEPS: Final = range(MINUTES * 6 + 1)

GOOD_SYMBOLS: Final = ("GOOD1", "GOOD2")
GOOD_ORDERS: Final = ("G1", "G2", "G3")
OTHER_SYMBOLS: Final = ("MUT1", "MUT2")

TICK_KINDS: Final = tuple(name for name in CODECS.names() if not samples_of(name).one_symbol)
EVENT_KINDS: Final = (Topic.ORDERS, Topic.EXECUTIONS, Topic.CONTROL, Topic.INSTRUMENTS, Topic.STATUS)
KINDS: Final = (*TICK_KINDS, *(topic.value for topic in EVENT_KINDS))


@dataclass(frozen=True, slots=True)
class Fake:
    """A record as a consumer returns it; `timestamp` in ms."""

    offset: int
    timestamp: int
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, Any], ...] = ()


def topic_of(kind: str) -> Topic:
    """Return the topic on which records of a kind stand."""
    return Topic.TICKS if kind in TICK_KINDS else Topic(kind)


def _sides(step: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    mid = 31.0 + (step * 7 % 40) * 0.01
    depth = 100 + step * 13 % 50
    bids = [(round(mid - 0.01 * (k + 1), 2), depth * (k + 1)) for k in range(10)]
    return bids, [(round(mid + 0.01 * (k + 1), 2), depth * (k + 2)) for k in range(10)]


def book(codec: str, symbol: str, ts_event: int, step: int) -> bytes:
    """Return a book of ten levels a side in a codec of ticks."""
    return samples_of(codec).book(symbol, ts_event, *_sides(step))


def trade(codec: str, symbol: str, ts_event: int) -> bytes | None:
    """Return a print, or None where the codec has none."""
    made = samples_of(codec).trade
    return None if made is None else made(symbol, ts_event, 31.1, 500)


def new(cl_ord_id: str, symbol: str, side: str, ts_event: int, **fields: Any) -> bytes:
    """Return an order over the rest of the day and longer."""
    obj = {"type": "new", "cl_ord_id": cl_ord_id, "symbol": symbol, "side": side, "order_qty": 4_000}
    times = {"ts_event": ts_event, "start": ts_event, "end": OPEN_NS + 12 * MINUTE_NS}
    return orjson.dumps(obj | times | fields)


def fill(exec_id: str, cl_ord_id: str, symbol: str, ts_event: int, qty: object = 100) -> bytes:
    """Return a fill."""
    obj = {"type": "fill", "exec_id": exec_id, "cl_ord_id": cl_ord_id, "symbol": symbol, "last_qty": qty}
    return orjson.dumps(obj | {"last_px": 31.2, "last_liquidity_ind": "taker", "ts_event": ts_event})


def at(step: int) -> int:
    """Return the event time of a step, ns."""
    return OPEN_NS + step * STEP_NS


def reached(step: int) -> int:
    """Return the event time that good ticks have reached before a step, ns: the latest that a mutant may speak of."""
    return at(step - 1) - 1_000_000


def ticks(codec: str, step: int) -> Iterator[bytes]:
    """Yield the good ticks of a step, those of the mutants' symbols last."""
    for place, symbol in enumerate((*GOOD_SYMBOLS, *OTHER_SYMBOLS)):
        ts_event = at(step) - (len(GOOD_SYMBOLS) + len(OTHER_SYMBOLS) - place) * 1_000_000
        yield book(codec, symbol, ts_event, step + place)
        if step % 3 == place and (printed := trade(codec, symbol, ts_event)) is not None:
            yield printed


def events(step: int) -> Iterator[tuple[Topic, bytes]]:
    """Yield the good orders, executions and controls of a step."""
    now = at(step) - 500_000_000
    match step:
        case 1:
            yield Topic.ORDERS, new("G1", "GOOD1", "buy", now)
            yield Topic.ORDERS, new("G2", "GOOD2", "sell", now, participation_rate=0.2, lot_size=100)
            yield Topic.ORDERS, new("M1", "MUT1", "buy", now)
            yield Topic.ORDERS, new("M2", "MUT2", "sell", now, participation_rate=0.1, max_interval_qty=700)
        case 4:
            yield Topic.ORDERS, new("G3", "GOOD1", "buy", now, risk_aversion=1e-6)
            yield Topic.EXECUTIONS, fill("GE1", "G1", "GOOD1", now)
            yield Topic.EXECUTIONS, fill("ME1", "M1", "MUT1", now)
        case 9:
            changed = {"type": "replace", "cl_ord_id": "G1", "symbol": "GOOD1", "ts_event": now, "order_qty": 6_000}
            yield Topic.ORDERS, orjson.dumps(changed)
            yield Topic.CONTROL, control("halt", "G2", now)
        case 14:
            yield Topic.CONTROL, control("resume", "G2", now)
            yield Topic.ORDERS, orjson.dumps({"type": "cancel", "cl_ord_id": "G3", "symbol": "GOOD1", "ts_event": now})
        case _:
            return


def control(kind: str, scope: str, ts_event: int) -> bytes:
    """Return a control."""
    return orjson.dumps({"type": kind, "scope": scope, "reason": "drill", "ts_event": ts_event})


def seeds(kind: str, step: int) -> list[bytes]:
    """Return the messages that mutants of a kind are made of at a step."""
    now = reached(step) - 600_000_000
    if kind in TICK_KINDS:
        printed = trade(kind, "MUT2", now)
        made = [book(kind, "MUT1", now, step), *([printed] if printed is not None else [])]
        return [*made, *samples_of(kind).more("MUT2", now)]
    if kind == Topic.ORDERS:
        changes = {"order_qty": 3_000, "participation_rate": 0.3, "end": now + 9 * MINUTE_NS, "blackouts": None}
        head = {"symbol": "MUT1", "ts_event": now}
        blackouts = [[now + MINUTE_NS, now + 2 * MINUTE_NS]]
        return [
            new("M3", "MUT1", "buy", now, participation_rate=0.25, blackouts=blackouts, lot_size="0.5"),
            new(f"N{step}", "MUT2", "sell", now, max_interval_qty=900, risk_aversion=1e-7, order_qty="1500.5"),
            orjson.dumps({"type": "replace", "cl_ord_id": "R1", "orig_cl_ord_id": "M1"} | head | changes),
            orjson.dumps({"type": "replace", "cl_ord_id": "M3"} | head | {"lot_size": 10, "start": now + MINUTE_NS}),
            orjson.dumps({"type": "cancel", "cl_ord_id": "M3"} | head),
        ]
    if kind == Topic.EXECUTIONS:
        about = {"cl_ord_id": "M1", "symbol": "MUT1", "ts_event": now}
        return [
            fill(f"MF{step}", "M1", "MUT1", now),
            fill(f"MG{step}", "M2", "MUT2", now, "12.5"),
            fill(f"MH{step}", "LATER", "MUT2", now),
            orjson.dumps({"type": "correct", "exec_id": f"MC{step}", "exec_ref_id": "ME1", "last_qty": 90} | about)[:-1]
            + b',"last_px":31.3}',
            orjson.dumps({"type": "bust", "exec_id": f"MB{step}", "exec_ref_id": f"MF{step}"} | about),
        ]
    head = {"symbol": "MUT1", "ts_event": now}
    if kind == Topic.INSTRUMENTS:
        stated = {"tick_size": 0.01, "lot_size": "0.5", "min_qty": 1, "max_qty": 1e6, "asset_class": "equity"}
        return [
            orjson.dumps({"type": "definition"} | head | stated | more)
            for more in ({}, {"multiplier": 50, "currency": "USD"}, {"negative_px": True, "calendar": "XNYS"})
        ]
    if kind == Topic.STATUS:
        said = ({"status": "halt", "reason": "LUDP"}, {"status": "trading"}, {"short_restricted": True})
        paired = ({"auction": "open", "paired_qty": 0}, {"auction": "close", "paired_qty": "1200.5"})
        return [
            *(orjson.dumps({"type": "status"} | head | more) for more in said),
            *(orjson.dumps({"type": "imbalance"} | head | more) for more in paired),
        ]
    return [control(kind, scope, now) for kind in ("halt", "resume") for scope in ("MUT1", "M2")]

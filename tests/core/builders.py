"""An engine to talk to, events said shortly, and what must hold of all that an engine says."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from impactd.core.allocator.certificate import CERTIFICATE_TOLERANCE
from impactd.core.base.quantity import QUANTA
from impactd.core.base.settings import MINUTE_NS, SECOND_NS, CoreSettings, PlanSettings
from impactd.core.base.topics import Side, Topic
from impactd.core.engine import Commit, Engine
from impactd.core.inputs.events import (
    Bust,
    CancelOrder,
    Control,
    Correct,
    Definition,
    Event,
    Fill,
    Imbalance,
    NewOrder,
    Received,
    ReplaceOrder,
    TradingStatus,
)
from impactd.core.inputs.inbox import Inbox, Inputs
from impactd.core.inputs.terms import Terms
from impactd.core.inputs.ticks import Refused, TickBatch
from impactd.core.outputs.counts import Counts
from impactd.core.outputs.messages import Alert, DeadLetter, Estimate, Model, Output, Plan
from impactd.core.state.schema import META
from impactd.core.state.whole import WHOLE, WholeState
from impactd.wire.records import encode_line
from tests.core.rows import Row, batch_of

#: Ten o'clock of a day, the time at which tests begin.
T0: Final = 1_743_674_400_000_000_000
S: Final = SECOND_NS
M: Final = MINUTE_NS


def settings(apply: str = "on_arrival", **plans: Any) -> CoreSettings:
    return CoreSettings(plans=PlanSettings(**plans), apply=apply)


def ladder(ts: int, symbol: str = "FROG", mid: float = 100.0, size: float = 100.0, levels: int = 8) -> Row:
    """Return a book whose levels are a cent apart and as deep as each other."""
    bids = tuple((round(mid - 0.02 - 0.01 * k, 4), size) for k in range(levels))
    asks = tuple((round(mid + 0.02 + 0.01 * k, 4), size) for k in range(levels))
    return Row(ts, bids, asks, symbol)


def minutes(n: int, symbol: str = "FROG", start: int = T0, every_s: int = 20, **terms: Any) -> list[Row]:
    """Return `n` minutes of the same book, said again and again, and the first book after them."""
    return [ladder(start + k * every_s * S, symbol, **terms) for k in range(n * 60 // every_s + 1)]


def new(cl_ord_id: str = "A", qty: float = 1_200, ts: int = T0, length: int = 12 * M, **terms: Any) -> NewOrder:
    start = terms.pop("start", ts)
    terms.setdefault("lot_size", QUANTA)
    symbol, side = terms.pop("symbol", "FROG"), terms.pop("side", Side.BUY)
    return NewOrder(
        cl_ord_id, symbol, side, ts, Terms(round(qty * QUANTA), start, terms.pop("end", start + length), **terms)
    )


def change(ts: int, cl_ord_id: str = "A", symbol: str = "FROG", **changes: Any) -> ReplaceOrder:
    if "order_qty" in changes:
        changes["order_qty"] = round(changes["order_qty"] * QUANTA)
    return ReplaceOrder(cl_ord_id, symbol, ts, tuple(changes.items()))


def cancel(ts: int, cl_ord_id: str = "A", symbol: str = "FROG") -> CancelOrder:
    return CancelOrder(cl_ord_id, symbol, ts)


def fill(ts: int, exec_id: str, qty: float, cl_ord_id: str = "A", symbol: str = "FROG", px: float = 100.0) -> Fill:
    return Fill(exec_id, cl_ord_id, symbol, round(qty * QUANTA), px, ts)


def bust(ts: int, exec_id: str, ref: str, cl_ord_id: str = "A", symbol: str = "FROG") -> Bust:
    return Bust(exec_id, ref, cl_ord_id, symbol, ts)


def correct(ts: int, exec_id: str, ref: str, qty: float, cl_ord_id: str = "A", symbol: str = "FROG") -> Correct:
    return Correct(exec_id, ref, cl_ord_id, symbol, round(qty * QUANTA), 100.0, ts)


def halt(ts: int, scope: str = "*", reason: str = "test") -> Control:
    return Control("halt", scope, reason, ts)


def resume(ts: int, scope: str = "*") -> Control:
    return Control("resume", scope, "", ts)


def topic_for(event: Event) -> Topic:
    if isinstance(event, Control):
        return Topic.CONTROL
    if isinstance(event, Definition):
        return Topic.INSTRUMENTS
    if isinstance(event, TradingStatus | Imbalance):
        return Topic.STATUS
    return Topic.ORDERS if isinstance(event, NewOrder | ReplaceOrder | CancelOrder) else Topic.EXECUTIONS


def raw_of(event: Event) -> bytes:
    """Return bytes that stand for the record that `event` came in."""
    return repr(event).encode()


def marked(state: Mapping[str, bytes], **meta: Any) -> dict[str, bytes]:
    """Return a changed state as one that was written so; `meta` are fields of its meta."""
    whole = WholeState()
    whole.update(state)
    return {**state, META: orjson.dumps(orjson.loads(state[META]) | {WHOLE: whole.mark()} | meta)}


class Consumed(NamedTuple):
    """A record as it came from its topic."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


def numbers(alert: Alert) -> list[int]:
    """Return the whole numbers in an alert's text; its wording is in `tests.core.test_alert_texts`."""
    return [int(found) for found in re.findall(r"\b\d+\b", alert.text)]


class EngineHarness:
    """One partition: events and ticks in, messages out.

    After every commit, what the commits have written so far must be what the
    engine would save, every message must have an encoding, and every plan must
    keep its promises.
    """

    def __init__(self, core: CoreSettings | None = None, **kwargs: Any) -> None:
        self.core = core or settings()
        self.engine = Engine(self.core, **kwargs)
        self.inbox = Inbox(self.core, {}, {})
        self.outputs: list[Output] = []
        self.state: dict[str, bytes] = {}
        self.commits: list[Commit] = []
        self.counts = Counts()
        self.plan_versions: dict[str, int] = {}
        self.ends = dict.fromkeys(Topic, 0)
        self._keep(self.engine.genesis({}))

    def put(self, *events: Event) -> None:
        for event in events:
            topic = topic_for(event)
            offset = self.ends[topic]
            self.ends[topic] = offset + 1
            item = Received(event, offset, event.ts_event, raw_of(event), b"key")
            self.inbox.put_events(topic, [item], [], offset + 1, [Consumed(offset, event.ts_event, b"key", item.raw)])

    def put_rows(self, rows: Sequence[Row], refused: Sequence[Refused] = ()) -> None:
        batch = shifted(batch_of(rows), self.ends[Topic.TICKS])
        self.ends[Topic.TICKS] += len(rows) + len(refused)
        self.inbox.put_ticks(batch, refused, self.ends[Topic.TICKS])

    def commit(self, idle_to: int | None = None, max_rows: int = 50_000) -> list[Output]:
        """Apply all that may be applied and return what it said."""
        said: list[Output] = []
        while (inputs := self.inbox.take(idle_to=idle_to, max_rows=max_rows)) is not None:
            said += self.apply(inputs)
            if inputs.idle_to is not None:
                break
        return said

    def apply(self, inputs: Inputs) -> list[Output]:
        commit = self.engine.apply(inputs)
        self._keep(commit)
        return list(commit.outputs)

    def send(self, *events: Event) -> list[Output]:
        self.put(*events)
        return self.commit()

    def run(self, rows: Sequence[Row]) -> list[Output]:
        self.put_rows(rows)
        return self.commit()

    def reload(self) -> None:
        """Go on with an engine made from what the commits have written."""
        engine = Engine(self.core, partition=self.engine.partition, partitions=self.engine.partitions)
        engine.load(self.state)
        self.engine = engine

    def _keep(self, commit: Commit) -> None:
        self.commits.append(commit)
        self.outputs += commit.outputs
        add_counts(self.counts, commit.counts)
        for key, value in commit.state.items():
            if value is None:
                self.state.pop(key, None)
            else:
                assert len(value) <= 256_000, f"{key} has {len(value)} bytes"
                self.state[key] = value
        assert self.state == self.engine.dump()
        encoded(commit.outputs)
        for plan in plans(commit.outputs):
            check_plan(plan, self.plan_versions)

    # What was said so far.

    def plans(self, cl_ord_id: str = "A") -> list[Plan]:
        return [plan for plan in plans(self.outputs) if plan.cl_ord_id == cl_ord_id]

    def last(self, cl_ord_id: str = "A") -> Plan:
        return self.plans(cl_ord_id)[-1]

    def alerts(self, kind: str) -> list[Alert]:
        said = (output.message for output in self.outputs)
        return [message for message in said if isinstance(message, Alert) and message.kind == kind]

    def dead(self) -> list[DeadLetter]:
        return [output.message for output in self.outputs if isinstance(output.message, DeadLetter)]

    def estimates(self, symbol: str = "FROG") -> list[Estimate]:
        said = (output.message for output in self.outputs)
        return [message for message in said if isinstance(message, Estimate) and message.symbol == symbol]

    def models(self) -> list[Model]:
        return [output.message for output in self.outputs if isinstance(output.message, Model)]


def add_counts(total: Counts, counts: Counts) -> None:
    """Add the counts of one commit to `total`."""
    for field in fields(Counts):
        setattr(total, field.name, getattr(total, field.name) + getattr(counts, field.name))


def with_order(harness: EngineHarness | None = None, n: int = 2, **terms: Any) -> EngineHarness:
    """Return a harness with an order of 1,200 over 12 minutes that begins after `n` minutes of books."""
    harness = harness or EngineHarness()
    harness.run(minutes(n))
    harness.send(new(ts=T0 + n * M, **terms))
    return harness


def at(minute: float) -> int:
    """Return the time `minute` minutes after ten o'clock."""
    return T0 + round(minute * M)


def cpu_s(work: Callable[[], object]) -> float:
    """Return the processor time that `work` takes, s."""
    began = time.process_time()
    work()
    return time.process_time() - began


def shifted(batch: TickBatch, first: int) -> TickBatch:
    """Return `batch` with its offsets counted from `first`."""
    return replace(batch, offset=batch.offset + first)


def plans(outputs: Iterable[Output]) -> list[Plan]:
    return [output.message for output in outputs if output.topic is Topic.PLANS and isinstance(output.message, Plan)]


def encoded(outputs: Iterable[Output]) -> list[bytes]:
    """Return what would be published, in order: role of the topic, key and bytes."""
    return [f"{o.topic} {o.key} ".encode() + encode_line(o) for o in outputs]


def check_plan(plan: Plan, versions: dict[str, int]) -> None:
    """Check what every published plan promises; `versions` remembers each order's last."""
    assert sum(plan.qty) + sum(entry.qty for entry in plan.auctions) == plan.leaves_qty - plan.shortfall_qty
    assert all(entry.qty >= 0 and entry.cutoff <= entry.at for entry in plan.auctions)
    assert plan.shortfall_qty >= 0
    assert plan.leaves_qty >= 0
    if plan.status in {"active", "halted"}:
        assert plan.order_qty == plan.cum_qty + plan.leaves_qty
        assert plan.leaves_qty > 0
    if plan.status == "rejected":
        assert plan.plan_version == 0
    else:
        # An id may come again once its ended order is forgotten.
        before = 0 if plan.reason == "new" else versions.get(plan.cl_ord_id, 0)
        assert plan.plan_version == before + 1
        versions[plan.cl_ord_id] = plan.plan_version
    assert len(plan.start) == len(plan.qty) == len(plan.cap)
    assert all(a < b for a, b in zip(plan.start, plan.start[1:], strict=False))
    assert all(start >= plan.as_of for start in plan.start)
    for qty, cap in zip(plan.qty, plan.cap, strict=True):
        assert qty >= 0
        assert cap is None or qty <= cap
    numbers = [
        plan.expected_cost,
        plan.expected_cost_bps,
        plan.twap_cost,
        plan.saving_bps,
        *(plan.cost_band or ()),
        *(plan.cost_band_95 or ()),
    ]
    assert all(number is None or math.isfinite(number) for number in numbers)
    if plan.certificate is not None:
        assert plan.certificate.kkt_residual is not None
        assert 0.0 <= plan.certificate.kkt_residual <= CERTIFICATE_TOLERANCE
    assert b"-0.0," not in encode_line(Output(Topic.PLANS, plan.symbol, plan, 0, None))


def check_window(plan: Plan, order: NewOrder, lot: int = QUANTA) -> None:
    """Check a plan against its order: inside the window, and whole lots but for one odd remainder."""
    assert all(order.terms.start <= start < order.terms.end for start in plan.start)
    odd = [qty for qty in plan.qty if qty % lot]
    assert len(odd) <= (1 if plan.leaves_qty % lot else 0)


def random_rows(rng: np.random.Generator, n: int, symbols: Sequence[str], span_ns: int) -> list[Row]:
    """Return `n` rows in time order, most of them good: several symbols, trades, and all that may be wrong."""
    rows = []
    for at in np.sort(rng.integers(0, span_ns, n)).tolist():
        # The last symbol is quiet.
        symbol = symbols[int(rng.integers(len(symbols)))] if rng.random() < 0.9 else symbols[0]
        if symbol == symbols[-1] and rng.random() < 0.8:
            symbol = symbols[0]
        ts, mid = T0 + at, 100.0 + float(rng.integers(-20, 20)) / 100
        fate = rng.random()
        row = ladder(ts, symbol, mid, float(rng.integers(1, 9)) * 50, int(rng.integers(1, 10)))
        if fate < 0.15:
            row = Row(ts, symbol=symbol, px=mid, qty=float(rng.integers(1, 400)), flags=2 * int(rng.random() < 0.1))
        elif fate < 0.18:
            row = replace(row, bids=row.asks, asks=row.bids)
        elif fate < 0.21:
            row = replace(row, flags=1)
        elif fate < 0.24:
            row = replace(row, ts=ts - int(rng.integers(0, 90 * S)), ts_record=ts)
        elif fate < 0.26:
            row = replace(row, ts=ts + 3600 * S, ts_record=ts)
        elif fate < 0.28:
            row = replace(row, asks=())
        rows.append(row)
    return rows

"""Events about parent orders and controls: what reaches the core beside ticks.

Field names follow FIX in snake_case.  Every event is immutable, and its
quantities are exact (quanta, see `impactd.core.base.quantity`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from impactd.core.base.topics import Side
from impactd.core.inputs.terms import Terms


@dataclass(frozen=True, slots=True)
class NewOrder:
    """A parent order."""

    cl_ord_id: str
    symbol: str
    side: Side
    ts_event: int
    terms: Terms


@dataclass(frozen=True, slots=True)
class ReplaceOrder:
    """An amendment: only the terms named in `changes` change.

    `changes` maps names of `Terms` to their new values; None clears an optional
    limit.
    """

    cl_ord_id: str
    symbol: str
    ts_event: int
    changes: tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """A request to end an order with what it has filled."""

    cl_ord_id: str
    symbol: str
    ts_event: int


@dataclass(frozen=True, slots=True)
class Fill:
    """An execution against a parent order."""

    exec_id: str
    cl_ord_id: str
    symbol: str
    last_qty: int
    last_px: float
    ts_event: int
    last_liquidity_ind: str | None = None


@dataclass(frozen=True, slots=True)
class Correct:
    """A correction of an earlier fill: quantity and price as they should have been."""

    exec_id: str
    exec_ref_id: str
    cl_ord_id: str
    symbol: str
    last_qty: int
    last_px: float
    ts_event: int


@dataclass(frozen=True, slots=True)
class Bust:
    """The annulment of an earlier fill."""

    exec_id: str
    exec_ref_id: str
    cl_ord_id: str
    symbol: str
    ts_event: int


@dataclass(frozen=True, slots=True)
class Control:
    """A halt or resume of everything (``*``), a symbol or an order."""

    type: str
    scope: str
    reason: str
    ts_event: int


OrderEvent = NewOrder | ReplaceOrder | CancelOrder
ExecutionEvent = Fill | Correct | Bust
Event = OrderEvent | ExecutionEvent | Control

E = TypeVar("E", OrderEvent, ExecutionEvent, Control)


@dataclass(frozen=True, slots=True)
class Received(Generic[E]):
    """An event with its position in its topic and its record's timestamp (ns).

    The record's own bytes come along, because an event that turns out to be
    unusable later (a fill whose order never came) still has to reach the
    dead-letter topic as it was sent.
    """

    event: E
    offset: int
    ts_record: int
    raw: bytes = b""
    key: bytes | None = None

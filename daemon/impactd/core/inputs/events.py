"""Events about parent orders, markets and controls: all inputs of the core but ticks.

Field names follow FIX in snake_case.  Every event is immutable, and its
quantities are exact (quanta, see `impactd.core.base.quantity`).

An order has one id or a chain of them.  `cl_ord_id` of a `NewOrder` names the
order for life.  As in FIX, a replace or cancel may carry an id of its own in
`cl_ord_id` and the id before it in `orig_cl_ord_id` (tag 41): from then on both
are the order's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from impactd.core.base.instrument import Instrument
from impactd.core.base.topics import Side, Topic
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
    orig_cl_ord_id: str | None = None


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """A request to end an order with what it has filled."""

    cl_ord_id: str
    symbol: str
    ts_event: int
    orig_cl_ord_id: str | None = None


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
    orig_cl_ord_id: str | None = None
    venue: str | None = None


@dataclass(frozen=True, slots=True)
class Correct:
    """A correction: the quantity and price that a fill should have had.

    `exec_ref_id` names the fill, or any correction or bust of it.
    """

    exec_id: str
    exec_ref_id: str
    cl_ord_id: str
    symbol: str
    last_qty: int
    last_px: float
    ts_event: int
    orig_cl_ord_id: str | None = None


@dataclass(frozen=True, slots=True)
class Bust:
    """The annulment of a fill; `exec_ref_id` as in `Correct`."""

    exec_id: str
    exec_ref_id: str
    cl_ord_id: str
    symbol: str
    ts_event: int
    orig_cl_ord_id: str | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """A halt or resume of everything (``*``), a symbol or an order."""

    type: str
    scope: str
    reason: str
    ts_event: int


#: The market of a symbol trades; every other status holds its orders and its books.
TRADING: Final = "trading"
STATUSES: Final = (TRADING, "halt", "auction", "closed", "limit_up", "limit_down")


@dataclass(frozen=True, slots=True)
class Definition:
    """What the prices and quantities of a symbol mean."""

    symbol: str
    ts_event: int
    instrument: Instrument


@dataclass(frozen=True, slots=True)
class TradingStatus:
    """Whether the market of a symbol trades; None leaves what was said before."""

    symbol: str
    ts_event: int
    status: str | None
    reason: str = ""
    short_restricted: bool | None = None


#: The auctions of a session, in order of time.
AUCTION_KINDS: Final = ("open", "close")


@dataclass(frozen=True, slots=True)
class Imbalance:
    """What a venue has paired so far for one of its auctions; ``paired_qty`` in shares."""

    symbol: str
    ts_event: int
    auction: str
    paired_qty: float


OrderEvent = NewOrder | ReplaceOrder | CancelOrder
ExecutionEvent = Fill | Correct | Bust
MarketEvent = Definition | TradingStatus | Imbalance
Event = OrderEvent | ExecutionEvent | Control | MarketEvent


def order_ids(event: ReplaceOrder | CancelOrder | ExecutionEvent) -> tuple[str, ...]:
    """Return the ids by which an event names its order, the older one first."""
    return (event.cl_ord_id,) if event.orig_cl_ord_id is None else (event.orig_cl_ord_id, event.cl_ord_id)


#: Kinds of the alerts about records that are refused.
REFUSED: Final = {
    Topic.ORDERS: "order_refused",
    Topic.EXECUTIONS: "execution_refused",
    Topic.CONTROL: "control_refused",
    Topic.INSTRUMENTS: "instrument_refused",
    Topic.STATUS: "status_refused",
    Topic.TICKS: "status_refused",
}

E = TypeVar("E", OrderEvent, ExecutionEvent, Control, MarketEvent)


@dataclass(frozen=True, slots=True)
class Received(Generic[E]):
    """An event with its position in its topic and its record's timestamp (ns).

    The record's bytes are kept, because an event that turns out to be unusable
    later (a fill whose order never came) goes to the dead-letter topic as it
    was sent, with the name of its codec.
    """

    event: E
    offset: int
    ts_record: int
    raw: bytes = b""
    key: bytes | None = None
    codec: str = "json"

"""The life of orders as their senders see it: requests in, records for the service and reports out.

A request becomes a record and a pending report.  What the service makes of it is read from its plans and alerts: each
carries the place of the record that triggered it (header `input`), so an answer belongs to its request without doubt.

Rules:

- every request has a ClOrdID that no request had before, on any session; its chain names the order by `OrderID`, the
  first of them;
- a replace states the whole order, as FIX has it: a term that it leaves out is cleared.  One replace may be pending at
  a time, and one cancel;
- what an order's plans count as filled since its last report goes to its sender as one trade (150=F) at its average
  price: in FIX 4.4 and later no other report moves CumQty.  What is taken back by corrections and busts restates the
  order (150=D), since such a trade has no report of its own to refer to;
- ``OrderQty = CumQty + LeavesQty`` on every report of an order that works or is filled; LeavesQty is 0 once it has
  ended.  An overfill, where CumQty exceeds what was ordered, is reported as OrderQty = CumQty with a text.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import NoneType
from typing import Any, Final, NamedTuple

import orjson

from impactd.client import Client, RefusedError
from impactd.core.base.settings import SECOND_NS
from impactd.core.base.topics import Topic
from impactd.shell.fix.tags import (
    SESSION_TAGS,
    Fields,
    Pair,
    Record,
    TagError,
    check_text,
    parse_utc,
    plain_text,
    read_changes,
    read_execution,
    read_named,
    read_new,
    read_side,
    read_terms,
    utc,
    values_of,
)

#: Prices in reports.
_PX: Final = Decimal("1e-9")

#: Requests on an order, by their MsgType.
_REQUESTS: Final = {"G": "replace", "F": "cancel"}

#: Status of an order that its plans state, as OrdStatus; an active order has others.
_ENDED: Final = {"done": "2", "canceled": "4", "rejected": "8", "expired": "C"}

#: Fields of a plan and of an alert that are read here, and their types.
_READ: Final[dict[Topic, dict[str, tuple[type, ...]]]] = {
    Topic.PLANS: {
        "cl_ord_id": (str,),
        "plan_version": (int,),
        "as_of": (int, str),
        "status": (str,),
        "text": (str, NoneType),
        "order_qty": (int, float),
        "cum_qty": (int, float),
        "avg_px": (int, float, NoneType),
    },
    Topic.ALERTS: {"kind": (str,), "cl_ord_id": (str, NoneType), "as_of": (int, str), "text": (str,)},
}


def message_of(topic: Topic, value: bytes) -> dict[str, Any] | None:
    """Return a record of the service as an object; None for what is none."""
    try:
        message = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(message, dict):
        return None
    if not all(type(message.get(name)) in types for name, types in _READ[topic].items()):
        return None
    as_of = str(message["as_of"])
    return message | {"as_of": int(as_of)} if as_of.isascii() and as_of.isdigit() else None


class Out(NamedTuple):
    """A message to send: its session, its MsgType and its fields."""

    session: str
    kind: str
    fields: tuple[Pair, ...]

    @classmethod
    def of(cls, session: str, kind: str, fields: Iterable[Pair]) -> Out:
        """Return a message of plain text: what a sender or the service has written may hold what ends a field."""
        return cls(session, kind, tuple((tag, plain_text(text)) for tag, text in fields))


@dataclass(slots=True)
class Request:
    """A replace or cancel that has no answer yet."""

    kind: str
    cl_ord_id: str
    orig: str
    #: Terms of the order if it is accepted.
    stated: Record = field(default_factory=dict)
    #: Where its record is, as the header `input` has it; None until it is written.
    place: str | None = None


@dataclass(slots=True)
class Parent:
    """An order that came by FIX."""

    name: str
    session: str
    symbol: str
    side: str
    account: str | None
    stated: Record
    current: str
    status: str = "pending"
    text: str | None = None
    order_qty: str = "0"
    cum_qty: str = "0"
    place: str | None = None
    ids: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    reports: int = 0
    version: int = 0
    avg_px: float | None = None
    #: Event time of the plan that ended it, ns.
    ended_at: int | None = None

    @property
    def ended(self) -> bool:
        """Whether it can no longer trade."""
        return self.status in _ENDED

    def dump(self) -> Record:
        """Return it as a JSON object."""
        return dataclasses.asdict(self)

    @classmethod
    def load(cls, value: Record) -> Parent:
        """Return what `dump` has written."""
        return cls(**value | {"requests": [Request(**request) for request in value["requests"]]})

    def pending(self, kind: str) -> Request | None:
        """Return the request of a kind that has no answer yet."""
        return next((request for request in self.requests if request.kind == kind), None)


@dataclass(slots=True)
class Answer:
    """What follows from a message or a record of the service."""

    symbol: str = ""
    record: tuple[Topic, bytes] | None = None
    #: Takes the place of that record.
    awaits: Parent | Request | None = None
    out: list[Out] = field(default_factory=list)
    #: Orders to save, by name.
    changed: dict[str, Parent] = field(default_factory=dict)
    #: Orders that ended so long ago that they are forgotten.
    gone: list[str] = field(default_factory=list)


class Desk:
    """All orders that came by FIX, and the reports that are due about them.

    Parameters
    ----------
    informational : iterable of int
        Tags of orders that are no instruction here.
    parent_tag : int
        Tag of an execution report that names the parent order.
    drop_copy : bool
        Whether only execution reports are taken.
    trade_reports : bool
        Whether trades are reported to the order's sender.
    keep_ended_ns : int
        How long an ended order is remembered, as the service does.
    """

    def __init__(
        self,
        informational: Iterable[int] = (),
        parent_tag: int = 11,
        *,
        drop_copy: bool = False,
        trade_reports: bool = True,
        keep_ended_ns: int = 86_400 * SECOND_NS,
    ) -> None:
        self._informational = frozenset(informational)
        self._parent_tag = parent_tag
        self._drop_copy = drop_copy
        self._orders: dict[str, Parent] = {}
        #: Order of every ClOrdID.
        self._of: dict[str, Parent] = {}
        self._keep_ended_ns = keep_ended_ns
        self._trade_reports = trade_reports
        #: Ended orders and when, the earliest first.
        self._ended: deque[tuple[int, str]] = deque()

    def load(self, parents: Iterable[Parent]) -> None:
        """Take in the orders of a saved state."""
        for parent in parents:
            self._add(parent)
        ended = [(one.ended_at, one.name) for one in self._orders.values() if one.ended_at is not None]
        self._ended = deque(sorted(ended))

    def _add(self, parent: Parent) -> None:
        self._orders[parent.name] = parent
        self._of.update(dict.fromkeys(parent.ids, parent))

    # --- from the sender ------------------------------------------------------------------------------------------

    def receive(self, session: str, kind: str, pairs: Sequence[Pair], now: int) -> Answer | None:
        """Take an application message; return None for a kind that is not supported.

        Parameters
        ----------
        now : int
            ns; of a request without TransactTime.
        """
        if kind == "8":
            return self._execution(session, pairs, now)
        if self._drop_copy:
            return None
        take = {"D": self._new, "G": self._replace, "F": self._cancel, "H": self._state}.get(kind)
        if take is None:
            return None
        skipped = SESSION_TAGS | self._informational
        try:
            check_text(pair for pair in pairs if pair[0] not in skipped)
        except TagError as error:
            return self._unreadable(session, kind, values_of(pairs), str(error), now)
        return take(session, pairs, now)

    def _unreadable(self, session: str, kind: str, values: Mapping[int, str], text: str, now: int) -> Answer:
        """Refuse a request whose bytes are no text: none of them names an order."""
        if kind in {"D", "H"}:
            out = self._refusal(session, values, "99", text, now, kind="8" if kind == "D" else "I")
        else:
            out = self._cancel_reject(session, _REQUESTS[kind], values, None, "99", text, now)
        return Answer(out=[out])

    def _execution(self, session: str, pairs: Sequence[Pair], now: int) -> Answer:
        values = values_of(pairs)
        try:
            record = read_execution(pairs, self._parent_tag, now)
            if record is None:
                return Answer()
            return Answer(record["symbol"], Client.encode(record))
        except (TagError, RefusedError) as error:
            fields = ((45, values.get(34, "0")), (372, "8"), (379, values.get(17, "")), (380, "0"), (58, str(error)))
            return Answer(out=[Out.of(session, "j", (pair for pair in fields if pair[1]))])

    def _new(self, session: str, pairs: Sequence[Pair], now: int) -> Answer:
        values = values_of(pairs)
        name = values.get(11, "")
        known = self._of.get(name)
        if known is not None and values.get(97) == "Y" and known.session == session and known.name == name:
            return Answer(out=[self._report(known, "I", now)], changed={known.name: known})
        try:
            self._check_free(name)
            fields = Fields(pairs, self._informational)
            record = read_new(fields, now)
            encoded = Client.encode(record)
        except (TagError, RefusedError) as error:
            reason = "6" if known is not None else "99"
            return Answer(out=[self._refusal(session, values, reason, str(error), now)])
        parent = Parent(
            name, session, record["symbol"], record["side"], fields.get(1), record, name, ids=[name],
            order_qty=record["order_qty"],
        )  # fmt: skip
        self._add(parent)
        out = [self._report(parent, "A", record["ts_event"])]
        return Answer(parent.symbol, encoded, parent, out, {name: parent})

    def _check_free(self, name: str) -> None:
        if not name:
            raise TagError(11, "ClOrdID (11) is missing")
        if name in self._of:
            raise TagError(11, f"11: {name} is the id of another request; send a new one")

    def _named(self, parent: Parent | None, values: Mapping[int, str]) -> Parent:
        """Return the order that a request names, where the request is one of it."""
        if parent is None:
            raise TagError(41, f"41: no order of this session has the id {values.get(41)}; send that of the order")
        self._check_free(values.get(11, ""))
        if values.get(55, parent.symbol) != parent.symbol:
            raise TagError(55, f"55: the order is for {parent.symbol}; cancel it and send a new one")
        return parent

    def _request(self, session: str, pairs: Sequence[Pair], now: int, kind: str) -> Answer:
        values = values_of(pairs)
        known = self._of.get(values.get(41, ""))
        if known is not None and known.session != session:
            known = None
        reason = "1" if known is None else "2"
        if known is not None and values.get(97) == "Y" and self._of.get(values.get(11, "")) is known:
            # Sent again in doubt: it was taken, and its answers are on their way.
            return Answer(out=[self._report(known, "I", now)], changed={known.name: known})
        try:
            parent = self._named(known, values)
            if parent.ended:
                reason = "0"
                raise TagError(41, f"too late: the order is {parent.status}")  # noqa: TRY301  # answered below, as all others
            if parent.pending(kind) is not None:
                reason = "3"
                raise TagError(41, f"the {kind} before it has no answer yet; wait for it")  # noqa: TRY301  # as above
            fields = Fields(pairs, self._informational)
            at = fields.get(60)
            request = Request(kind, values[11], values[41])
            ts_event = now if at is None else parse_utc(at, 60)
            record: Record = {"type": kind, "cl_ord_id": request.cl_ord_id, "orig_cl_ord_id": parent.name}
            record |= {"symbol": parent.symbol, "ts_event": ts_event}
            if kind == "replace":
                record |= self._changes(parent, fields, request)
            else:
                read_named(fields)
            encoded = Client.encode(record)
        except (TagError, RefusedError) as error:
            if values.get(11, "") in self._of and reason == "2":
                reason = "6"
            return Answer(out=[self._cancel_reject(session, kind, values, known, reason, str(error), now)])
        parent.requests.append(request)
        parent.ids.append(request.cl_ord_id)
        self._of[request.cl_ord_id] = parent
        pending = self._report(parent, "E" if kind == "replace" else "6", ts_event, request)
        return Answer(parent.symbol, encoded, request, [pending], {parent.name: parent})

    def _changes(self, parent: Parent, fields: Fields, request: Request) -> Record:
        """Return what a replace changes, and note what the order is then."""
        if request.orig != parent.current:
            raise TagError(41, f"41: {request.orig} is not the latest id of the order; it is {parent.current}")
        if read_side(fields) != parent.side:
            raise TagError(54, f"54: the order is a {parent.side}; cancel it and send a new one")
        terms = read_terms(fields)
        changes = read_changes(terms, parent.stated)
        cleared = {name for name, value in changes.items() if value is None}
        request.stated = {name: value for name, value in (parent.stated | changes).items() if name not in cleared}
        return changes

    def _replace(self, session: str, pairs: Sequence[Pair], now: int) -> Answer:
        return self._request(session, pairs, now, "replace")

    def _cancel(self, session: str, pairs: Sequence[Pair], now: int) -> Answer:
        return self._request(session, pairs, now, "cancel")

    def _state(self, session: str, pairs: Sequence[Pair], now: int) -> Answer:
        values = values_of(pairs)
        parent = self._of.get(values.get(11, "")) or self._of.get(values.get(37, ""))
        if parent is None or parent.session != session:
            text = f"11: no order of this session has the id {values.get(11)}; send that of the order"
            return Answer(out=[self._refusal(session, values, "5", text, now, kind="I")])
        extra = ((790, values[790]),) if 790 in values else ()
        return Answer(out=[self._report(parent, "I", now, extra=extra)], changed={parent.name: parent})

    # --- from the service -------------------------------------------------------------------------------------------

    def plan(self, plan: Mapping[str, Any], place: str | None) -> Answer:
        """Take a plan; `place` is that of the record which triggered it."""
        parent = self._orders.get(plan["cl_ord_id"])
        if parent is None or plan["plan_version"] <= parent.version or parent.status == "rejected":
            return Answer()
        parent.version = plan["plan_version"]
        before, at = parent.status, plan["as_of"]
        parent.status, parent.text = plan["status"], plan["text"]
        was = Decimal(parent.cum_qty), parent.avg_px
        parent.order_qty, parent.cum_qty = str(plan["order_qty"]), str(plan["cum_qty"])
        parent.avg_px = plan.get("avg_px")
        answer = Answer(changed={parent.name: parent})
        self._note_end(parent, int(at))
        self._forget(int(at), answer)
        if before == "pending":
            if parent.status == "rejected":
                answer.out.append(self._report(parent, "8", at, extra=((103, "99"),)))
                return answer
            answer.out.append(self._report(parent, "0", at, status=None if not parent.ended else "0"))
            before = "active"
        answer.out += self._traded(parent, *was, at)
        for request in tuple(parent.requests):
            is_its_own = request.place is not None and request.place == place
            if is_its_own or (request.kind == "cancel" and parent.status == "canceled"):
                answer.out.append(self._accepted(parent, request, at))
        if parent.ended:
            for request in tuple(parent.requests):
                parent.requests.remove(request)
                text = f"too late: the order is {parent.status}"
                answer.out.append(self._too_late(parent, request, text, at))
        if parent.status != before and not any(_tells(out, parent.status) for out in answer.out):
            answer.out.append(self._turned(parent, at))
        return answer

    def _note_end(self, parent: Parent, at: int) -> None:
        if not parent.ended:
            parent.ended_at = None
        elif parent.ended_at is None:
            parent.ended_at = at
            self._ended.append((at, parent.name))

    def _forget(self, now: int, answer: Answer) -> None:
        """Forget the orders that ended too long before event time `now`, ns."""
        while self._ended and self._ended[0][0] < now - self._keep_ended_ns:
            at, name = self._ended.popleft()
            parent = self._orders.get(name)
            if parent is None or parent.ended_at != at:  # worked again since then, after a bust
                continue
            del self._orders[name]
            for cl_ord_id in parent.ids:
                self._of.pop(cl_ord_id, None)
            answer.changed.pop(name, None)
            answer.gone.append(name)

    def _traded(self, parent: Parent, was: Decimal, was_px: float | None, at: int) -> list[Out]:
        """Return the report of what is filled since the last one; of quantity without a reported fill there is none."""
        cum, avg_px = Decimal(parent.cum_qty), parent.avg_px
        if not self._trade_reports or (cum, avg_px) == (was, was_px) or (avg_px is None and was_px is None):
            return []
        qty = cum - was
        if qty <= 0 or avg_px is None:
            return [self._report(parent, "D", at, extra=((378, "99"),))]
        paid = _decimal(avg_px) * cum - _decimal(was_px or 0.0) * was
        extra = ((32, _plain(qty)), (31, _plain((paid / qty).quantize(_PX))))
        return [self._report(parent, "F", at, extra=extra)]

    def _accepted(self, parent: Parent, request: Request, at: int) -> Out:
        parent.requests.remove(request)
        if request.kind == "replace":
            parent.stated, parent.current = request.stated, request.cl_ord_id
            return self._report(parent, "5", at, request)
        out = self._report(parent, "4", at, request)
        parent.current = request.cl_ord_id
        return out

    def _turned(self, parent: Parent, at: int) -> Out:
        """Return the report of a change of status that no request has asked for."""
        if parent.status == "active":
            return self._report(parent, "D", at, extra=((378, "99"),))
        kind = {"halted": "9", "canceled": "4", "expired": "C"}.get(parent.status, "I")
        return self._report(parent, kind, at)

    def alert(self, alert: Mapping[str, Any], place: str | None) -> Answer:
        """Take an alert: that a request is refused; `place` is that of the record which triggered it."""
        if place is None or alert["kind"] not in _REFUSALS:
            return Answer()
        parent = self._orders.get(alert["cl_ord_id"] or "") or self._of.get(alert["cl_ord_id"] or "")
        if parent is None:
            return Answer()
        if parent.place == place and parent.status == "pending":
            parent.status, parent.text = "rejected", alert["text"]
            self._note_end(parent, int(alert["as_of"]))
            return Answer(
                out=[self._report(parent, "8", alert["as_of"], extra=((103, "99"),))], changed={parent.name: parent}
            )
        for request in tuple(parent.requests):
            # A record whose order never arrived is refused at a later record's place, by its own id.
            if request.place == place or (alert["kind"] == "order_refused" and alert["cl_ord_id"] == request.cl_ord_id):
                parent.requests.remove(request)
                out = self._too_late(parent, request, alert["text"], alert["as_of"], "2")
                return Answer(out=[out], changed={parent.name: parent})
        return Answer()

    # --- messages ---------------------------------------------------------------------------------------------------

    def _status(self, parent: Parent) -> str:
        if parent.status == "pending":
            return "A"
        if parent.ended:
            return _ENDED[parent.status]
        if parent.pending("cancel") is not None:
            return "6"
        if parent.pending("replace") is not None:
            return "E"
        if parent.status == "halted":
            return "9"
        return "1" if Decimal(parent.cum_qty) > 0 else "0"

    def _report(
        self,
        parent: Parent,
        kind: str,
        at: int,
        request: Request | None = None,
        *,
        status: str | None = None,
        extra: tuple[Pair, ...] = (),
    ) -> Out:
        """Return an ExecutionReport with ExecType `kind`, at event time `at`, ns."""
        parent.reports += 1
        asked, cum = Decimal(parent.order_qty), Decimal(parent.cum_qty)
        text = parent.text
        if cum > asked:
            text = f"filled {cum - asked} more than ordered" + (f"; {text}" if text else "")
            asked = cum
        status = status or (kind if kind in {"E", "6"} else self._status(parent))
        working = status not in {"4", "8", "C"}
        fields: list[Pair] = [(37, parent.name), (11, request.cl_ord_id if request else parent.current)]
        if request is not None:
            fields.append((41, request.orig))
        fields += [
            (17, f"{parent.name}/{parent.reports}"),
            (150, kind),
            (39, status),
            (55, parent.symbol),
            (54, "1" if parent.side == "buy" else "2"),
            (38, _plain(asked)),
            (14, _plain(cum)),
            (151, _plain(asked - cum if working else Decimal(0))),
            (6, _plain(_decimal(parent.avg_px or 0.0))),
            (60, utc(at)),
            *extra,
        ]
        price = parent.stated.get("limit_px")
        fields += [(40, "1")] if price is None else [(40, "2"), (44, price)]
        if parent.account:
            fields.append((1, parent.account))
        if text:
            fields.append((58, text))
        return Out.of(parent.session, "8", fields)

    def _refusal(
        self, session: str, values: Mapping[int, str], reason: str, text: str, at: int, *, kind: str = "8"
    ) -> Out:
        """Return an ExecutionReport on a request that has no order here."""
        name = values.get(11, "") or "NONE"
        quantity = values.get(38, "0")
        fields = [(37, "NONE"), (11, name), (17, f"{name}/{values.get(34, '0')}/refused"), (150, kind), (39, "8")]
        fields += [
            (55, values.get(55, "[N/A]")),
            (54, values.get(54, "7")),
            (38, quantity),
            (14, "0"),
            (151, "0"),
            (6, "0"),
        ]
        return Out.of(session, "8", (*fields, (60, utc(at)), (103, reason), (58, text)))

    def _too_late(self, parent: Parent, request: Request, text: str, at: int, reason: str = "0") -> Out:
        values = {11: request.cl_ord_id, 41: request.orig}
        return self._cancel_reject(parent.session, request.kind, values, parent, reason, text, at)

    def _cancel_reject(
        self, session: str, kind: str, values: Mapping[int, str], parent: Parent | None, reason: str, text: str, at: int
    ) -> Out:
        """Return an OrderCancelReject."""
        fields = (
            (37, "NONE" if parent is None else parent.name),
            (11, values.get(11, "") or "NONE"),
            (41, values.get(41, "") or "NONE"),
            (39, "8" if parent is None else self._status(parent)),
            (434, "2" if kind == "replace" else "1"),
            (102, reason),
            (60, utc(at)),
            (58, text),
        )
        return Out.of(session, "9", fields)


#: Kinds of alerts by which the service refuses a record of an order.
_REFUSALS: Final = {"order_rejected", "order_refused"}


def _tells(out: Out, status: str) -> bool:
    """Return whether a report has already told a status."""
    told = dict(out.fields)
    return out.kind == "8" and told[39] == _ENDED.get(status, "9" if status == "halted" else told[39])


def _decimal(px: float) -> Decimal:
    return Decimal(px).quantize(_PX)


def _plain(number: Decimal) -> str:
    return format(number.normalize(), "f")

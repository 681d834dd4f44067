"""Requests for the cost of an order: parsing, and the state of recorded days at the order's start."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import orjson

from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import Topic
from impactd.core.engine import Engine
from impactd.core.inputs.events import NewOrder
from impactd.core.inputs.inbox import Inbox
from impactd.shell.files import merge_files
from impactd.wire.codec import FROM_DATA, FieldError, Limits, shown
from impactd.wire.fields import parse_json, parse_number, parse_object
from impactd.wire.json_orders import decode_events

#: Bytes of a question.
MAX_BYTES: Final = 16_384
_MAX_COST_BPS: Final = "max_cost_bps"


class QuestionError(ValueError):
    """A question that cannot be answered; the text names the field and what to send."""


def question(value: bytes, now_ns: int, limits: Limits) -> tuple[NewOrder, float | None]:
    """Return the order that is asked about, and the cost limit in basis points if one is given.

    A question is a new order of the orders topic without `type`, `cl_ord_id` and `ts_event`, and may have
    `max_cost_bps`.

    Parameters
    ----------
    now_ns : int
        Taken for `ts_event`.

    Raises
    ------
    QuestionError
        As the decoder of orders refuses it.
    """
    try:
        fields = parse_object(parse_json(value))
        given = fields.pop(_MAX_COST_BPS, None)
        most = None if given is None else _limit(given)
    except FieldError as error:
        raise QuestionError(error.detail) from error
    record = {"type": "new", "cl_ord_id": "estimate"} | fields
    # The time is this process's own, in ns, for any unit of the feeds.
    ns = dataclasses.replace(limits, time_unit="ns")
    decoded = decode_events(Topic.ORDERS, [orjson.dumps(record | {"ts_event": now_ns})], [0], [FROM_DATA], None, ns)
    if decoded.refused:
        raise QuestionError(decoded.refused[0].detail)
    event = decoded.events[0].event
    if not isinstance(event, NewOrder):
        raise QuestionError("type: is not new; leave it out")
    return event, most


def _limit(given: object) -> float:
    most = parse_number(given, _MAX_COST_BPS)
    if not 0.0 < most <= 1e4:
        raise FieldError("value", f"{_MAX_COST_BPS}: {shown(given)} is not in (0, 10000]; send basis points")
    return most


def engine_at(
    paths: Sequence[Path], settings: CoreSettings, at_ns: int, *, codec: str | None = None, symbol: str | None = None
) -> Engine:
    """Return an engine that has seen recorded days up to `at_ns`, and nothing after it.

    Parameters
    ----------
    settings : CoreSettings
        In event time.
    """
    start = dict.fromkeys((Topic.CONTROL, Topic.ORDERS, Topic.EXECUTIONS, Topic.TICKS), 0)
    engine, inbox = Engine(settings), Inbox(settings, start, {})
    engine.genesis(start)
    records = 0
    for decoded in merge_files(paths, codec, symbol, limits=Limits.of(settings)):
        batch = decoded.batch
        # A row from the future is no end of what came before the order.
        seen = batch.take(np.minimum(batch.ts_event, batch.ts_record) < at_ns)
        if len(seen) or decoded.events:
            records = max(records, int(seen.offset[-1]) + 1) if len(seen) else records
            events = [event for event in decoded.events if event.event.ts_event < at_ns]
            records = max([records, *(event.offset + 1 for event in events)])
            inbox.put_ticks(seen, [], records, events=events)
        while (inputs := inbox.take()) is not None:
            engine.apply(inputs)
        if len(seen) < len(batch):
            break
    if (inputs := inbox.take(idle_to=at_ns)) is not None:
        engine.apply(inputs)
    return engine

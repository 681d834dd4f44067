"""A recorded record moved to another day."""

from __future__ import annotations

from typing import Any

import orjson

from impactd.shell.kafka.publish import shifted
from impactd.wire.json_orders import TIME_FIELDS

T = 1_743_687_000_000_000_000


def test_shift_moves_every_time_of_an_order_and_nothing_else() -> None:
    def event(time: int) -> dict[str, Any]:
        return {name: [[time, time + 1]] if name == "blackouts" else time for name in TIME_FIELDS} | {"order_qty": T}

    assert orjson.loads(shifted(orjson.dumps(event(T)), 7, "ns")) == event(T + 7)


def test_shift_leaves_what_the_decoder_refuses_as_it_is() -> None:
    assert [shifted(value, 7, "ns") for value in (b"{", b"[1]")] == [b"{", b"[1]"]
    assert orjson.loads(shifted(b'{"ts_event":"never"}', 7, "ns")) == {"ts_event": "never"}

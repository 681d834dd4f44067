"""What is fetched for one partition number: only what belongs there reaches the core."""

from __future__ import annotations

import dataclasses

import orjson
import pytest
from aiokafka import TopicPartition

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.kafka.consume import ConsumedRecord
from impactd.shell.kafka.decode import Decoder
from impactd.shell.kafka.fetched import Fetched
from impactd.shell.kafka.registry import SchemaSource
from impactd.wire.codec import Limits
from impactd.wire.framing import Schema
from impactd.wire.murmur2 import partition_for
from tests.wire.record_batches import Batch, Item

TS = 1_743_687_000_000_000_000
HOME, OTHER = "FROG", "AAPL"
PARTITION = partition_for(HOME, 2)


def _decoder() -> Decoder:
    assert partition_for(OTHER, 2) != PARTITION
    return Decoder(Settings(), Limits(), PARTITION, 2)


def _record(offset: int, value: object, key: str | None = HOME, codec: bytes | None = None) -> ConsumedRecord:
    raw = value if isinstance(value, bytes) or value is None else orjson.dumps(value)
    headers = () if codec is None else (("codec", codec),)
    return ConsumedRecord("ticks", PARTITION, offset, 1_000 + offset, key and key.encode(), raw, headers)


def _trade(symbol: str = HOME) -> dict[str, object]:
    return {"type": "trade", "symbol": symbol, "ts_event": TS, "px": 1.5, "qty": 100, "aggressor": None}


def test_ticks_in_place_are_decoded_with_the_records_time() -> None:
    decoded = _decoder().ticks([_record(3, _trade()), _record(5, [_trade(), _trade()])])
    assert decoded.batch.offset.tolist() == [3, 5, 5]
    assert decoded.batch.ts_record.tolist() == [1_003_000_000, 1_005_000_000, 1_005_000_000]
    assert decoded.refused == []


def test_ticks_with_a_key_of_another_partition_are_misplaced() -> None:
    decoded = _decoder().ticks([_record(0, _trade()), _record(1, _trade(OTHER), OTHER), _record(2, _trade())])
    assert decoded.batch.offset.tolist() == [0, 2]
    [refused] = decoded.refused
    assert (refused.offset, refused.reason, refused.key) == (1, "misplaced", OTHER.encode())
    assert refused.raw == orjson.dumps(_trade(OTHER))


def test_ticks_with_a_symbol_of_another_partition_are_misplaced_whole() -> None:
    mixed = [_trade(), _trade(OTHER)]
    decoded = _decoder().ticks([_record(0, _trade()), _record(1, mixed), _record(2, mixed, None)])
    assert decoded.batch.offset.tolist() == [0]
    assert [(item.offset, item.reason) for item in decoded.refused] == [(1, "misplaced"), (2, "misplaced")]
    assert OTHER not in decoded.batch.symbols


def test_ticks_without_a_key_are_in_place_if_their_symbols_are() -> None:
    decoded = _decoder().ticks([_record(0, _trade(), None)])
    assert len(decoded.batch) == 1
    assert decoded.refused == []


def test_ticks_with_an_unknown_codec_or_no_value_are_refused_in_order() -> None:
    records = [_record(0, None), _record(1, _trade(), codec=b"morse"), _record(2, _trade(), codec=b"json")]
    decoded = _decoder().ticks(records)
    assert [(item.offset, item.reason) for item in decoded.refused] == [(0, "empty"), (1, "unknown_codec")]
    assert decoded.batch.offset.tolist() == [2]


def test_events_of_another_partition_are_misplaced_but_control_is_everywhere() -> None:
    cancel = {"type": "cancel", "cl_ord_id": "A", "symbol": OTHER, "ts_event": TS}
    decoded = _decoder().events(Topic.ORDERS, [_record(0, cancel, OTHER), _record(1, cancel, None)])
    assert decoded.events == []
    assert [(item.offset, item.reason) for item in decoded.refused] == [(0, "misplaced"), (1, "misplaced")]
    halt = {"type": "halt", "scope": OTHER, "reason": "r", "ts_event": TS}
    assert len(_decoder().events(Topic.CONTROL, [_record(0, halt, OTHER)]).events) == 1


def test_events_keep_their_bytes_for_a_later_dead_letter() -> None:
    cancel = orjson.dumps({"type": "cancel", "cl_ord_id": "A", "symbol": HOME, "ts_event": TS})
    [received] = _decoder().events(Topic.ORDERS, [_record(4, cancel)]).events
    assert (received.raw, received.key, received.offset) == (cancel, HOME.encode(), 4)


@pytest.mark.parametrize("timestamp", [-(2**63), -1, 0, 2**62, 2**63 - 1])
def test_ticks_with_an_absurd_timestamp_are_still_decoded(timestamp: int) -> None:
    record = dataclasses.replace(_record(0, _trade()), timestamp=timestamp)
    decoded = _decoder().ticks([record, dataclasses.replace(_record(1, _trade(OTHER), OTHER), timestamp=timestamp)])
    assert 0 <= decoded.batch.ts_record[0] == decoded.refused[0].ts_record <= 2**62


@pytest.mark.parametrize("header", [None, b"", b"\xff", b"json\x00", b"x" * 100_000])
def test_ticks_with_a_codec_header_that_names_nothing_are_refused(header: bytes | None) -> None:
    record = dataclasses.replace(_record(0, _trade()), headers=(("codec", header),))
    [refused] = _decoder().ticks([record]).refused
    assert refused.reason == "unknown_codec"
    assert len(refused.codec) + len(refused.detail) < 300


def test_key_that_is_too_long_for_a_symbol_is_neither_judged_nor_remembered() -> None:
    decoder = _decoder()
    for symbol, reasons in ((HOME, []), (OTHER, ["misplaced"])):
        record = dataclasses.replace(_record(0, _trade(symbol)), key=b"k" * 1_000_000)
        assert [item.reason for item in decoder.ticks([record]).refused] == reasons
    assert sum(map(len, decoder._placed)) < 100


@pytest.mark.parametrize(("header", "codec"), [(None, "json"), (b"long-csv", "long-csv"), (b"x" * 999, "x" * 64)])
def test_misplaced_record_keeps_the_codec_that_it_came_with(header: bytes | None, codec: str) -> None:
    refused = _decoder().ticks([_record(0, b"a,b", OTHER, header)]).refused
    assert [(item.reason, item.codec) for item in refused] == [("misplaced", codec)]


class AskedSource(SchemaSource):
    """Knows no schema, and notes which ids it is asked for."""

    def __init__(self) -> None:
        super().__init__(None)
        self.asked: list[int] = []

    def _fetch(self, number: int) -> Schema:
        self.asked.append(number)
        return super()._fetch(number)


@pytest.mark.parametrize("as_columns", [False, True])
@pytest.mark.parametrize(
    ("codec", "topic", "asked"),
    [("json", Topic.TICKS, [1, 3]), ("dbn", Topic.TICKS, [3]), ("dbn", Topic.ORDERS, [1, 2, 3])],
)
async def test_only_the_schemas_by_which_values_are_read_are_asked_for(
    codec: str, topic: Topic, asked: list[int], *, as_columns: bool
) -> None:
    """A tick in another codec may begin like a value that names a schema: it must not wait for the registry."""
    headers: list[tuple[tuple[str, bytes | None], ...]] = [(), (("codec", b"dbn"),), (("codec", b"json"),)]
    values = [bytes([0, 0, 0, 0, number]) + b"rest" for number in (1, 2, 3)]
    items = [Item(n, value=value, headers=head) for n, (value, head) in enumerate(zip(values, headers, strict=True))]
    fetched = Fetched(TopicPartition("x", 0), Batch(0, [*items, Item(3), Item(4, value=None)]).encoded(), [], 0)
    records = fetched.records()
    source = AskedSource()
    decoder = Decoder(Settings(wire={"codec": codec}), Limits(), 0, 1, schemas=source)
    await decoder.know_schemas(topic, records if as_columns else list(records))
    assert source.asked == asked
    if topic is Topic.TICKS:
        refused = decoder.ticks(records if as_columns else list(records)).refused
        assert [item.offset + 1 for item in refused if item.reason == "unknown_schema"] == asked

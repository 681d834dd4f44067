"""A live run in this process: commits cut at will, restarts, a change of settings, snapshots; kept as a capture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import orjson

from impactd.config import Settings
from impactd.core.base.settings import MINUTE_NS, CoreSettings, PlanSettings
from impactd.core.base.topics import Topic
from impactd.core.engine import Commit, Engine
from impactd.core.inputs.inbox import Inbox
from impactd.shell.audit.capture import MANIFEST, capture_file, capture_line
from impactd.shell.kafka.consume import ConsumedRecord
from impactd.shell.kafka.decode import Decoder
from impactd.shell.kafka.encoder import Encoder
from impactd.wire.codec import Limits
from impactd.wire.murmur2 import partition_for
from tests.shell.test_replay import OPEN_NS, SECOND_NS, day, new
from tests.wire.helpers import keep

SYMBOLS: Final = ("FROG", "AAPL")
PARTITIONS: Final = 2
KAFKA: Final = Settings()
CORE: Final = CoreSettings()
CHANGED: Final = replace(CORE, plans=PlanSettings(child_slices=3))
COUNTS: Final = dict.fromkeys(Topic, PARTITIONS)

#: Commits of a partition after which it is restarted, and after which it is restarted under other settings.
RESTART, CHANGE = 6, 12


class CapturedRun:
    """A run on arrival, and the directory that it would be captured into.

    Attributes
    ----------
    records : dict of Topic to list of ConsumedRecord
        What stands in each topic; to be changed and written again.
    first : dict of (Topic, int) to int
        First offset that is kept, where it is not 0.
    """

    def __init__(self, directory: Path, *, snapshot_ns: int = 3 * MINUTE_NS) -> None:
        self.directory = directory
        self.records: dict[Topic, list[ConsumedRecord]] = {topic: [] for topic in Topic}
        self.first: dict[tuple[Topic, int], int] = {}
        self._snapshot_ns = snapshot_ns
        self._at = OPEN_NS // 1_000_000
        for number in range(PARTITIONS):
            self._run(number)
        directory.mkdir()
        self.write()

    def write(self) -> None:
        """Write everything as it is now."""
        topics: dict[str, Any] = {}
        for topic, records in self.records.items():
            if topic is Topic.STATE:
                continue
            lines = (capture_line(topic, item) + b"\n" for item in records)
            capture_file(self.directory, topic).write_bytes(b"".join(lines))
            bounds = {}
            for n in range(PARTITIONS):
                offsets = [record.offset for record in records if record.partition == n]
                first = self.first.get((topic, n), 0)
                bounds[str(n)] = first, max(offsets, default=first - 1) + 1
            topics[topic.value] = {"records": len(records), "bounds": bounds}
        (self.directory / MANIFEST).write_bytes(orjson.dumps({"topics": topics}))

    def of(self, topic: Topic, **wanted: Any) -> list[int]:
        """Return the places of a topic's JSON records that have these values."""
        found = []
        for place, record in enumerate(self.records[topic]):
            value = orjson.loads(record.value or b"{}")
            if all(value.get(name) == item for name, item in wanted.items()):
                found.append(place)
        return found

    def flip(self, topic: Topic, place: int, byte: int = -2) -> ConsumedRecord:
        """Flip one bit of a record's value."""
        record = self.records[topic][place]
        value = bytearray(record.value or b"")
        value[byte] ^= 1
        self.records[topic][place] = replace(record, value=bytes(value))
        self.write()
        return record

    def drop(self, topic: Topic, partition: int, before: int) -> None:
        """Delete a topic's records before an offset, as retention does."""
        self.records[topic] = [
            record for record in self.records[topic] if record.partition != partition or record.offset >= before
        ]
        self.first[topic, partition] = before
        self.write()

    def edit(self, change: Any) -> None:
        """Replace what stands in the journal by `change` of it."""
        self.records[Topic.JOURNAL] = [
            replace(
                record, value=orjson.dumps(change(orjson.loads(record.value or b"")), option=orjson.OPT_NON_STR_KEYS)
            )
            for record in self.records[Topic.JOURNAL]
        ]
        self.write()

    def _publish(self, number: int, commit: Commit, seq: int) -> None:
        self._at += 100
        roles = {KAFKA.topics.name(topic): topic for topic in Topic}
        for made in Encoder(KAFKA, number, COUNTS).records(commit, seq):
            log = self.records[roles[made.topic]]
            offset = sum(record.partition == made.partition for record in log)
            log.append(
                ConsumedRecord(
                    roles[made.topic].value, made.partition, offset, self._at, made.key, made.value, made.headers
                )
            )

    def _run(self, number: int) -> None:
        core, state = CORE, {}
        engine = self._engine(core, number)
        genesis = engine.genesis(engine.positions)
        self._keep(number, state, genesis, 0)
        mine = [item for item in day(SYMBOLS, minutes=8) if partition_for(item["symbol"], PARTITIONS) == number]
        # Every third offset is missing: on a broker the marks of transactions stand there.
        ticks = [input_record(Topic.TICKS, number, 3 * k // 2, item) for k, item in enumerate(mine)]
        orders = [
            input_record(Topic.ORDERS, number, k, new(f"{symbol}:{k}", symbol))
            for k, symbol in enumerate(s for s in SYMBOLS if partition_for(s, PARTITIONS) == number)
        ]
        orders.append(input_record(Topic.ORDERS, number, len(orders), b"{"))
        inbox, decoder, n = (
            Inbox(core, engine.positions, engine.clocks),
            Decoder(KAFKA, Limits(), number, PARTITIONS),
            0,
        )
        for cut, start in enumerate(range(0, len(ticks), 5)):
            batch = ticks[start : start + 5]
            decoded = decoder.ticks(batch)
            inbox.put_ticks(decoded.batch, decoded.refused, batch[-1].offset + 1, batch)
            if cut == 2:
                events = decoder.events(Topic.ORDERS, orders)
                inbox.put_events(Topic.ORDERS, events.events, events.refused, orders[-1].offset + 1, orders)
            idle_to = int(decoded.batch.ts_event[-1]) + 2 * SECOND_NS if cut == 3 else None
            while (inputs := inbox.take(idle_to=idle_to)) is not None:
                self._keep(number, state, engine.apply(inputs), engine.commit_seq)
                n += 1
                if n in {RESTART, CHANGE}:
                    core = CHANGED if n == CHANGE else core
                    engine = self._engine(core, number)
                    engine.load(state, accept_settings=True)
                    handover = engine.handover()
                    assert (handover is not None) == (n == CHANGE)
                    if handover is not None:
                        self._keep(number, state, handover, engine.commit_seq)
                    assert inbox.rows == 0
                    inbox = Inbox(core, engine.positions, engine.clocks)
                if inputs.idle_to is not None:
                    break
        assert n > CHANGE + 5
        self.records[Topic.TICKS] += ticks
        self.records[Topic.ORDERS] += orders

    def _engine(self, core: CoreSettings, number: int) -> Engine:
        return Engine(core, partition=number, partitions=PARTITIONS, snapshot_ns=self._snapshot_ns)

    def _keep(self, number: int, state: dict[str, bytes], commit: Commit, seq: int) -> None:
        self._publish(number, commit, seq)
        keep(state, commit.state)


def input_record(topic: Topic, partition: int, offset: int, item: Mapping[str, Any] | bytes) -> ConsumedRecord:
    """Return a record of an input; its time is the item's own."""
    value = item if isinstance(item, bytes) else orjson.dumps(item)
    key = None if isinstance(item, bytes) else str(item.get("symbol", "")).encode()
    at = OPEN_NS if isinstance(item, bytes) else item.get("ts_event", OPEN_NS)
    return ConsumedRecord(topic.value, partition, offset, at // 1_000_000, key, value)

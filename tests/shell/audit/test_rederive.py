"""A run derived again from its capture: the bytes that it published, or a clear refusal."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest

from impactd.config import Settings
from impactd.core.base.settings import CoreSettings, ModelSettings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.core.engine import Engine
from impactd.core.inputs.inbox import Inbox
from impactd.core.model.learned.trained import TrainedFile
from impactd.core.outputs.messages import Output
from impactd.shell.audit.capture import capture_file, capture_line
from impactd.shell.audit.rederive import rederive
from impactd.shell.kafka.consume import ConsumedRecord
from impactd.shell.kafka.decode import Decoder
from impactd.shell.lines import InputFileError
from impactd.shell.outputs import FILES
from impactd.wire.codec import Limits
from impactd.wire.murmur2 import partition_for
from impactd.wire.records import encode_line
from tests.core.model.trees import blank_content, content, split
from tests.shell.kafka.runs import input_record
from tests.shell.test_replay import SECOND_NS, day, new

SYMBOLS = ("FROG", "AAPL")
PARTITIONS = 2
ON_ARRIVAL = CoreSettings()
KAFKA = Settings()


class LiveRun:
    """A run on arrival in this process, whose commits are cut at will; kept as a capture."""

    def __init__(self, directory: Path, core: CoreSettings = ON_ARRIVAL) -> None:
        self.core = core
        self.said: list[Output] = []
        self.records: dict[Topic, list[ConsumedRecord]] = {topic: [] for topic in (*INPUT_TOPICS, Topic.JOURNAL)}
        for number in range(PARTITIONS):
            self._run(number)
        directory.mkdir()
        for topic, records in self.records.items():
            lines = (capture_line(topic, item) + b"\n" for item in records)
            capture_file(directory, topic).write_bytes(b"".join(lines))

    def _run(self, number: int) -> None:
        engine = Engine(self.core, partition=number, partitions=PARTITIONS)
        inbox = Inbox(self.core, engine.positions, engine.clocks)
        decoder = Decoder(KAFKA, Limits(), number, PARTITIONS)
        journal: list[Mapping[str, object]] = [engine.genesis(engine.positions).journal]
        mine = [item for item in day(SYMBOLS, minutes=8) if partition_for(item["symbol"], PARTITIONS) == number]
        # Every third offset is missing: on a broker the marks of transactions stand there.
        ticks = [input_record(Topic.TICKS, number, 3 * k // 2, item) for k, item in enumerate(mine)]
        orders = [
            input_record(Topic.ORDERS, number, k, new(f"{symbol}-1", symbol))
            for k, symbol in enumerate(s for s in SYMBOLS if partition_for(s, PARTITIONS) == number)
        ]
        poison = input_record(Topic.ORDERS, number, len(orders), b"{")
        for cut, start in enumerate(range(0, len(ticks), 17)):
            batch = ticks[start : start + 17]
            decoded = decoder.ticks(batch)
            inbox.put_ticks(decoded.batch, decoded.refused, batch[-1].offset + 1)
            # The order comes late: on arrival it applies to the state that there is.
            if cut == 2:
                events = decoder.events(Topic.ORDERS, [*orders, poison])
                inbox.put_events(Topic.ORDERS, events.events, events.refused, poison.offset + 1)
            idle_to = int(decoded.batch.ts_event[-1]) + 2 * SECOND_NS if cut == 3 else None
            while (inputs := inbox.take(idle_to=idle_to)) is not None:
                commit = engine.apply(inputs)
                self.said += commit.outputs
                journal.append(commit.journal)
                if inputs.idle_to is not None:
                    break
        self.records[Topic.TICKS] += ticks
        self.records[Topic.ORDERS] += [*orders, poison]
        self.records[Topic.JOURNAL] += [
            ConsumedRecord("journal", number, k, 0, None, orjson.dumps(entry)) for k, entry in enumerate(journal)
        ]

    def lines(self, topic: Topic) -> list[bytes]:
        return sorted(encode_line(output) for output in self.said if output.topic is topic)


def test_rederive_run_on_arrival_gives_its_bytes(tmp_path: Path) -> None:
    live = LiveRun(tmp_path / "captured")
    told: list[int] = []
    summary = rederive(tmp_path / "captured", KAFKA, tmp_path / "out", progress=lambda rows, _: told.append(rows))
    for topic, name in FILES.items():
        assert sorted((tmp_path / "out" / name).read_bytes().splitlines()) == live.lines(topic)
    assert (len(summary.orders), summary.refused, summary.ticks) == (2, {"truncated": 2}, told[-1])
    assert summary.plans > 2
    assert summary.ticks == len(live.records[Topic.TICKS])


def test_rederive_run_with_a_trained_file_needs_the_file_and_gives_its_bytes(tmp_path: Path) -> None:
    tree = split("ahead", 2.0, -0.5, 1.5)
    forests = [{"start": start, "trees": [tree]} for start in (-0.2, 0.0, 0.2)]
    file = TrainedFile.of(content(ON_ARRIVAL, forests, forests))
    live = LiveRun(
        tmp_path / "captured", dataclasses.replace(ON_ARRIVAL, model=ModelSettings(learned=file, learned_use="always"))
    )
    plain = LiveRun(tmp_path / "plain")
    assert live.lines(Topic.PLANS) != plain.lines(Topic.PLANS)
    with pytest.raises(InputFileError, match=rf"commit 0: model\.learned: .* {file}, which is not loaded"):
        rederive(tmp_path / "captured", KAFKA, tmp_path / "out")
    other = TrainedFile.of(blank_content(ON_ARRIVAL))
    with pytest.raises(InputFileError, match="not loaded"):
        rederive(tmp_path / "captured", KAFKA, tmp_path / "out", learned=other)
    rederive(tmp_path / "captured", KAFKA, tmp_path / "out", learned=file)
    for topic, name in FILES.items():
        assert sorted((tmp_path / "out" / name).read_bytes().splitlines()) == live.lines(topic)


def test_rederive_under_other_formats_gives_the_bytes_of_the_run(tmp_path: Path) -> None:
    live = LiveRun(tmp_path / "captured")
    rederive(
        tmp_path / "captured",
        Settings(wire={"codec": "long-csv", "timestamps": "string"}),
        tmp_path / "out",
        limits=Limits(max_message_bytes=50),
    )
    assert sorted((tmp_path / "out" / FILES[Topic.PLANS]).read_bytes().splitlines()) == live.lines(Topic.PLANS)


def test_rederive_commit_missing_from_the_journal_is_refused(tmp_path: Path) -> None:
    LiveRun(tmp_path / "captured")
    journal = capture_file(tmp_path / "captured", Topic.JOURNAL)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.raises(InputFileError, match="records are missing"):
        rederive(tmp_path / "captured", KAFKA, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_rederive_journal_without_its_genesis_is_refused(tmp_path: Path) -> None:
    LiveRun(tmp_path / "captured")
    journal = capture_file(tmp_path / "captured", Topic.JOURNAL)
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[1:]))
    with pytest.raises(InputFileError, match="not at its genesis"):
        rederive(tmp_path / "captured", KAFKA, tmp_path / "out")


def test_rederive_empty_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_bytes(b"")
    with pytest.raises(InputFileError, match="holds no commit"):
        rederive(tmp_path, KAFKA, tmp_path / "out")

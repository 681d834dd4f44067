"""Derives a captured run again: its journal says where commits were cut, its inputs what was in them.

Under `on_arrival` the cut of the commits is the one thing that Kafka and the
clock decided; with it, the same inputs give the same bytes.  Decoding goes
through the service's own decoder, so that what was misplaced or unknown to it
is so here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from impactd.__about__ import __version__
from impactd.core.commit import controls_of
from impactd.core.engine import Commit, Engine
from impactd.core.inbox import Inbox, Inputs
from impactd.core.messages import INPUT_TOPICS, Topic
from impactd.core.saved import settings_from
from impactd.core.settings import CoreSettings
from impactd.shell.kafka.capture import capture_file, read_partitions
from impactd.shell.kafka.client import KafkaSettings
from impactd.shell.kafka.consume import ConsumedRecord
from impactd.shell.kafka.decode import Decoder
from impactd.shell.lines import InputFileError
from impactd.wire.codec import Limits


@dataclass(frozen=True, slots=True)
class Derived:
    """One commit of the run, derived again.

    `inputs` is what it took in, `engine` its partition's as it stands after it.
    """

    partition: int
    seq: int
    commit: Commit
    inputs: Inputs
    engine: Engine


@dataclass(slots=True)
class _Feed:
    """The captured records of one input of one partition."""

    records: list[ConsumedRecord]
    at: int = 0

    def until(self, to: int) -> list[ConsumedRecord]:
        """Return the next records before offset `to`."""
        start = self.at
        while self.at < len(self.records) and self.records[self.at].offset < to:
            self.at += 1
        return self.records[start : self.at]


@dataclass(slots=True)
class _Run:
    """One partition on its way."""

    partition: int
    engine: Engine
    inbox: Inbox
    decoder: Decoder
    feeds: dict[Topic, _Feed] = field(default_factory=dict)

    def apply(self, entry: Mapping[str, Any]) -> Derived:
        """Apply one commit exactly as the journal has it."""
        to = {Topic(name): int(offset) for name, offset in entry["to"].items()}
        for topic, end in to.items():
            consumed = self.feeds[topic].until(end)
            if topic is Topic.TICKS:
                ticks = self.decoder.ticks(consumed)
                self.inbox.put_ticks(ticks.batch, ticks.refused, end)
            else:
                events = self.decoder.events(topic, consumed)
                self.inbox.put_events(topic, events.events, events.refused, end)
        inputs = self.inbox.take_exact(to, entry["idle_to"], controls_of(entry))
        return Derived(self.partition, entry["commit_seq"], self.engine.apply(inputs), inputs, self.engine)


def derive(directory: Path, settings: KafkaSettings, limits: Limits | None = None) -> Iterator[Derived]:
    """Yield every commit of a captured run, partition by partition.

    Parameters
    ----------
    directory : Path
        As `impactd.shell.kafka.capture.capture` wrote it.
    settings : KafkaSettings
        Only its default codec matters.
    limits : Limits, optional
        Bounds on input records, as the service had them.

    Raises
    ------
    InputFileError
        If the journal is missing, does not begin with a partition's genesis, has a gap, or was written by another
        release.
    """
    journals = read_partitions(directory, Topic.JOURNAL)
    if not journals:
        raise InputFileError(f"{capture_file(directory, Topic.JOURNAL)}: no journal; capture the run again")
    inputs = {topic: read_partitions(directory, topic) for topic in INPUT_TOPICS}
    for partition, journal in sorted(journals.items()):
        run: _Run | None = None
        for record in journal:
            entry = orjson.loads(record.value or b"")
            if run is None:
                run = _genesis(directory, partition, entry, settings, limits)
                run.feeds = {topic: _Feed(inputs[topic].get(partition, [])) for topic in INPUT_TOPICS}
                for topic, feed in run.feeds.items():
                    feed.until(run.engine.positions[topic])
                continue
            _check(directory, run, entry)
            yield run.apply(entry)


def _genesis(
    directory: Path, partition: int, entry: Mapping[str, Any], settings: KafkaSettings, limits: Limits | None
) -> _Run:
    if entry["type"] != "genesis":
        raise InputFileError(
            f"{capture_file(directory, Topic.JOURNAL)}: partition {partition} begins at commit {entry['commit_seq']}, "
            "not at its genesis: older records are gone, and without them nothing can be derived"
        )
    core: CoreSettings = settings_from(entry["settings"])
    engine = Engine(core, partition=partition, partitions=entry["partitions"])
    engine.genesis({Topic(name): offset for name, offset in entry["positions"].items()})
    decoder = Decoder(settings, limits or Limits(max_levels=core.books.max_levels), partition, int(entry["partitions"]))
    return _Run(partition, engine, Inbox(core, engine.positions, engine.clocks), decoder)


def _check(directory: Path, run: _Run, entry: Mapping[str, Any]) -> None:
    where = f"{capture_file(directory, Topic.JOURNAL)}: partition {run.partition}, commit {entry['commit_seq']}"
    if entry["release"] != __version__:
        raise InputFileError(f"{where} is of release {entry['release']}, this is {__version__}; use that release")
    if entry["commit_seq"] != run.engine.commit_seq + 1:
        raise InputFileError(f"{where} follows commit {run.engine.commit_seq}: records are missing; capture again")
    for name, start in entry["from"].items():
        if run.engine.positions[Topic(name)] != start:
            raise InputFileError(f"{where} begins at {name} {start}, not at {run.engine.positions[Topic(name)]}")

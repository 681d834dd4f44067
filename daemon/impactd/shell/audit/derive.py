"""Derives a run again from its journal, which records where commits ended, and its inputs.

Under `on_arrival` the cut of the commits is the one thing that Kafka and the
clock decided; with it, the same inputs give the same bytes.  Decoding uses the service's own decoder, so that the same
records are misplaced or unknown.

A derivation begins at the genesis or behind any snapshot, and continues through
changes of settings, which the journal holds in full.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from impactd.__about__ import __version__
from impactd.config import Settings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.core.engine import Engine
from impactd.core.inputs.inbox import Inbox, Inputs
from impactd.core.state.commit import Commit, controls_of
from impactd.core.state.schema import StateMismatchError, settings_from
from impactd.core.state.snapshot import snapshot_items
from impactd.shell.audit.capture import RecordList, capture_file, captured_schemas, read_partitions
from impactd.shell.kafka.consume import ConsumedRecord
from impactd.shell.kafka.decode import Decoder
from impactd.shell.kafka.formats import as_published
from impactd.shell.kafka.registry import SchemaSource
from impactd.shell.lines import InputFileError
from impactd.wire.codec import Limits

Entry = Mapping[str, Any]


class DerivationError(Exception):
    """A journal that cannot be followed from here on; the text states why."""


@dataclass(frozen=True, slots=True)
class Derived:
    """One commit of the run, derived again.

    `inputs` is what it took in, None where it took in nothing; `engine` its
    partition's after it; `settings` have the formats of the run.
    """

    partition: int
    seq: int
    commit: Commit
    inputs: Inputs | None
    engine: Engine
    settings: Settings


class Rederivation:
    """One partition on its way through its journal.

    Parameters
    ----------
    settings : Settings
        Formats are the journal's, where it has them.
    limits : Limits, optional
        Bounds on input records; those that the journal has are the journal's.
    learned : str, optional
        The trained file (`impactd.core.model.learned.trained.TrainedFile`), of which a journal has but the hash.
    schemas : SchemaSource, optional
        Those that inputs in Avro and Protobuf name.

    Attributes
    ----------
    settings : Settings
        With the formats that the run had.
    """

    def __init__(
        self,
        settings: Settings,
        partition: int,
        limits: Limits | None = None,
        *,
        learned: str = "",
        schemas: SchemaSource | None = None,
    ) -> None:
        self.settings = settings
        self._schemas = schemas
        self._limits = limits or Limits()
        self._learned = learned
        self.partition = partition
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The engine, once begun."""
        if self._engine is None:
            raise DerivationError(f"partition {self.partition}: no genesis and no snapshot to start from")
        return self._engine

    @property
    def begun(self) -> bool:
        """Whether there is a state to continue from."""
        return self._engine is not None

    def begin(self, genesis: Entry) -> Derived:
        """Begin with the first commit of an empty state."""
        engine = self._made(genesis)
        commit = engine.genesis({Topic(name): offset for name, offset in genesis["positions"].items()})
        return self._derived(engine, commit)

    def resume(self, snapshot: Sequence[Entry]) -> None:
        """Begin behind a snapshot.

        Parameters
        ----------
        snapshot : sequence of mapping
            All its parts.

        Raises
        ------
        DerivationError
            If it is not whole, or not for this release.
        """
        try:
            engine = self._made(snapshot[0])
            engine.load(snapshot_items(snapshot))
        except (StateMismatchError, ValueError) as error:
            raise DerivationError(f"the snapshot of commit {snapshot[0]['commit_seq']}: {error}") from error
        self._continue(engine)

    def hand_over(self, entry: Entry) -> Derived:
        """Go on under other settings, as the journal records it.

        Raises
        ------
        DerivationError
            If the state before was not this release's, so that only the snapshot behind it can be begun with.
        """
        self._follow(entry)
        engine = self._made(entry)
        try:
            engine.load(self.engine.dump(), accept_settings=True)
        except StateMismatchError as error:
            raise DerivationError(f"commit {entry['commit_seq']}: {error}") from error
        commit = engine.handover()
        if commit is None:
            raise DerivationError(f"commit {entry['commit_seq']} hands over what has not changed")
        return self._derived(engine, commit)

    def apply(self, entry: Entry, consumed: Mapping[Topic, Sequence[ConsumedRecord]]) -> Derived:
        """Apply one commit exactly as the journal has it.

        Parameters
        ----------
        entry : mapping
            Of type ``commit``.
        consumed : mapping of Topic to sequence of ConsumedRecord
            The records that it took in.
        """
        self._follow(entry)
        to = {Topic(name): int(offset) for name, offset in entry["to"].items()}
        skipped = entry.get("skipped_to")
        if skipped is not None:
            self._decoder.skip_ticks(skipped)
        for topic, end in to.items():
            if topic is Topic.TICKS:
                ticks = self._decoder.ticks(consumed[topic])
                self._inbox.put_ticks(ticks.batch, ticks.refused, end, consumed[topic], events=ticks.events)
            else:
                events = self._decoder.events(topic, consumed[topic])
                self._inbox.put_events(topic, events.events, events.refused, end, consumed[topic])
        inputs = self._inbox.take_exact(to, entry["idle_to"], controls_of(entry))
        if Topic.TICKS in to:
            inputs = replace(inputs, built=self._decoder.books_at(to[Topic.TICKS]), skipped_to=skipped)
        commit = self.engine.apply(inputs)
        return Derived(self.partition, self.engine.commit_seq, commit, inputs, self.engine, self.settings)

    def _made(self, entry: Entry) -> Engine:
        core = settings_from(entry["settings"])
        if "wire" in entry["settings"]:
            self.settings = as_published(self.settings, core.wire)
            self._limits = replace(
                self._limits, max_message_bytes=core.wire.max_message_bytes, time_unit=core.wire.time_unit
            )
        if self._learned and core.model.learned == self._learned:
            core = replace(core, model=replace(core.model, learned=self._learned))
        try:
            return Engine(core, partition=self.partition, partitions=entry["partitions"])
        except ValueError as error:
            raise DerivationError(f"commit {entry['commit_seq']}: {error}") from error

    def _derived(self, engine: Engine, commit: Commit) -> Derived:
        self._continue(engine)
        return Derived(self.partition, engine.commit_seq, commit, None, engine, self.settings)

    def _continue(self, engine: Engine) -> None:
        core = engine.settings
        limits = replace(self._limits, max_levels=core.books.max_levels)
        self._engine = engine
        self._inbox = Inbox(core, engine.positions, engine.clocks)
        self._decoder = Decoder(
            self.settings, limits, self.partition, engine.partitions, engine.built.items, schemas=self._schemas
        )

    async def know_schemas(self, topic: Topic, consumed: Sequence[ConsumedRecord]) -> None:
        """Return when the schemas by which these inputs are read are known; before `apply`."""
        await self._decoder.know_schemas(topic, consumed)

    def _follow(self, entry: Entry) -> None:
        """Refuse a record that is not the next one."""
        where = f"commit {entry['commit_seq']}"
        if entry["release"] != __version__:
            raise DerivationError(
                f"{where} was written by release {entry['release']}, this is {__version__}; use that release"
            )
        if entry["commit_seq"] != self.engine.commit_seq + 1:
            raise DerivationError(f"{where} follows commit {self.engine.commit_seq}: records are missing")
        for name, start in entry.get("from", {}).items():
            stands = self.engine.positions[Topic(name)]
            if stands != start:
                raise DerivationError(f"{where} begins at {name} {start}, not at {stands}")


def derive(
    directory: Path, settings: Settings, limits: Limits | None = None, *, learned: str = ""
) -> Iterator[Derived]:
    """Yield every commit of a captured run, partition by partition.

    Parameters
    ----------
    directory : Path
        As `impactd.shell.audit.capture.capture` wrote it.
    settings : Settings
        Formats are the journal's, where it has them.
    limits : Limits, optional
        Bounds on input records; those that the journal has are the journal's.

    Raises
    ------
    InputFileError
        If the journal is missing, does not begin with a partition's genesis, has a gap, or was written by another
        release.
    """
    journals = read_partitions(directory, Topic.JOURNAL)
    name = str(capture_file(directory, Topic.JOURNAL))
    if not journals:
        raise InputFileError(f"{name}: no journal; capture the run again")
    inputs = {topic: read_partitions(directory, topic) for topic in INPUT_TOPICS}
    schemas = captured_schemas(directory)
    yield from derive_records(journals, inputs, settings, limits, learned=learned, schemas=schemas, name=name)


def derive_records(
    journals: Mapping[int, Sequence[ConsumedRecord]],
    inputs: Mapping[Topic, Mapping[int, Sequence[ConsumedRecord]]],
    settings: Settings,
    limits: Limits | None = None,
    *,
    learned: str = "",
    schemas: SchemaSource | None = None,
    name: str = "journal",
) -> Iterator[Derived]:
    """Yield every commit of a run whose records are available; see `derive`.

    Parameters
    ----------
    journals : mapping of int to sequence of ConsumedRecord
        By partition.
    inputs : mapping of Topic to mapping of int to sequence of ConsumedRecord
        By topic and partition.
    """
    for partition, journal in sorted(journals.items()):
        where = f"{name}: partition {partition}"
        run = Rederivation(settings, partition, limits, learned=learned, schemas=schemas)
        feeds = {topic: RecordList(inputs[topic].get(partition, [])) for topic in INPUT_TOPICS}
        for record in journal:
            entry = orjson.loads(record.value or b"")
            try:
                if entry["type"] == "commit" and run.begun:
                    consumed = {Topic(topic): feeds[Topic(topic)].until(int(end)) for topic, end in entry["to"].items()}
                    yield run.apply(entry, consumed)
                elif entry["type"] == "settings" and run.begun:
                    yield run.hand_over(entry)
                elif entry["type"] == "genesis":
                    genesis = run.begin(entry)
                    for topic, position in genesis.engine.positions.items():
                        feeds[topic].until(position)
                else:
                    _check_begun(run, entry)
            except DerivationError as error:
                raise InputFileError(f"{where}, {error}; capture again") from error


def _check_begun(run: Rederivation, entry: Entry) -> None:
    if not run.begun:
        raise DerivationError(
            f"begins at commit {entry['commit_seq']}, not at its genesis: older records are gone, and without them it "
            "cannot be derived from its beginning"
        )

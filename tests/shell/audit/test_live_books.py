"""A partition whose books are built from changes: restarted, derived again, and followed from a snapshot."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from impactd.core.base.topics import Topic
from impactd.core.engine import Commit, Engine
from impactd.core.inputs.inbox import Inbox
from impactd.shell.audit.derive import Rederivation
from impactd.shell.kafka.consume import ConsumedRecord
from impactd.shell.kafka.decode import Decoder
from impactd.wire.codec import Limits
from tests.shell.audit.test_rederive import KAFKA, ON_ARRIVAL
from tests.wire.helpers import T0, keep
from tests.wire.test_live_books import Sent, coinbase

MS = 1_000_000
#: As the service derives them from the settings.
LIMITS = Limits(max_levels=ON_ARRIVAL.books.max_levels)


def record(offset: int, sent: Sent) -> ConsumedRecord:
    headers = (("codec", b"capture-json"),)
    return ConsumedRecord("ticks", 0, offset, T0 // MS + offset * 700, sent.key, sent.value, headers)


class Run:
    """One partition of the service, without a broker; `restart` continues from what was saved."""

    def __init__(self) -> None:
        self.state: dict[str, bytes] = {}
        self.commits: list[Commit] = []
        self.engine = Engine(ON_ARRIVAL)
        self.keep(self.engine.genesis(self.engine.positions))
        self.restart()

    def restart(self) -> None:
        self.engine = Engine(ON_ARRIVAL)
        self.engine.load(self.state)
        self.inbox = Inbox(ON_ARRIVAL, self.engine.positions, self.engine.clocks)
        self.decoder = Decoder(KAFKA, LIMITS, 0, 1, self.engine.built.items)

    def keep(self, commit: Commit) -> None:
        self.commits.append(commit)
        keep(self.state, commit.state)

    def read(self, records: list[ConsumedRecord], skipped_to: int | None = None, max_rows: int = 7) -> None:
        if skipped_to is not None:
            self.decoder.skip_ticks(skipped_to)
        decoded = self.decoder.ticks(records)
        self.inbox.put_ticks(decoded.batch, decoded.refused, records[-1].offset + 1, records, events=decoded.events)
        while (inputs := self.inbox.take(max_rows=max_rows)) is not None:
            built = self.decoder.books_at(inputs.spans[Topic.TICKS][1])
            self.keep(self.engine.apply(replace(inputs, built=built, skipped_to=skipped_to)))
            skipped_to = None


def outputs(commits: list[Commit]) -> list[Any]:
    return [output for commit in commits for output in commit.outputs]


def day() -> list[ConsumedRecord]:
    sent = [
        Sent(one.key, b"%d %s" % (T0 + at * 700 * MS, one.value.split(b" ", 1)[1]))
        for at, one in enumerate(coinbase(random.Random(5), 600))
    ]
    sent[300] = Sent(sent[300].key, b"{")
    return [record(offset, one) for offset, one in enumerate(sent)]


def test_restarts_change_no_output() -> None:
    records = day()
    once, often = Run(), Run()
    once.read(records)
    for start in range(0, len(records), 41):
        often.read(records[start : start + 41], max_rows=11)
        often.restart()
    assert outputs(once.commits) == outputs(often.commits)
    kinds = [output.message.kind for output in outputs(once.commits) if output.topic is Topic.ALERTS]
    assert "book_gap" in kinds
    assert sum(output.topic is Topic.ESTIMATES for output in outputs(once.commits)) > 10


def test_derivation_gives_the_state_of_each_commit_also_behind_records_that_are_gone() -> None:
    records = day()
    run = Run()
    run.read(records[:200])
    run.restart()
    run.read(records[250:400], skipped_to=250)
    run.restart()
    run.read(records[400:])
    assert any(key.startswith("changes/") for key in run.state)
    entries: list[Mapping[str, Any]] = [orjson.loads(orjson.dumps(commit.journal)) for commit in run.commits]
    assert [entry["skipped_to"] for entry in entries if "skipped_to" in entry] == [250]
    derivation = Rederivation(KAFKA, 0, LIMITS)
    derived = [derivation.begin(entries[0]).commit]
    for entry in entries[1:]:
        start, end = entry["from"]["ticks"], entry["to"]["ticks"]
        taken = [one for one in records if start <= one.offset < end and not 200 <= one.offset < 250]
        derived.append(derivation.apply(entry, {Topic.TICKS: taken}).commit)
    assert [dict(commit.state) for commit in derived] == [dict(commit.state) for commit in run.commits]
    assert outputs(derived) == outputs(run.commits)

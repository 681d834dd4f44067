"""A snapshot in the journal is the state, whole, in small records; anything less is refused."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from impactd.core.base.topics import Topic
from impactd.core.engine import Engine
from impactd.core.inputs.inbox import Inbox
from impactd.core.state.schema import settings_from
from impactd.core.state.snapshot import CHUNK_BYTES, SnapshotError, is_due, snapshot_items, snapshot_records
from tests.core.builders import EngineHarness, M, S, encoded, minutes, new, settings
from tests.core.days import finish, random_day, random_settings

keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
HEAD: dict[str, object] = {"type": "snapshot", "commit_seq": 3}
TERMS: dict[str, object] = {"partitions": 2, "settings": {"apply": "on_arrival"}}


def parsed(records: object) -> list[dict[str, Any]]:
    return orjson.loads(orjson.dumps(records))


@given(items=st.dictionaries(keys, st.binary(max_size=300)), large=st.integers(0, 3))
@hypothesis_settings(deadline=None)
def test_snapshot_read_back_is_the_state_in_records_below_the_limit(items: dict[str, bytes], large: int) -> None:
    items = items | {"large": b"\xff" * (large * CHUNK_BYTES)}
    records = snapshot_records(HEAD, TERMS, items)
    assert snapshot_items(parsed(records)) == items
    assert all(len(orjson.dumps(record)) < 256_000 for record in records)
    assert [("settings" in record) for record in records] == [True] + [False] * (len(records) - 1)


def test_snapshot_cut_doubled_or_altered_is_refused() -> None:
    records = parsed(snapshot_records(HEAD, TERMS, {"a": b"\0" * (CHUNK_BYTES + 1)}))
    assert len(records) == 2
    altered = {**records[1], "data": "AAAA"}
    broken: list[list[dict[str, Any]]] = [[], records[:1], records[1:], [*records, records[1]], records[::-1]]
    for parts in (*broken, [records[0], altered], [records[0], {**records[1], "data": "?"}]):
        with pytest.raises(SnapshotError):
            snapshot_items(parts)


def test_is_due_only_where_time_passes_a_multiple() -> None:
    assert is_due(10, 9, 10)
    assert is_due(10, 5, 31)
    assert not is_due(10, 10, 19)
    assert not is_due(0, 5, 31)
    assert not is_due(10, 0, 31)


def test_engine_snapshot_is_in_the_commits_that_pass_a_multiple_of_its_interval() -> None:
    harness = EngineHarness(snapshot_ns=5 * M)
    rows = minutes(12)
    for at in range(0, len(rows), 2):
        harness.run(rows[at : at + 2])
    with_one = [commit for commit in harness.commits if commit.snapshot]
    assert len(with_one) == 2
    last = parsed(with_one[-1].snapshot)
    assert last[0]["commit_seq"] == with_one[-1].journal["commit_seq"]
    assert last[0]["settings"] == parsed(harness.commits[0].journal["settings"])
    assert harness.state.keys() == snapshot_items(last).keys()


def test_engine_without_an_interval_takes_no_snapshot() -> None:
    harness = EngineHarness()
    harness.run(minutes(90))
    assert not any(commit.snapshot for commit in harness.commits)


@given(seed=st.integers(0, 2**32 - 1), apply=st.sampled_from(["on_arrival", "in_event_time"]))
@hypothesis_settings(max_examples=8, deadline=None)
def test_engine_from_any_snapshot_continues_with_the_same_bytes(seed: int, apply: str) -> None:
    day, core = random_day(seed), random_settings(seed, apply)
    harness = EngineHarness(core, snapshot_ns=M)
    day.put_events(harness.inbox, harness.engine.positions)
    for at in range(0, day.n_records, 20):
        day.put_ticks(harness.inbox, at, at + 20)
        harness.commit()
    finish(harness)
    taken = [n for n, commit in enumerate(harness.commits) if commit.snapshot]
    for n in taken[:: max(1, len(taken) // 2)]:
        parts = parsed(harness.commits[n].snapshot)
        engine = Engine(settings_from(parts[0]["settings"]), partitions=parts[0]["partitions"])
        engine.load(snapshot_items(parts))
        inbox = Inbox(core, engine.positions, engine.clocks)
        day.put_events(inbox, engine.positions)
        day.put_ticks(inbox, engine.positions[Topic.TICKS], day.n_records)
        said = []
        for commit in harness.commits[n + 1 :]:
            entry = parsed(commit.journal)
            to = {Topic(name): at for name, at in entry["to"].items()}
            again = engine.apply(inbox.take_exact(to, entry["idle_to"]))
            assert again.journal == commit.journal
            said += again.outputs
        expected = [output for commit in harness.commits[n + 1 :] for output in commit.outputs]
        assert encoded(said) == encoded(expected)
        assert engine.dump() == harness.engine.dump()


def test_snapshot_of_long_orders_has_no_large_record() -> None:
    harness = EngineHarness(settings(max_horizon_intervals=400))
    for n in range(40):
        harness.send(new(f"A{n}", length=390 * M, symbol=f"S{n}"))
    harness.run(minutes(2, "S1", start=1_743_674_400_000_000_000 + S))
    records = harness.engine.snapshot()
    assert max(len(orjson.dumps(record)) for record in records) < 256_000
    assert snapshot_items(parsed(records)) == harness.engine.dump()

"""An audit agrees with what was published, finds what is not, and says what it cannot know."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from impactd.config import Settings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.shell.audit.audit import Audit, audit_all, audit_plans, find_plan
from impactd.shell.audit.capture import OUTPUT_TOPICS
from impactd.shell.audit.compare import first_difference
from impactd.shell.audit.coverage import coverage
from impactd.shell.audit.derive import derive
from impactd.shell.audit.journal import cover
from impactd.shell.audit.source import capture_source
from impactd.shell.lines import InputFileError
from impactd.wire.codec import Limits
from impactd.wire.framing import SCHEMAS, Schema, Schemas
from tests.shell.kafka.runs import CHANGE, KAFKA, CapturedRun


@pytest.fixture
def run(tmp_path: Path) -> CapturedRun:
    return CapturedRun(tmp_path / "captured")


async def audited(run: CapturedRun, since_ms: int | None = None) -> Audit:
    return await audit_all(capture_source(run.directory, KAFKA), since_ms)


def entries(run: CapturedRun, partition: int = 0) -> list[dict[str, Any]]:
    found = (orjson.loads(r.value or b"") for r in run.records[Topic.JOURNAL] if r.partition == partition)
    return list(found)


async def test_audit_of_a_run_with_restart_and_changed_settings_agrees_in_every_byte(run: CapturedRun) -> None:
    audit = await audited(run)
    published = sum(len(run.records[topic]) for topic in OUTPUT_TOPICS)
    commits = [entry for n in range(2) for entry in entries(run, n) if entry["type"] != "snapshot"]
    assert (audit.outcome, audit.differences, audit.underived, audit.notes) == ("agrees", [], [], [])
    assert (audit.commits, audit.records) == (len(commits), published + len(commits))
    assert audit.plans == len(run.records[Topic.PLANS]) >= 10
    # The handover's snapshots, and those that the day's time has brought.
    assert audit.snapshots == 2 + 2 * 2
    assert {"genesis", "settings", "commit"} == {entry["type"] for entry in commits}


async def test_audit_under_other_formats_than_the_run_had_agrees(run: CapturedRun) -> None:
    other = Settings(
        topics={"prefix": "other."},
        wire={"codec": "long-csv", "timestamps": "string", "max_message_bytes": 2_000},
        kafka={"max_dead_letter_bytes": 1_000},
    )
    audit = await audit_all(capture_source(run.directory, other), limits=Limits(max_message_bytes=50))
    assert (audit.outcome, audit.differences, audit.underived) == ("agrees", [], [])
    assert audit.plans == len(run.records[Topic.PLANS])


async def test_audit_of_one_plan_begins_at_the_snapshot_before_it(run: CapturedRun) -> None:
    source = capture_source(run.directory, KAFKA)
    last = orjson.loads(run.records[Topic.PLANS][-1].value or b"")
    plans = await find_plan(source, last["cl_ord_id"], last["plan_version"])
    assert [record.value for record in plans] == [run.records[Topic.PLANS][-1].value]
    audit = await audit_plans(source, plans)
    assert audit.outcome == "agrees"
    assert 1 <= audit.commits < CHANGE
    assert await find_plan(source, last["cl_ord_id"], 999) == []


@pytest.mark.parametrize("topic", [Topic.PLANS, Topic.PLANS_LATEST, Topic.ESTIMATES, Topic.MODELS, Topic.DLQ])
async def test_audit_flipped_bit_of_any_output_is_found_with_its_place(run: CapturedRun, topic: Topic) -> None:
    record = run.flip(topic, len(run.records[topic]) // 2, byte=0)
    audit = await audited(run)
    assert (audit.outcome, audit.n_differences) == ("differs", 1)
    [found] = audit.differences
    assert (found.topic, found.output_partition, found.offset) == (topic.value, record.partition, record.offset)
    assert (found.what, found.byte) == ("value", 0)
    assert f"{found.partition}:{found.commit}".encode() == dict(record.headers)["commit"]
    assert "differs from byte 0 on" in str(found)


async def test_audit_plan_altered_lost_doubled_or_foreign_is_found(run: CapturedRun) -> None:
    plans = run.records[Topic.PLANS]
    place = len(plans) - 3
    whole = list(plans)

    async def found() -> str:
        run.write()
        audit = await audited(run)
        assert (audit.outcome, audit.n_differences) == ("differs", 1)
        return audit.differences[0].what

    plans[place] = replace(whole[place], headers=(*whole[place].headers[:-1], ("input", b"x/0/1")))
    assert await found() == "headers"
    plans[place] = replace(whole[place], key=b"FROH")
    assert await found() == "key"
    plans[:] = [*whole[:place], *whole[place + 1 :]]
    assert await found() == "lost"
    plans[:] = [*whole, replace(whole[-1], offset=whole[-1].offset + 1)]
    assert await found() == "extra"
    plans[:] = [*whole, replace(whole[-1], offset=whole[-1].offset + 1, headers=())]
    assert await found() == "extra"


@pytest.mark.parametrize("headers", [(), None])
async def test_audit_of_a_value_whose_schema_cannot_be_used_reports_it(run: CapturedRun, headers: Any) -> None:
    """A stranger's record, or one of ours that was damaged."""
    (run.directory / SCHEMAS).write_text(Schemas({7: Schema(fault="the registry has no such schema")}).to_text())
    plans = run.records[Topic.PLANS]
    value = b"\0\0\0\0\7 not known"
    if headers is None:
        plans[-1] = replace(plans[-1], value=value)
    else:
        plans.append(replace(plans[-1], offset=plans[-1].offset + 1, headers=headers, value=value))
    run.write()
    [difference] = (await audited(run)).differences
    assert (difference.what, difference.published) == ("value" if headers is None else "extra", value)


async def test_audit_of_a_compacted_topic_does_not_miss_what_a_cleaner_has_taken(run: CapturedRun) -> None:
    latest = run.records[Topic.PLANS_LATEST]
    last = {record.key: record for record in latest}
    run.records[Topic.PLANS_LATEST] = [record for record in latest if last[record.key] is record]
    run.write()
    audit = await audited(run)
    assert (audit.outcome, audit.unkept) == ("agrees", len(latest) - len(last))


async def test_audit_outputs_that_retention_has_taken_are_counted_and_no_difference(run: CapturedRun) -> None:
    run.drop(Topic.PLANS, 0, 3)
    audit = await audited(run)
    assert (audit.outcome, audit.unkept) == ("agrees", 3)


async def test_audit_inputs_deleted_are_named_and_the_next_snapshot_continues(run: CapturedRun) -> None:
    run.drop(Topic.TICKS, 0, 40)
    audit = await audited(run)
    assert audit.outcome == "underived"
    [gap] = audit.underived
    # The first commits publish nothing, and agree even without their inputs.
    assert (gap.partition, gap.first) == (0, 3)
    assert re.search(r"impactd\.ticks/0 offsets 0 to \d+ of commit 1 ", gap.why)
    assert "retention" in gap.why
    # What follows the next snapshot is derived all the same.
    assert audit.commits > gap.last
    assert audit.n_differences == 0


async def test_audit_inputs_truncated_are_named(run: CapturedRun) -> None:
    ticks = [record for record in run.records[Topic.TICKS] if record.partition == 1]
    run.records[Topic.TICKS] = [record for record in run.records[Topic.TICKS] if record not in ticks[-20:]]
    run.write()
    audit = await audited(run)
    assert audit.outcome == "underived"
    assert "the topic ends before" in audit.underived[-1].why


async def test_audit_of_a_journal_without_its_beginning_starts_at_the_first_snapshot(run: CapturedRun) -> None:
    at = next(k for k, entry in enumerate(entries(run)) if entry["type"] == "snapshot")
    run.drop(Topic.JOURNAL, 0, at)
    audit = await audited(run)
    assert (audit.outcome, audit.differences, audit.underived) == ("agrees", [], [])
    run.drop(Topic.JOURNAL, 0, at + 1)
    audit = await audited(run)
    assert "neither its genesis nor a snapshot" in audit.underived[0].why


async def test_audit_of_another_release_names_it_and_continues_at_the_snapshot_of_this_one(run: CapturedRun) -> None:
    handed = next(entry["commit_seq"] for entry in entries(run) if entry["type"] == "settings")

    def older(entry: dict[str, Any]) -> dict[str, Any]:
        if entry["commit_seq"] < handed:
            return entry | {"release": "0.0.1"}
        return entry | ({"previous": entry["previous"] | {"release": "0.0.1"}} if entry["type"] == "settings" else {})

    run.edit(older)
    audit = await audited(run)
    assert audit.outcome == "underived"
    assert [(gap.first, gap.last) for gap in audit.underived] == [(0, handed - 1)] * 2
    assert "release 0.0.1 wrote them" in audit.underived[0].why
    assert audit.commits > 8
    assert audit.n_differences == 0


async def test_audit_journal_with_a_gap_or_altered_reports_it(run: CapturedRun) -> None:
    whole = list(run.records[Topic.JOURNAL])
    run.records[Topic.JOURNAL] = [*whole[:3], *whole[4:]]
    run.write()
    audit = await audited(run)
    assert "records are missing" in audit.underived[0].why
    run.records[Topic.JOURNAL] = whole
    run.flip(Topic.JOURNAL, 3, byte=0)
    audit = await audited(run)
    assert audit.outcome == "underived"
    run.records[Topic.JOURNAL] = whole
    place = next(k for k, record in enumerate(whole) if b'"idle_to":null' in (record.value or b""))
    run.flip(Topic.JOURNAL, place, byte=(whole[place].value or b"").index(b"config") + 12)
    audit = await audited(run)
    assert [found.topic for found in audit.differences] == ["journal"]


async def test_audit_snapshot_that_is_not_the_state_is_found(run: CapturedRun, tmp_path: Path) -> None:
    """A snapshot of another run is whole in itself, and not what these inputs give."""
    other = CapturedRun(tmp_path / "other")
    places = run.of(Topic.JOURNAL, type="snapshot", partition=0)
    [first, second, *_] = places
    value = orjson.loads(other.records[Topic.JOURNAL][second].value or b"")
    record = run.records[Topic.JOURNAL][first]
    value |= {"commit_seq": orjson.loads(record.value or b"")["commit_seq"]}
    run.records[Topic.JOURNAL][first] = replace(record, value=orjson.dumps(value))
    run.write()
    audit = await audited(run)
    assert audit.outcome == "differs"
    assert "meta" in {found.key for found in audit.differences}


async def test_audit_since_omits_what_is_before_the_last_snapshot(run: CapturedRun) -> None:
    whole = await audited(run)
    stamps = [r.timestamp for r in run.records[Topic.JOURNAL] if r.partition == 0]
    late = await audited(run, stamps[-1])
    assert late.outcome == "agrees"
    assert 0 < late.commits < whole.commits
    assert (await audited(run, 2**50)).commits == 0


async def test_cover_states_which_offsets_were_taken_in_twice_or_not_at_all(run: CapturedRun) -> None:
    faults, commits = await cover(capture_source(run.directory, KAFKA))
    assert (faults, commits) == ([], sum(entry["type"] != "snapshot" for n in range(2) for entry in entries(run, n)))

    def shifted(entry: dict[str, Any]) -> dict[str, Any]:
        if entry["commit_seq"] == 4 and entry["type"] == "commit":
            return entry | {"from": entry["from"] | {"ticks": entry["from"]["ticks"] - 1}}
        return entry

    run.edit(shifted)
    faults, _ = await cover(capture_source(run.directory, KAFKA))
    assert len(faults) == 2
    assert all("again" in fault for fault in faults)


def test_coverage_gap_second_genesis_and_missing_end_are_faults(run: CapturedRun) -> None:
    found = entries(run)
    ends = dict.fromkeys(INPUT_TOPICS, 0) | {Topic(n): e for x in found for n, e in x.get("to", {}).items()}
    assert list(coverage(0, found, ends)) == []
    assert "accounted for up to" in next(coverage(0, found, ends | {Topic.TICKS: ends[Topic.TICKS] + 1}))
    assert any("follows" in fault for fault in coverage(0, [*found[:3], *found[4:]]))
    assert any("is a genesis" in fault for fault in coverage(0, [*found, found[0]]))
    assert list(coverage(0, [])) == ["partition 0 has no commit"]


def test_derive_follows_changed_settings_and_skips_snapshots(run: CapturedRun) -> None:
    derived = [step for step in derive(run.directory, KAFKA) if step.partition == 0]
    assert [step.seq for step in derived] == [e["commit_seq"] for e in entries(run) if e["type"] != "snapshot"][1:]
    assert derived[-1].engine.settings.plans.child_slices == 3
    assert any(step.inputs is None for step in derived)


def test_capture_source_cut_short_is_refused(run: CapturedRun) -> None:
    path = run.directory / "ticks.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputFileError, match=r"ticks\.jsonl: holds .* were captured"):
        capture_source(run.directory, KAFKA)


def test_capture_source_of_another_schema_is_refused(run: CapturedRun) -> None:
    manifest = run.directory / "capture.json"
    manifest.write_bytes(orjson.dumps(orjson.loads(manifest.read_bytes()) | {"schema": "impactd.capture/2"}))
    with pytest.raises(InputFileError, match=r"schema impactd\.capture/2, this release reads impactd\.capture/1"):
        capture_source(run.directory, KAFKA)


def test_first_difference_is_the_first_byte_or_where_one_ends() -> None:
    assert first_difference(b"abc", b"abd") == 2
    assert first_difference(b"abc", b"abcd") == 3
    assert first_difference(None, b"x") == 0

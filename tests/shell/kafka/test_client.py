"""Settings become clients: names, ids, security; and secrets stay out of what is shown."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from impactd.config import Settings
from impactd.config.cluster import KafkaSection, SecuritySection
from impactd.core.base.topics import Topic
from impactd.shell.kafka.client import client_options, close_within
from impactd.shell.kafka.errors import FatalError
from impactd.shell.kafka.status import PartitionStatus, Phase, Status
from impactd.shell.kafka.tasks import run_together
from impactd.shell.kafka.topics import required_acls, topics_spec


def test_topic_is_named_by_setting_or_by_prefix_and_role() -> None:
    settings = Settings(topics={"prefix": "desk.", "names": {"ticks": "feed"}})
    assert settings.topics.name(Topic.TICKS) == "feed"
    assert settings.topics.name(Topic.PLANS_LATEST) == "desk.plans.latest"


def test_transactional_id_names_environment_group_and_partition() -> None:
    assert Settings(kafka={"environment": "prod", "group": "desk"}).kafka.transactional_id(3) == "prod.desk.3"


names = st.text("ab.-_2E5", min_size=1, max_size=6)


@example(("a.b", "c", 1), ("a", "b.c", 1))
@given(st.tuples(names, names, st.integers(0, 12)), st.tuples(names, names, st.integers(0, 12)))
def test_transactional_id_is_of_one_environment_group_and_partition_alone(
    one: tuple[str, str, int], other: tuple[str, str, int]
) -> None:
    ids = [KafkaSection(environment=e, group=g).transactional_id(n) for e, g, n in (one, other)]
    assert (ids[0] == ids[1]) == (one == other)
    # Nor does the prefix that ACLs are given for let another environment or group in.
    prefixes = [made[: made.rindex(".") + 1] for made in ids]
    assert ids[1].startswith(prefixes[0]) == (one[:2] == other[:2])


def test_client_options_carry_scram_and_hide_the_password() -> None:
    security = SecuritySection(protocol="SASL_PLAINTEXT", mechanism="SCRAM-SHA-512", username="u", password="geheim")  # noqa: S106
    settings = Settings(kafka={"security": security})
    options = client_options(settings)
    assert (options["sasl_mechanism"], options["sasl_plain_password"]) == ("SCRAM-SHA-512", "geheim")
    assert "geheim" not in repr(settings)
    assert "ssl_context" not in options


def test_client_options_read_the_token_again_each_time(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one\n")
    security = SecuritySection(protocol="SASL_PLAINTEXT", mechanism="OAUTHBEARER", oauth_token_file=str(path))
    provider = client_options(Settings(kafka={"security": security}))["sasl_oauth_token_provider"]
    assert asyncio.run(provider.token()) == "one"
    path.write_text("two\n")
    assert asyncio.run(provider.token()) == "two"


def test_client_options_with_a_missing_certificate_name_the_setting(tmp_path: Path) -> None:
    security = SecuritySection(protocol="SSL", ca_file=str(tmp_path / "missing.pem"))
    with pytest.raises(FatalError, match="security"):
        client_options(Settings(kafka={"security": security}))


def test_topics_spec_compacts_what_is_read_back_and_keeps_inputs_as_long_as_the_journal() -> None:
    specs = {spec.role: spec for spec in topics_spec(Settings())}
    assert set(specs) == set(Topic)
    assert {role for role, spec in specs.items() if spec.config["cleanup.policy"] == "compact"} == {
        Topic.STATE,
        Topic.PLANS_LATEST,
    }
    assert specs[Topic.TICKS].config["retention.ms"] == specs[Topic.JOURNAL].config["retention.ms"]


def test_required_acls_name_group_every_topic_and_the_transactional_ids() -> None:
    settings = Settings(kafka={"environment": "prod"})
    acls = {(acl.resource, acl.name): acl.operations for acl in required_acls(settings)}
    assert ("group", "impactd") in acls
    assert ("transactional-id", "prod.impactd.*") in acls
    assert all(("topic", settings.topics.name(topic)) in acls for topic in Topic)
    assert "WRITE" not in acls["topic", "impactd.ticks"]


def test_status_lag_is_high_watermark_less_committed_position() -> None:
    partition = PartitionStatus(0, 1, Phase.RUNNING)
    partition.high_watermarks[Topic.TICKS] = 10
    partition.stable_offsets[Topic.TICKS] = 8
    partition.positions[Topic.TICKS] = 7
    assert (partition.lag(Topic.TICKS), partition.stable_lag(Topic.TICKS), partition.total_lag) == (3, 1, 3)


def test_status_snapshot_stands_still_and_ready_needs_every_partition() -> None:
    status = Status()
    assert not status.ready
    status.rebalances = 1
    status.partitions[0] = PartitionStatus(0, 1, Phase.RUNNING)
    seen = status.snapshot()
    assert seen.ready
    status.partitions[0].lost[Topic.TICKS] = 5
    assert not status.ready
    assert seen.ready


async def test_run_together_raises_the_first_failure_and_ends_the_rest() -> None:
    ended = asyncio.Event()

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fails() -> None:
        raise ValueError("this one")

    with pytest.raises(ValueError, match="this one"):
        await run_together(waits(), fails())
    assert ended.is_set()


async def test_close_that_raises_the_cancellation_of_its_own_fetch_does_not_cancel_the_caller() -> None:
    async def fetch() -> None:
        await asyncio.Event().wait()

    async def stop() -> None:
        """As aiokafka's fetcher closes: it cancels its task, and awaits it."""
        task = asyncio.create_task(fetch())
        await asyncio.sleep(0)
        task.cancel()
        await task

    assert not await close_within(stop())


async def test_close_of_a_caller_that_is_cancelled_is_cancelled_too() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def stop() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(close_within(stop(), 300))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_close_that_does_not_end_is_given_up() -> None:
    assert not await close_within(asyncio.sleep(300), 0.01)


async def test_close_with_an_error_of_another_kind_raises_it() -> None:
    async def stop() -> None:
        raise ValueError("not the broker's")

    with pytest.raises(ValueError, match="not the broker's"):
        await close_within(stop())

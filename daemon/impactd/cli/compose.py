"""Settings become the values that the shell's parts are made from."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from impactd.core.base.topics import Topic
from impactd.shell.health import HealthLimits
from impactd.shell.http import HttpSettings
from impactd.shell.kafka.client import KafkaSettings, TopicSettings
from impactd.shell.kafka.security import KafkaSecurity
from impactd.shell.operate import Operation
from impactd.wire.codec import Limits

if TYPE_CHECKING:
    from pydantic import SecretStr

    from impactd.config import Settings
    from impactd.config.cluster import SecuritySection
    from impactd.core.base.settings import CoreSettings


def kafka_settings(settings: Settings) -> KafkaSettings:
    """Return the Kafka client's settings."""
    kafka, topics, wire = settings.kafka, settings.topics, settings.wire
    names = {role: getattr(topics.names, role.value.replace(".", "_")) for role in Topic}
    return KafkaSettings(
        bootstrap=kafka.bootstrap,
        environment=kafka.environment,
        group=kafka.group,
        client_id=kafka.client_id,
        topic_prefix=topics.prefix,
        topics={role: name for role, name in names.items() if name is not None},
        codec=wire.codec,
        timestamps=wire.timestamps,
        security=_security(kafka.security),
        topic_settings=TopicSettings(**topics.model_dump(exclude={"prefix", "names"})),
        start=kafka.start,
        commit_interval_ms=kafka.commit_interval_ms,
        urgent_interval_ms=kafka.urgent_interval_ms,
        transaction_timeout_ms=kafka.transaction_timeout_ms,
        session_timeout_ms=kafka.session_timeout_ms,
        heartbeat_interval_ms=kafka.heartbeat_interval_ms,
        request_timeout_ms=kafka.request_timeout_ms,
        max_poll_records=kafka.max_poll_records,
        max_backlog_rows=kafka.max_backlog_rows,
        max_message_bytes=wire.max_message_bytes,
        max_state_bytes=kafka.max_state_bytes,
        max_dead_letter_bytes=kafka.max_dead_letter_bytes,
        compression=None if kafka.compression == "none" else kafka.compression,
        revoke_timeout_ms=kafka.revoke_timeout_ms,
        drain_timeout_ms=kafka.drain_timeout_ms,
        group_commit_interval_ms=kafka.group_commit_interval_ms,
        idle_after_ms=kafka.idle_after_ms,
        linger_ms=kafka.linger_ms,
        check_crcs=kafka.check_crcs,
        lost_position=kafka.lost_position,
        snapshot_s=settings.journal.snapshot_s,
        accept_settings=settings.journal.accept_settings,
    )


def operation(settings: Settings) -> Operation:
    """Return how the process is watched."""
    http, health = settings.http, settings.health
    return Operation(
        http=HttpSettings(
            http.enabled,
            http.host,
            http.port,
            page=http.page,
            token=None if http.token is None else http.token.get_secret_value(),
            max_readers=http.max_readers,
            zone=settings.session.timezone,
        ),
        limits=HealthLimits(health.max_lag, health.max_tick_age_s or None),
        stuck_after_s=health.stuck_after_s,
    )


def limits(settings: Settings) -> Limits:
    """Return the bounds on input records, and the unit of their times."""
    return Limits(settings.wire.max_message_bytes, settings.books.max_levels, settings.wire.time_unit)


def replay_settings(settings: Settings, *, has_executions: bool) -> CoreSettings:
    """Return the core's settings for recorded days: in event time, and filled as the replay section says."""
    core = settings.core()
    fills = settings.replay.fills
    if fills == "auto":
        fills = "reported" if has_executions else "scheduled"
    return dataclasses.replace(core, apply="in_event_time", plans=dataclasses.replace(core.plans, fills=fills))


def _security(section: SecuritySection) -> KafkaSecurity:
    def text(secret: SecretStr | None) -> str | None:
        return None if secret is None else secret.get_secret_value()

    return KafkaSecurity(
        protocol=section.protocol,
        mechanism=section.mechanism,
        username=section.username,
        password=text(section.password),
        oauth_token_file=section.oauth_token_file,
        ca_file=section.ca_file,
        cert_file=section.cert_file,
        key_file=section.key_file,
        key_password=text(section.key_password),
        check_hostname=section.check_hostname,
    )

"""Rights taken away while the service runs: it stops with the remedy, and once they are back nothing is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.broker.server import KafkaServer
from impactd.wire.murmur2 import partition_for
from tests.integration.kafka_lab import (
    OPEN_NS,
    SYMBOLS,
    day,
    lab,
    live,
    order,
    records_until,
    running,
    send,
    start,
    until,
    values_by_partition,
)

pytestmark = pytest.mark.broker

_SYMBOL = SYMBOLS[0]
_HOME = partition_for(_SYMBOL, 2)
_WITHIN_S = 90.0

_PROPERTIES = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
    "super.users": "User:nobody",
}


class Warden:
    """Denies the one user that there is, which is everybody."""

    def __init__(self, bootstrap: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap})

    def deny(self, kind: ResourceType, name: str, operation: AclOperation) -> None:
        """Take a right away, and leave the others."""
        rights = [(operation, AclPermissionType.DENY), (AclOperation.ALL, AclPermissionType.ALLOW)]
        bindings = [
            AclBinding(kind, name, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", what, permission)
            for what, permission in rights
        ]
        for done in self._admin.create_acls(bindings).values():
            done.result(_WITHIN_S)

    def pardon(self) -> None:
        """Give everything back."""
        everything = AclBindingFilter(
            ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
        )
        for done in self._admin.delete_acls([everything]).values():
            done.result(_WITHIN_S)


_TOPIC, _GROUP, _IDENTITY = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID

#: What is denied, and what the process says on leaving.
_CASES = {
    "output": (_TOPIC, Topic.PLANS, AclOperation.WRITE, "impactd topics acls"),
    "state": (_TOPIC, Topic.STATE, AclOperation.WRITE, "impactd topics acls"),
    "dead-letters": (_TOPIC, Topic.DLQ, AclOperation.WRITE, "impactd topics acls"),
    "orders": (_TOPIC, Topic.ORDERS, AclOperation.READ, "impactd topics acls"),
    "ticks": (_TOPIC, Topic.TICKS, AclOperation.DESCRIBE, "impactd topics acls"),
    "identity": (_IDENTITY, None, AclOperation.WRITE, "impactd topics acls"),
    "group": (_GROUP, None, AclOperation.READ, "impactd topics acls"),
}


def _name(settings: Settings, kind: ResourceType, topic: Topic | None) -> str:
    if topic is not None:
        return settings.topics.name(topic)
    return settings.kafka.group if kind is _GROUP else settings.kafka.transactional_id(_HOME)


@pytest.fixture(scope="module")
def warded(module_kafka: Callable[..., KafkaServer]) -> KafkaServer:
    """Return a server with an authorizer, the same for all tests here."""
    return module_kafka(properties=_PROPERTIES)


@pytest.mark.slow
@pytest.mark.parametrize("case", _CASES)
async def test_service_whose_right_is_taken_away_stops_with_the_remedy_and_loses_nothing(
    warded: KafkaServer, case: str
) -> None:
    kind, topic, operation, remedy = _CASES[case]
    warden = Warden(warded.bootstrap)
    settings = await lab(warded.bootstrap, kafka={"request_timeout_ms": 5_000, "transaction_timeout_ms": 5_000})
    rows = day(6, (_SYMBOL,))
    run = start(settings, live())
    await until(lambda: run.service.status.ready or run.task.done(), "the partitions are owned", _WITHIN_S)
    assert not run.task.done(), run.service.error
    await asyncio.to_thread(warden.deny, kind, _name(settings, kind, topic), operation)
    try:
        # What the sender may not do either is done when it may.
        if topic is not Topic.TICKS:
            await send(settings, Topic.TICKS, [(_SYMBOL, b"not a tick", OPEN_NS), (_SYMBOL, rows[0][2], rows[0][1])])
            new = orjson.dumps(order("B1", _SYMBOL, "buy", OPEN_NS, 6))
            await send(settings, Topic.ORDERS, [(_SYMBOL, new, OPEN_NS)])
        async with asyncio.timeout(_WITHIN_S):
            assert await run.task == 1
    finally:
        await asyncio.to_thread(warden.pardon)
    assert remedy in str(run.service.error)
    async with running(settings, live()) as again:
        if topic is not Topic.TICKS:
            await records_until(settings, Topic.PLANS, lambda found: len(found) == 1)
            await records_until(settings, Topic.DLQ, lambda found: len(found) == 1)
        await until(lambda: again.service.status.ready, "the partitions are owned again", _WITHIN_S)
    seqs = [orjson.loads(value)["commit_seq"] for value in (await values_by_partition(settings, Topic.JOURNAL))[_HOME]]
    assert seqs == list(range(len(seqs)))

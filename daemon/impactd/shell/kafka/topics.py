"""The topics that the service needs, made and compared by aiokafka's admin client.

`topics_spec` is the complete specification: `create_topics` makes what is
missing and changes nothing that exists, `check_topics` lists every difference
with its remedy, and `required_acls` lists what the principal must be allowed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from impactd.config import Settings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.shell.kafka.client import client_options, close_within
from impactd.shell.kafka.errors import FatalError, UnsupportedError
from impactd.shell.kafka.security import CONNECT_ERRORS, why_unreachable

#: Topics whose partition number is the unit of ownership: inputs, and what is written per owner.
OWNED_TOPICS: Final = (*INPUT_TOPICS, Topic.STATE, Topic.JOURNAL)

#: Outputs that the live page reads while someone looks.
SHOWN: Final = (Topic.ESTIMATES, Topic.MODELS, Topic.PLANS, Topic.PLANS_LATEST, Topic.ALERTS, Topic.TCA)

_COMPACTED: Final = frozenset({Topic.STATE, Topic.PLANS_LATEST})


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be."""

    role: Topic
    name: str
    partitions: int
    replication_factor: int
    #: Only what this service relies on.
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a topic is not as it should be."""

    topic: str
    #: ``missing``, ``partitions``, ``replication`` or the name of a setting.
    what: str
    found: str
    wanted: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.what} is {self.found}, should be {self.wanted}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class Acl:
    """A permission that the principal of the service needs."""

    resource: str
    name: str
    operations: tuple[str, ...]
    why: str


def topics_spec(settings: Settings) -> tuple[TopicSpec, ...]:
    """Return every topic of the service, in the order of `Topic`."""
    return tuple(_spec(settings, role) for role in Topic)


def _spec(settings: Settings, role: Topic) -> TopicSpec:
    wanted = settings.topics
    config = _config(settings)
    if role in _COMPACTED:
        config |= _compacted(settings)
    else:
        config |= {"cleanup.policy": "delete", "retention.ms": str(_retention_ms(settings, role))}
    if role in INPUT_TOPICS:
        # The limit on bytes is then on what readers unpack: as producers send it a batch is measured packed.
        config["compression.type"] = wanted.input_compression
    return TopicSpec(role, settings.topics.name(role), wanted.partitions, wanted.replication_factor, config)


def _config(settings: Settings) -> dict[str, str]:
    return {
        "min.insync.replicas": str(settings.topics.min_insync_replicas),
        "max.message.bytes": str(max(settings.wire.max_message_bytes + 65_536, 1_048_588)),
        # The timestamps of inputs are the senders': clock skew and recorded days are judged by them.
        "message.timestamp.type": "CreateTime",
    }


def _compacted(settings: Settings) -> dict[str, str]:
    wanted = settings.topics
    return {
        "cleanup.policy": "compact",
        "min.cleanable.dirty.ratio": str(wanted.compacted_dirty_ratio),
        "segment.bytes": str(wanted.compacted_segment_bytes),
        "segment.ms": str(wanted.compacted_segment_ms),
        "max.compaction.lag.ms": str(wanted.compacted_max_lag_ms),
        "delete.retention.ms": str(wanted.delete_retention_ms),
    }


def _retention_ms(settings: Settings, role: Topic) -> int:
    wanted = settings.topics
    if role is Topic.DLQ:
        return wanted.dlq_retention_ms
    if role in INPUT_TOPICS or role is Topic.JOURNAL:
        return wanted.input_retention_ms
    return wanted.output_retention_ms


@asynccontextmanager
async def admin_client(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Yield a started admin client.

    Raises
    ------
    FatalError
        If no broker answers, they refuse the connection, or one fails later; the text states which, and the remedy.
    """
    options = client_options(settings)
    within_s = settings.kafka.request_timeout_ms / 1000
    admin = AIOKafkaAdminClient(**options)
    try:
        async with asyncio.timeout(within_s):
            await admin.start()
    except CONNECT_ERRORS as error:
        await close_within(admin.close())
        raise FatalError(await why_unreachable(settings.kafka.bootstrap, options, within_s, error)) from error
    try:
        yield admin
    except IncompatibleBrokerVersion as error:
        raise UnsupportedError(
            f"the brokers at {settings.kafka.bootstrap} are too old: {error}; use 3.7 or later"
        ) from error
    except KafkaError as error:
        # A bearer token is refused only here: aiokafka takes the connection as made once the token is sent.
        raise FatalError(await why_unreachable(settings.kafka.bootstrap, options, within_s, error)) from error
    finally:
        await close_within(admin.close())


async def create_topics(settings: Settings) -> tuple[str, ...]:
    """Make the topics that are missing and return their names; leave those that exist alone."""
    return await _create(
        settings,
        [
            NewTopic(spec.name, spec.partitions, spec.replication_factor, topic_configs=dict(spec.config))
            for spec in topics_spec(settings)
        ],
    )


async def ensure_compacted(settings: Settings, name: str) -> None:
    """Make a compacted topic of one partition where it is missing, for state that is not the service's."""
    config = _config(settings) | _compacted(settings)
    await _create(settings, [NewTopic(name, 1, settings.topics.replication_factor, topic_configs=config)])
    await _check_policies(settings, {name: "compact"})


async def _create(settings: Settings, wanted: Sequence[NewTopic]) -> tuple[str, ...]:
    """Make the topics of `wanted` that are missing, wait until they have leaders, and return their names."""
    async with admin_client(settings) as admin:
        there = set(await admin.list_topics())
        missing = [topic for topic in wanted if topic.name not in there]
        if not missing:
            return ()
        try:
            answer = await admin.create_topics(missing)
        except (KafkaError, AttributeError) as error:
            # aiokafka asks a controller that is not known for its id.
            raise FatalError(f"topics cannot be made, is there a controller? {error!r}") from error
        for name, code, *text in answer.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise FatalError(f"{name} cannot be made: {for_code(code).__name__}: {(text or [''])[0]}")
        names = tuple(topic.name for topic in missing)
        await _until_known(admin, set(names), settings.kafka.request_timeout_ms / 1000)
        return names


async def touch_topics(settings: Settings) -> None:
    """Name every topic to a broker that makes a topic when it is first named, as librdkafka's mock does."""
    async with admin_client(settings) as admin:
        await _until_known(
            admin, {spec.name for spec in topics_spec(settings)}, settings.kafka.request_timeout_ms / 1000
        )


async def _until_known(admin: AIOKafkaAdminClient, names: set[str], within_s: float) -> None:
    """Wait until every partition of `names` has a leader: metadata follow creation."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                known = await admin.describe_topics(sorted(names))
                ready = {
                    t["topic"]
                    for t in known
                    if not t["error_code"] and all(not p["error_code"] for p in t["partitions"])
                }
                if ready >= names:
                    return
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise FatalError(f"the topics were made, but have no leaders after {within_s:.0f} s") from error


async def partition_counts(settings: Settings) -> dict[Topic, int]:
    """Return the number of partitions of each topic.

    Raises
    ------
    FatalError
        If a topic is missing, or the topics that must have the same number of partitions do not.
    """
    async with admin_client(settings) as admin:
        # Asked for all, since asking for one by name may make it.
        described = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
    names = {role: settings.topics.name(role) for role in Topic}
    missing = [name for name in names.values() if name not in described]
    if missing:
        raise FatalError(f"missing topics: {', '.join(missing)}; create them with impactd topics create")
    counts = {role: described[name] for role, name in names.items()}
    if len({counts[role] for role in OWNED_TOPICS}) > 1:
        found = ", ".join(f"{names[role]} {counts[role]}" for role in OWNED_TOPICS)
        raise FatalError(f"these topics must have the same number of partitions: {found}; recreate them")
    return counts


async def check_policies(settings: Settings) -> None:
    """Compare the cleanup policies that restores and derivations rest on.

    Raises
    ------
    FatalError
        If the state topic also deletes by time or size, or an input or the journal is compacted: records that are
        needed would vanish.
    UnsupportedError
        If the broker does not tell.
    """
    wanted = {settings.topics.name(role): "delete" for role in (*INPUT_TOPICS, Topic.JOURNAL)}
    wanted[settings.topics.name(Topic.STATE)] = "compact"
    await _check_policies(settings, wanted)


async def _check_policies(settings: Settings, wanted: Mapping[str, str]) -> None:
    found = await topic_configs(settings, list(wanted))
    for name, policy in wanted.items():
        policies = found[name].get("cleanup.policy")
        if policies != policy:
            raise FatalError(
                f"{name} has cleanup.policy={policies}, not {policy}: records that a restore needs would vanish; "
                f"kafka-configs --alter --topic {name} --add-config cleanup.policy={policy}"
            )


async def check_topics(settings: Settings) -> list[Difference]:
    """Return every difference between the topics on the broker and `topics_spec`."""
    specs = topics_spec(settings)
    async with admin_client(settings) as admin:
        described = {topic["topic"]: topic for topic in await admin.describe_topics()}
        configs = await _configs(admin, [spec.name for spec in specs if spec.name in described])
    differences = []
    for spec in specs:
        if spec.name not in described:
            differences.append(Difference(spec.name, "topic", "missing", "there", "impactd topics create"))
        else:
            differences += _compare(spec, described[spec.name]["partitions"], configs.get(spec.name, {}))
    return differences


def _compare(spec: TopicSpec, partitions: Sequence[Mapping[str, Any]], config: Mapping[str, str]) -> list[Difference]:
    differences = []
    if len(partitions) != spec.partitions:
        remedy = (
            "set topics.partitions to it, or recreate the topics: adding partitions moves symbols"
            if spec.role in OWNED_TOPICS
            else "set topics.partitions to it, or recreate the topic"
        )
        differences.append(Difference(spec.name, "partitions", str(len(partitions)), str(spec.partitions), remedy))
    replicas = min((len(partition["replicas"]) for partition in partitions), default=0)
    if replicas != spec.replication_factor:
        remedy = "move it with kafka-reassign-partitions"
        differences.append(Difference(spec.name, "replication", str(replicas), str(spec.replication_factor), remedy))
    for name, wanted in spec.config.items():
        found = config.get(name)
        if found is None or not _same(found, wanted):
            remedy = f"kafka-configs --alter --topic {spec.name} --add-config {name}={wanted}"
            differences.append(Difference(spec.name, name, str(found), wanted, remedy))
    return differences


def _same(found: str, wanted: str) -> bool:
    """Compare as numbers where both are: a broker prints 0.10 as 0.1."""
    try:
        return float(found) == float(wanted)
    except ValueError:
        return found == wanted


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    configs: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names]):
        for code, text, _kind, name, entries in answer.resources:
            if for_code(code) is TopicAuthorizationFailedError:
                raise FatalError(
                    f"not allowed to read the settings of {name}: grant DESCRIBE_CONFIGS on it (impactd topics acls)"
                )
            if code:
                raise FatalError(f"the settings of {name} cannot be read: {for_code(code).__name__}: {text}")
            configs[name] = {entry[0]: entry[1] for entry in entries}
    return configs


async def topic_configs(settings: Settings, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the settings in force of topics that exist, by topic."""
    async with admin_client(settings) as admin:
        return await _configs(admin, names)


def required_acls(settings: Settings) -> tuple[Acl, ...]:
    """Return what the principal of the service must be allowed, and why."""
    acls = [Acl("group", settings.kafka.group, ("READ",), "membership decides who owns a partition")]
    for role in Topic:
        name = settings.topics.name(role)
        if role is Topic.CONTROL:
            why = "input; a lost position halts orders through it"
            acls.append(Acl("topic", name, ("READ", "DESCRIBE", "DESCRIBE_CONFIGS", "WRITE"), why))
        elif role in INPUT_TOPICS:
            acls.append(Acl("topic", name, ("READ", "DESCRIBE", "DESCRIBE_CONFIGS"), "input"))
        elif role in {Topic.STATE, Topic.JOURNAL}:
            why = "written at each commit, read at a restore"
            acls.append(Acl("topic", name, ("READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS"), why))
        else:
            shown = role in SHOWN
            rights = ("READ", "WRITE", "DESCRIBE") if shown else ("WRITE", "DESCRIBE")
            acls.append(Acl("topic", name, rights, "output; READ for impactd page alone" if shown else "output"))
    prefix = settings.kafka.transactional_id(0).removesuffix("0")
    acls.append(Acl("transactional-id", f"{prefix}*", ("WRITE", "DESCRIBE"), "one id a partition; prefixed pattern"))
    return tuple(acls)

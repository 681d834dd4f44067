"""Settings of the Kafka cluster and its topics.

They change no byte of what is published, only where to, how fast and how
safely; the composition root hands them to the Kafka client.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from impactd.config.base import DAY_S, Brokers, Bytes, Milliseconds, Name, Prefix, Secret, Section, Start
from impactd.core.base.settings import WireSettings
from impactd.core.base.topics import Topic


class SecuritySection(Section):
    """How to reach the brokers."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Security protocol of the broker's listener."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "PLAIN"
    """SASL mechanism; used with a SASL protocol only."""
    username: Annotated[str, Field(pattern=r"\S")] | None = None
    """SASL user."""
    password: Secret | None = None
    """SASL password; from the environment or password_file only."""
    password_file: str | None = None
    """File that holds the SASL password."""
    oauth_token_file: str | None = None
    """File that holds the current bearer token; read again whenever a connection authenticates."""
    ca_file: str | None = None
    """PEM file of the authorities that may sign the brokers' certificates; the system's by default."""
    cert_file: str | None = None
    """PEM file of this client's certificate."""
    key_file: str | None = None
    """PEM file of this client's private key."""
    key_password: Secret | None = None
    """Password of the private key; from the environment or key_password_file only."""
    key_password_file: str | None = None
    """File that holds the password of the private key."""
    check_hostname: bool = True
    """Whether a broker's certificate must name the broker's host."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.protocol.startswith("SASL"):
            if self.mechanism == "OAUTHBEARER":
                if self.oauth_token_file is None:
                    raise ValueError("oauth_token_file is missing: mechanism OAUTHBEARER needs it")
            elif self.username is None or self.password is None:
                raise ValueError(f"username and password (or password_file) are needed by protocol {self.protocol}")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together: give both or neither")
        return self


def _escaped(name: str) -> str:
    """Return a name without dots, such that different names stay different."""
    return name.replace("%", "%25").replace(".", "%2E")


class KafkaSection(Section):
    """The cluster, and how this service behaves on it."""

    bootstrap: Brokers = "127.0.0.1:9092"
    """Bootstrap brokers: host:port, separated by commas."""
    environment: Name = "dev"
    """Part of every transactional id: two environments on one cluster never fence each other."""
    group: Name = "impactd"
    """Consumer group of the ticks topic."""
    client_id: Name = "impactd"
    """Name of this client in the broker's logs and quotas."""
    security: SecuritySection = SecuritySection()
    start: Start = "earliest"
    """Where ticks begin when a partition has no state: earliest, latest, or a time (ISO with zone, or UTC ns)."""
    commit_interval_ms: Milliseconds = 100
    """Time between commits."""
    urgent_interval_ms: Milliseconds = 15
    """Shortest time between commits of orders, executions, control and closed minutes."""
    transaction_timeout_ms: Milliseconds = 10_000
    """After this the broker aborts an open transaction."""
    session_timeout_ms: Milliseconds = 6_000
    """Silence after which the group gives this process's partitions to others; a broker allows 6 s or more."""
    heartbeat_interval_ms: Milliseconds = 300
    """Interval of heartbeats: how soon others notice that a process has left; at most a third of session_timeout_ms."""
    request_timeout_ms: Milliseconds = 10_000
    """Deadline of one request to a broker."""
    max_poll_records: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    """Tick records decoded together, at most."""
    max_backlog_records: Annotated[int, Field(ge=1, le=100_000_000)] = 100_000
    """Records of an input that wait to be applied before its fetching pauses."""
    max_backlog_bytes: Bytes = 64_000_000
    """Bytes of an input that wait to be applied before its fetching pauses."""
    max_commit_records: Annotated[int, Field(ge=1, le=1_000_000)] = 50_000
    """Records of an input in one commit; less after commits that came near kafka.transaction_timeout_ms."""
    max_commit_bytes: Bytes = 16_000_000
    """Bytes of an input in one commit; less after commits that came near kafka.transaction_timeout_ms."""
    max_state_bytes: Bytes = 256 * 1024
    """Largest value of a state key."""
    max_dead_letter_bytes: Bytes = WireSettings().max_dead_letter_bytes
    """Bytes of the original that a dead letter keeps, with a hash of the whole."""
    compression: Literal["none", "gzip", "lz4", "snappy", "zstd"] = "zstd"
    """Compression of what is published."""
    revoke_timeout_ms: Milliseconds = 3_000
    """How long a commit in progress may take to finish when its partition is revoked."""
    drain_timeout_ms: Milliseconds = 8_000
    """How long the process may take to end after SIGTERM."""
    group_commit_interval_ms: Milliseconds = 5_000
    """Time between commits of group offsets, which only lag tools read."""
    standby: bool = False
    """Follow the state of every partition, to take one over without a full restore."""
    standby_bytes: Annotated[int, Field(ge=1_000, le=1_000_000_000_000)] = 1_000_000_000
    """Bytes of the states that a standby keeps, at most; a partition beyond that is restored in full."""
    own_at_most: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Partitions that a process owns while others have room; it keeps those it has. Default: always an equal share."""
    idle_after_ms: Milliseconds = 500
    """Time without a tick after which the service checks whether a partition is idle."""

    linger_ms: Annotated[int, Field(ge=0, le=10_000)] = 5
    """How long `impactd publish` gathers records into one batch."""
    check_crcs: bool = True
    """Whether the checksums of fetched batches are verified."""
    lost_position: Literal["halt", "skip"] = "halt"
    """If retention deleted a position: halt the topic there, or skip to the earliest record left. Orders halt in either
    case."""

    def transactional_id(self, partition: int) -> str:
        """Return the id that fences earlier owners of `partition`; no other environment, group or number has it."""
        return f"{_escaped(self.environment)}.{_escaped(self.group)}.{partition}"

    @model_validator(mode="after")
    def _paced(self) -> Self:
        if 3 * self.heartbeat_interval_ms > self.session_timeout_ms:
            raise ValueError("heartbeat_interval_ms may be a third of session_timeout_ms at most")
        if self.urgent_interval_ms > self.commit_interval_ms:
            raise ValueError("urgent_interval_ms may not exceed commit_interval_ms")
        return self


class JournalSection(Section):
    """Snapshots in the journal, and whether a state made under other settings may continue."""

    snapshot_s: Annotated[int, Field(ge=0, le=31 * DAY_S)] = 3_600
    """Event time from one snapshot of the whole state to the next: where an audit can begin; 0: none."""
    accept_settings: bool = False
    """Whether a state made under other settings continues under these, where possible; the journal records it."""


class TopicNames(Section):
    """Names of single topics, instead of prefix and role."""

    ticks: Name | None = None
    """Input: books and trades."""
    orders: Name | None = None
    """Input: parent orders."""
    executions: Name | None = None
    """Input: fills, corrections and busts."""
    control: Name | None = None
    """Input: halt and resume."""
    instruments: Name | None = None
    """Input: definitions of instruments."""
    status: Name | None = None
    """Input: trading status of markets."""
    estimates: Name | None = None
    """Output: slippage of each closed minute."""
    models: Name | None = None
    """Output: impact models."""
    plans: Name | None = None
    """Output: schedules."""
    plans_latest: Name | None = None
    """Output: the latest schedule of each order, compacted."""
    slices: Name | None = None
    """Output: what orders take now, with plans.act = "slices"."""
    alerts: Name | None = None
    """Output: alerts."""
    tca: Name | None = None
    """Output: costs of fills, orders and sessions."""
    dlq: Name | None = None
    """Output: records that could not be used."""
    journal: Name | None = None
    """Output: one record per commit."""
    state: Name | None = None
    """The service's own state, compacted."""


def _field(role: str) -> str:
    return role.replace(".", "_")


class TopicsSection(Section):
    """Names of the topics, and the properties that `impactd topics create` gives them."""

    prefix: Prefix = "impactd."
    """Name of a topic: this and its role, such as impactd.plans."""
    names: TopicNames = TopicNames()
    partitions: Annotated[int, Field(ge=1, le=100_000)] = 4
    """Partitions of every topic: the most processes that can share the work."""
    replication_factor: Annotated[int, Field(ge=1, le=32)] = 1
    """Replicas of each partition; three in production."""
    min_insync_replicas: Annotated[int, Field(ge=1, le=32)] = 1
    """Replicas that must confirm a write; two in production."""
    input_retention_ms: Annotated[int, Field(ge=-1)] = 7 * DAY_S * 1_000
    """How long inputs and the journal are kept; -1: forever."""
    output_retention_ms: Annotated[int, Field(ge=-1)] = 7 * DAY_S * 1_000
    """How long outputs are kept; -1: forever."""
    dlq_retention_ms: Annotated[int, Field(ge=-1)] = 14 * DAY_S * 1_000
    """How long dead letters are kept; -1: forever."""
    compacted_segment_bytes: Bytes = 16 * 1024 * 1024
    """Segment size of compacted topics: a restore reads whatever the cleaner has not reached."""
    compacted_segment_ms: Annotated[int, Field(ge=1_000)] = 600_000
    """Age at which a compacted topic's segment is closed."""
    compacted_dirty_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of uncleaned log at which the cleaner starts."""
    compacted_max_lag_ms: Annotated[int, Field(ge=1_000)] = 600_000
    """Time after which a record must be cleaned."""
    delete_retention_ms: Annotated[int, Field(ge=0)] = DAY_S * 1_000
    """How long a tombstone stays for readers."""
    input_compression: Literal["uncompressed", "producer"] = "uncompressed"
    """How inputs are kept: uncompressed, so that no batch unpacks to more than its limit, or as producers send them."""

    def name(self, role: Topic) -> str:
        """Return the name of a topic on the broker."""
        return getattr(self.names, _field(role.value)) or self.prefix + role.value

    def renamed(self, names: Mapping[str, str]) -> Self:
        """Return these with other names, by role."""
        return self.replace(names=self.names.replace(**{_field(role): name for role, name in names.items()}))

    @model_validator(mode="after")
    def _replicated(self) -> Self:
        if self.min_insync_replicas > self.replication_factor:
            raise ValueError("min_insync_replicas may not exceed replication_factor")
        return self

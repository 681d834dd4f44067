"""Kafka settings, and the clients made from them.

Every aiokafka client of this package is made here, so that what
exactly-once rests on is said once:

- consumers read committed records only, never commit offsets by themselves,
  and never jump when a position is gone (``auto_offset_reset="none"``);
- only the ticks topic is subscribed in the group, with the range assignor;
- a producer belongs to one partition number, and its ``transactional_id``
  names environment, group and that number: starting it fences whoever
  owned the partition before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from impactd.core.messages import Topic


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """How to reach the brokers. Secrets are kept out of `repr`.

    Attributes
    ----------
    protocol : str
        ``PLAINTEXT``, ``SSL``, ``SASL_PLAINTEXT`` or ``SASL_SSL``.
    mechanism : str
        ``PLAIN``, ``SCRAM-SHA-256``, ``SCRAM-SHA-512`` or ``OAUTHBEARER``; used with a SASL protocol only.
    oauth_token_file : str or None
        File that holds the current bearer token; read again whenever a connection authenticates, so
        that whatever renews the token only has to replace the file.
    """

    protocol: str = "PLAINTEXT"
    mechanism: str = "PLAIN"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    oauth_token_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    key_password: str | None = field(default=None, repr=False)
    check_hostname: bool = True


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """What `impactd topics create` asks of the broker, and `check` compares with.

    Times are milliseconds, sizes bytes. Compacted topics (state and
    plans.latest) have small segments and an eager cleaner, because a restore
    reads whatever the cleaner has not yet reached.
    """

    partitions: int = 4
    replication_factor: int = 1
    min_insync_replicas: int = 1
    #: Inputs and the journal are kept alike: a journal without its inputs derives nothing.
    input_retention_ms: int = 7 * 86_400_000
    output_retention_ms: int = 7 * 86_400_000
    dlq_retention_ms: int = 14 * 86_400_000
    compacted_segment_bytes: int = 16 * 1024 * 1024
    compacted_segment_ms: int = 600_000
    compacted_dirty_ratio: float = 0.1
    compacted_max_lag_ms: int = 600_000
    #: A consumer of plans.latest must read a tombstone within this time.
    delete_retention_ms: int = 86_400_000


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Everything the shell needs to know about Kafka.

    Attributes
    ----------
    bootstrap : str
        Comma-separated ``host:port``.
    environment : str
        Part of every ``transactional_id``: two environments on one cluster never fence each other.
    group : str
        Consumer group of the ticks topic.
    topic_prefix, topics
        Name of a topic: the one in `topics`, else prefix and role (``impactd.plans.latest``).
    codec : str
        Codec of tick records without a ``codec`` header.
    timestamps : str
        ``int`` or ``string``: how times are published.
    start : str or int
        Where ticks begin when a partition has no state: ``earliest``, ``latest`` or a time in ns.
        Orders, executions and control always begin at the earliest.
    commit_interval_ms, urgent_interval_ms : int
        Pace of commits, and the least distance of commits for orders and closed minutes.
    transaction_timeout_ms : int
        After this the broker aborts an open transaction.
    session_timeout_ms, heartbeat_interval_ms : int
        Group membership of the ticks consumer.
    request_timeout_ms : int
        Deadline of one request to a broker.
    max_poll_records : int
        Tick records decoded together, at most.
    max_backlog_rows : int
        Rows that wait to be applied before fetching pauses.
    max_message_bytes : int
        Largest record published or accepted.
    max_state_bytes : int
        Largest value of a state key.
    max_dead_letter_bytes : int
        Dead letters keep that much of the original bytes, and the hash of the whole.
    compression : str or None
        ``lz4``, ``zstd``, ``snappy``, ``gzip`` or None.
    revoke_timeout_ms : int
        How long a commit under way may take to finish when its partition is taken away.
    drain_timeout_ms : int
        How long the process may take to leave.
    group_commit_interval_ms : int
        Pace of group offsets, which only lag tools read.
    idle_after_ms : int
        A partition without a tick for so long is asked whether it is idle.
    """

    bootstrap: str = "127.0.0.1:9092"
    environment: str = "dev"
    group: str = "impactd"
    client_id: str = "impactd"
    topic_prefix: str = "impactd."
    topics: Mapping[Topic, str] = field(default_factory=dict)
    codec: str = "json"
    timestamps: str = "int"
    security: KafkaSecurity = field(default_factory=KafkaSecurity)
    topic_settings: TopicSettings = field(default_factory=TopicSettings)
    start: str | int = "earliest"
    commit_interval_ms: int = 100
    urgent_interval_ms: int = 25
    transaction_timeout_ms: int = 10_000
    session_timeout_ms: int = 10_000
    heartbeat_interval_ms: int = 3_000
    request_timeout_ms: int = 10_000
    max_poll_records: int = 20_000
    max_backlog_rows: int = 100_000
    max_message_bytes: int = 1_000_000
    max_state_bytes: int = 256 * 1024
    max_dead_letter_bytes: int = 512 * 1024
    compression: str | None = "lz4"
    revoke_timeout_ms: int = 3_000
    drain_timeout_ms: int = 8_000
    group_commit_interval_ms: int = 5_000
    idle_after_ms: int = 500

    def topic(self, role: Topic) -> str:
        """Return the name of a topic on the broker."""
        return self.topics.get(role, self.topic_prefix + role.value)

    def transactional_id(self, partition: int) -> str:
        """Return the id that fences earlier owners of `partition`."""
        return f"{self.environment}.{self.group}.{partition}"

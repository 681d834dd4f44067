"""A broker of its own behind a proxy, and the topics and settings of a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.broker.server import KafkaServer
from impactd.shell.kafka.topics import admin_client, create_topics
from tests.chaos.proxy import Proxy

PARTITIONS: Final = 4
SESSION_TIMEOUT_S: Final = 3.0

#: Short times, so that a round is short.
_BROKER: Final = {
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "group.min.session.timeout.ms": "1000",
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a run happens on.

    Attributes
    ----------
    direct : Settings
        By which the harness reaches the broker: not through the proxy.
    proxied : Settings
        By which the processes do.
    """

    server: KafkaServer
    proxy: Proxy
    direct: Settings
    proxied: Settings
    restarting: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def restart(self, *, kill: bool) -> None:
        """End the broker, in order or by ``SIGKILL``, and start it again; two faults of a round take their turns."""
        async with self.restarting:
            await asyncio.to_thread(self.server.kill if kill else self.server.stop)
            await asyncio.to_thread(self.server.start)

    async def alter(self, topic: Topic, config: Mapping[str, str]) -> None:
        """Set properties of a topic."""
        resource = ConfigResource(ConfigResourceType.TOPIC, self.direct.topics.name(topic), dict(config))
        async with admin_client(self.direct) as admin:
            answers = await admin.alter_configs([resource])
        assert all(found[0] == 0 for answer in answers for found in answer.resources)


@asynccontextmanager
async def cluster(name: str) -> AsyncIterator[Cluster]:
    """Yield a broker with the topics of a run, and remove it."""
    async with Proxy() as proxy:
        server = KafkaServer(listeners={"PROXIED": "PLAINTEXT"}, properties=_BROKER)
        # Clients go on at the address that the broker names, so it names the proxy's.
        server._properties["advertised.listeners"] = f"PLAINTEXT://{server.bootstrap},PROXIED://{proxy.address}"
        host, port = server.address("PROXIED").split(":")
        proxy.target = (host, int(port))
        try:
            await asyncio.to_thread(server.start)
            direct = Settings(
                kafka={
                    "bootstrap": server.bootstrap,
                    "environment": name,
                    "group": name,
                    "session_timeout_ms": round(SESSION_TIMEOUT_S * 1000),
                    "heartbeat_interval_ms": 500,
                    "transaction_timeout_ms": 5_000,
                    "revoke_timeout_ms": 1_500,
                },
                topics={
                    "prefix": f"{name}.",
                    "partitions": PARTITIONS,
                    "input_retention_ms": -1,
                    "output_retention_ms": -1,
                },
                journal={"snapshot_s": 15},
            )
            await create_topics(direct)
            yield Cluster(server, proxy, direct, direct.replace(kafka={"bootstrap": proxy.address}))
        finally:
            await asyncio.to_thread(server.close)

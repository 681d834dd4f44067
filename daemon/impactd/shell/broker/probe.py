"""Questions to this machine's network: which ports are free, and whether a broker answers at an address.

Ports are drawn from below the range that kernels hand to outgoing connections. In that range a client which retries a
stopped broker's port may be given that very port, connect to itself, and keep the broker from coming back.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from impactd.shell.broker.release import BrokerUnavailable

LOOPBACK: Final = "127.0.0.1"

_PORTS: Final = range(20_000, 32_000)
_PORT_TRIES: Final = 200
_PROBE_TIMEOUT_S: Final = 5.0
_PROBE_PAUSE_S: Final = 0.1


def free_ports(count: int) -> list[int]:
    """Return distinct loopback ports that nobody listens on, outside the range of outgoing connections."""
    found: list[int] = []
    for _ in range(_PORT_TRIES):
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            if port not in found:
                found.append(port)
        if len(found) == count:
            return found
    raise BrokerUnavailable(f"no {count} free loopback ports between {_PORTS.start} and {_PORTS.stop}")


def answers(bootstrap: str, *, within_s: float = 0.0) -> bool:
    """Return whether a broker answers a metadata request and has a node that takes work.

    Works with or without a running event loop in the calling thread.

    Parameters
    ----------
    bootstrap : str
        ``host:port``, plain text.
    within_s : float, optional
        For how long to ask again, in seconds; by default once.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, _answers(bootstrap, within_s)).result()


async def _answers(bootstrap: str, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while True:
        if await _has_nodes(bootstrap):
            return True
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(_PROBE_PAUSE_S)


async def _has_nodes(bootstrap: str) -> bool:
    host, _, port = bootstrap.partition(",")[0].rpartition(":")
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            # A plain connection first: the client logs an error for each that is refused.
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            writer.close()
            await writer.wait_closed()
            admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=int(_PROBE_TIMEOUT_S * 1e3))
            try:
                await admin.start()
                # A KRaft broker lists itself only once its controller lets it serve.
                return bool((await admin.describe_cluster())["brokers"])
            finally:
                await admin.close()
    except (
        OSError,
        OverflowError,
        TimeoutError,
        ValueError,
        KafkaError,
    ):  # refused, no such port, silent, not an address
        return False

"""The health of the services behind a page: asked once a second, and merged.

A service that does not answer is a reason for not being ready; what it said before is not shown as if it were now.
A name may have several addresses, as that of a headless Service or of a scaled container: all are asked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson

from impactd.shell.kafka.tasks import end

PACE_S: Final = 1.0
_TIMEOUT_S: Final = 3.0

#: A health, or why there is none.
_Said = dict[str, Any] | str


class Services:
    """Asks services how they do.

    Parameters
    ----------
    token : str or None
        What their API asks for (`http.token`).
    """

    def __init__(self, urls: Sequence[str], token: str | None, zone: str) -> None:
        self._urls = tuple(url.rstrip("/") for url in urls)
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._zone = zone
        #: By URL and address: what each said last, or why it said nothing.
        self._said: dict[str, dict[str, _Said]] = {url: {url: "has not answered yet"} for url in self._urls}

    @asynccontextmanager
    async def asked(self) -> AsyncIterator[None]:
        """Ask for the length of a block."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session:
            tasks = [asyncio.create_task(self._ask(session, url), name=f"health {url}") for url in self._urls]
            try:
                yield
            finally:
                await end(*tasks)

    async def _ask(self, session: aiohttp.ClientSession, url: str) -> None:
        while True:
            addresses = await _addresses(url)
            said = await asyncio.gather(*(_asked(session, address) for address in addresses))
            self._said[url] = dict(zip(addresses, said, strict=True))
            await asyncio.sleep(PACE_S)

    def health(self) -> bytes:
        """Return the event ``health`` of all of them, encoded; see `impactd.shell.live.condition`."""
        everyone = [item for by_address in self._said.values() for item in by_address.items()]
        found = [said for _, said in everyone if isinstance(said, dict)]
        silent = [
            {"kind": "service", "detail": f"{address} {said}", "partition": None}
            for address, said in everyone
            if isinstance(said, str)
        ]
        halts = {(halt["scope"], halt["reason"]) for each in found for halt in each["halts"]}
        return orjson.dumps(
            {
                "ready": not silent and all(each["ready"] for each in found),
                "reasons": silent + [reason for each in found for reason in each["reasons"]],
                "draining": any(each["draining"] for each in found),
                "broker_answers": all(each["broker_answers"] for each in found),
                "started": min((each["started"] for each in found), default=None),
                "zone": self._zone,
                **{name: _most(found, name) for name in ("commit_p50_s", "commit_p99_s", "loop_delay_s")},
                **{name: sum(each[name] for each in found) for name in ("restores", "dead_letters")},
                "halts": [{"scope": scope, "reason": reason} for scope, reason in sorted(halts)],
                "partitions": sorted(
                    (partition for each in found for partition in each["partitions"]),
                    key=lambda partition: int(partition["partition"]),
                ),
            }
        )


async def _addresses(url: str) -> list[str]:
    """Return the URL for each address of its name; itself where the name is needed, or has none in time."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        return [url]
    loop = asyncio.get_running_loop()
    try:
        port = parts.port or 80
        async with asyncio.timeout(_TIMEOUT_S):
            found = await loop.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError):  # the one that asks it names what is wrong
        return [url]
    hosts = sorted({str(address[0]) for *_, address in found})
    # One of a loopback name's two addresses is not listened on.
    if len(hosts) == 1 or any(ipaddress.ip_address(host.partition("%")[0]).is_loopback for host in hosts):
        return [url]
    return [parts._replace(netloc=f"[{host}]:{port}" if ":" in host else f"{host}:{port}").geturl() for host in hosts]


async def _asked(session: aiohttp.ClientSession, url: str) -> _Said:
    try:
        async with session.get(f"{url}/api/health") as answer:
            body = await answer.read()
            if not answer.ok:
                return f"answers {answer.status}"
            said: dict[str, Any] = orjson.loads(body)
            return said
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return f"does not answer: {error!r}"


def _most(found: Sequence[dict[str, Any]], name: str) -> float | None:
    return max((each[name] for each in found if each[name] is not None), default=None)

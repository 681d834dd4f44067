"""The health of the services behind a page that is its own process: asked once a second, and merged.

A service that does not answer is a reason for not being ready; what it said before is not shown as if it were now.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import orjson

from impactd.shell.kafka.tasks import end

PACE_S: Final = 1.0
_TIMEOUT_S: Final = 3.0


class Services:
    """Asks services how they do.

    Parameters
    ----------
    urls : sequence of str
        Addresses of the services.
    token : str or None
        What their API asks for (`http.token`).
    zone : str
        Time zone of the page.
    """

    def __init__(self, urls: Sequence[str], token: str | None, zone: str) -> None:
        self._urls = tuple(url.rstrip("/") for url in urls)
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._zone = zone
        #: What each said last, or why it said nothing.
        self._said: dict[str, dict[str, Any] | str] = dict.fromkeys(self._urls, "has not answered yet")

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
            try:
                async with session.get(f"{url}/api/health") as answer:
                    body = await answer.read()
                    self._said[url] = orjson.loads(body) if answer.ok else f"answers {answer.status}"
            except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
                self._said[url] = f"does not answer: {error!r}"
            await asyncio.sleep(PACE_S)

    def health(self) -> bytes:
        """Return the event ``health`` of all of them, encoded; see `impactd.shell.live.condition`."""
        found = [said for said in self._said.values() if isinstance(said, dict)]
        silent = [
            {"kind": "service", "detail": f"{url} {said}", "partition": None}
            for url, said in self._said.items()
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


def _most(found: Sequence[dict[str, Any]], name: str) -> float | None:
    return max((each[name] for each in found if each[name] is not None), default=None)

"""One connection to a vendor after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple

import structlog

from impactd.shell.feed.sink import FeedRecord, Sink

FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 30.0


class Lost(NamedTuple):
    """How a connection ended."""

    why: str
    #: Whether it brought anything that the one before it had not: then the wait begins short again.
    began: bool


async def keep_following(
    follow: Callable[[], Awaitable[Lost]], ends: Callable[[], Iterable[FeedRecord]], sink: Sink, first_wait_s: float
) -> None:
    """Follow a feed until cancelled: after each connection end the books, wait, and connect again.

    Parameters
    ----------
    follow : callable
        Follows one connection to its end.
    ends : callable
        Returns the records that end the books.
    first_wait_s : float
        Before connecting again; doubled with each failure up to half a minute.
    """
    log = structlog.get_logger()
    wait_s = first_wait_s
    while True:
        lost = await follow()
        wait_s = first_wait_s if lost.began else min(2 * wait_s, _LONGEST_WAIT_S)
        log.warning("feed interrupted: no book until the next snapshot", reason=lost.why, next_try_s=wait_s)
        for record in ends():
            await sink.put(record)
        await asyncio.sleep(wait_s)

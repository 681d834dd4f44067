"""Bound on the event time of an idle partition."""

from __future__ import annotations

from impactd.core.base.settings import CoreSettings


def idle_boundary(settings: CoreSettings, last_ns: int, elapsed_ns: int, now_ns: int) -> int:
    """Return the end of a minute that an idle partition's watermark may move to.

    The watermark follows the silence at the pace of the wall clock, never
    past (now - grace).  Where events apply in event time the day may be a
    recorded one, whose next tick can come later by the wall clock than by
    its own: there it never passes the end of the current minute.

    Parameters
    ----------
    last_ns : int
        Event time of the last tick, or of the last event before any tick.
    elapsed_ns : int
        Monotonic time since the partition's last tick was fetched.
    now_ns : int
        Wall clock, ns since the epoch.
    """
    interval = settings.books.interval_ns
    boundary = min(last_ns + elapsed_ns, now_ns - settings.books.grace_ns) // interval * interval
    if settings.apply == "in_event_time":
        boundary = min(boundary, (last_ns // interval + 1) * interval)
    return boundary

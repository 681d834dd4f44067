"""Notifications to a service manager by systemd's protocol (sd_notify(3)).

- ``READY=1`` once, when /readyz would first answer 200: units ordered after
  the service find it working.  Until then ``EXTEND_TIMEOUT_USEC`` says that
  the start continues: a state that is restored, or a day that is caught up with,
  takes its time, but a stuck event loop requests no extension.
- ``STATUS=`` whenever it changes: what ``systemctl status`` shows, the reasons
  of /readyz among it.  Later unreadiness is reported there, and is no failure.
- ``WATCHDOG=1`` from the event loop, where the manager asks for it by
  ``WATCHDOG_USEC``: four times in that interval.
- ``STOPPING=1`` as the drain begins.

A manager that does not listen costs nothing and stops nothing: datagrams are
sent without waiting, the first failure is logged, and what was not sent is
sent with the next notification.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping, Sequence
from typing import Final, Self

import structlog

from impactd.shell.health import Reason

#: Extension of the start by each notice; compiling kernels blocks the event loop for seconds.
EXTEND_S: Final = 60.0

#: Pace at which readiness is examined.
LOOK_S: Final = 0.5

#: A status is one line that a terminal shows.
_STATUS_LENGTH: Final = 240

_log = structlog.get_logger(__name__)


class Notifier:
    """Tells the service manager how the service does.

    Parameters
    ----------
    address : str
        Datagram socket: a path, or a name in the abstract namespace after ``@``.
    watchdog_s : float or None, optional
        The manager ends a process that is silent for this long; None where it does not.
    """

    def __init__(self, address: str, watchdog_s: float | None = None) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_s = math.inf if watchdog_s is None else watchdog_s
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._failed = False
        self._ready = False
        self._stopping = False
        self._status = ""
        self._looked = self._kept = -math.inf

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], pid: int) -> Self | None:
        """Return what the manager asks for in the environment, or None where there is no manager.

        Parameters
        ----------
        pid : int
            This process; the watchdog may be meant for another one.
        """
        address = environ.get("NOTIFY_SOCKET", "")
        if not address:
            return None
        if address[0] not in "/@":
            _log.warning(
                "service manager not notified", reason=f"NOTIFY_SOCKET={address} is neither a path nor abstract"
            )
            return None
        given, meant = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
        watched = given.isdecimal() and int(given) > 0 and meant in {"", str(pid)}
        return cls(address, int(given) / 1e6 if watched else None)

    def is_due(self, now: float) -> bool:
        """Return whether it is time to look at the service's readiness again."""
        return now >= self._looked + LOOK_S

    def keep(self, now: float) -> None:
        """Say that the event loop turns, as often as the manager asks for it.

        Parameters
        ----------
        now : float
            Monotonic time, seconds.
        """
        if now >= self._kept + self._watchdog_s / 4:
            self._kept = now
            self._send("WATCHDOG=1")

    def look(self, now: float, reasons: Sequence[Reason], partitions: Sequence[int]) -> None:
        """Tell what has changed.

        Parameters
        ----------
        now : float
            Monotonic time, seconds.
        partitions : sequence of int
            What it owns.
        """
        self._looked = now
        if self._stopping:
            return
        ready, lines = self._ready or not reasons, []
        if ready and not self._ready:
            lines.append("READY=1")
        if not ready:
            lines.append(f"EXTEND_TIMEOUT_USEC={EXTEND_S * 1e6:.0f}")
        if self._tell(lines, _status(reasons, partitions)):
            self._ready = ready

    def stopping(self, why: str) -> None:
        """Tell once that the service ends, and why."""
        if not self._stopping:
            self._stopping = self._tell(["STOPPING=1"], why)

    def close(self) -> None:
        """Say nothing any more."""
        self._socket.close()

    def _tell(self, lines: list[str], status: str) -> bool:
        """Send `lines`, and the status if it is another one; return whether that went out."""
        status = " ".join(status.split())[:_STATUS_LENGTH]
        if status != self._status:
            lines = [*lines, f"STATUS={status}"]
        if lines and not self._send(*lines):
            return False
        self._status = status
        return True

    def _send(self, *lines: str) -> bool:
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._failed:
                self._failed = True
                _log.warning("service manager not notified", reason=str(error))
            return False
        return True


def _status(reasons: Sequence[Reason], partitions: Sequence[int]) -> str:
    if not reasons:
        owned = ", ".join(map(str, partitions))
        return f"ready; partitions {owned}" if owned else "ready; no partition assigned"
    first, *others = reasons
    where = "" if first.partition is None else f" (partition {first.partition})"
    more = f"; and {len(others)} more" if others else ""
    return f"not ready: {first.kind}{where}: {first.detail}{more}"

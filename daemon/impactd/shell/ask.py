"""Queries /livez and /readyz of a service on this host, for health checks that are commands."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Final

#: An event loop that is stuck does not answer; one that is busy does so within this.
ASK_TIMEOUT_S: Final = 5.0

#: A server that listens everywhere is asked here.
_HERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  (what others set is read, nothing is bound)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service said."""

    well: bool
    text: str


def asked_at(host: str) -> str:
    """Return where a server is asked that listens at `host`."""
    return _HERE.get(host, host)


def http_url(host: str, port: int) -> str:
    """Return the address, without a path, of a server that listens at `host` and `port`."""
    where = asked_at(host)
    return f"http://{f'[{where}]' if ':' in where else where}:{port}"


def ask(host: str, port: int, *, ready: bool, timeout_s: float = ASK_TIMEOUT_S) -> Answer:
    """Ask the service that listens at `host` and `port` whether it is alive, or ready.

    A missing or impossible answer means not healthy: that is a result, not an error.
    """
    path = "/readyz" if ready else "/livez"
    where = asked_at(host)
    connection = http.client.HTTPConnection(where, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        said = json.loads(response.read())
        return Answer(response.status == http.client.OK, _text(said, ready=ready))
    except (OSError, http.client.HTTPException) as error:
        return Answer(well=False, text=f"no answer from {where}:{port}{path}: {error}")
    except (ValueError, TypeError, KeyError):
        return Answer(well=False, text=f"the server at {where}:{port}{path} is not impactd")
    finally:
        connection.close()


def _text(said: dict[str, object], *, ready: bool) -> str:
    if not ready:
        return "alive" if said["failure"] is None else f"failed: {said['failure']}"
    reasons = said["reasons"]
    if not isinstance(reasons, list):
        raise TypeError(said)
    return "; ".join(_reason(reason) for reason in reasons) or "ready"


def _reason(reason: dict[str, object]) -> str:
    where = "" if reason["partition"] is None else f" (partition {reason['partition']})"
    return f"{reason['kind']}{where}: {reason['detail']}"

"""Questions of commands to the service's HTTP API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from impactd.cli.common import Failure, InputError

if TYPE_CHECKING:
    from impactd.config import Settings

url_option = click.option(
    "--url", metavar="URL", help="Address of the service.  [default: http.host and http.port of the settings]"
)


def service_url(settings: Settings, given: str | None, option: str) -> str:
    """Return the address of the service: what `option` gave, or that of the settings."""
    from impactd.shell.ask import http_url

    base = given.rstrip("/") if given else http_url(settings.http.host, settings.http.port)
    if not base.startswith(("http://", "https://")):
        raise InputError(f"{option}: needs http:// or https://, not {base!r}")
    return base


def open_answer(settings: Settings, path: str, url: str | None = None, body: bytes | None = None) -> Any:
    """Return the open answer of the service at `path`."""
    import urllib.error
    import urllib.request

    base = service_url(settings, url, "--url")
    token = settings.http.token.get_secret_value() if settings.http.token is not None else None
    headers = {"Content-Type": "application/json"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
    request = urllib.request.Request(base + path, data=body, headers=headers)  # noqa: S310  # the scheme is checked
    try:
        return urllib.request.urlopen(request, timeout=60)  # noqa: S310  # the scheme is checked
    except urllib.error.HTTPError as error:
        with error:
            raise Failure(f"{base}{path}: {error.code} {_reason(error.read())}") from error
    except (urllib.error.URLError, OSError) as error:
        raise Failure(f"{base}{path}: the service does not answer: {getattr(error, 'reason', error)}") from error


def ask_service(settings: Settings, path: str, url: str | None = None, body: bytes | None = None) -> Any:
    """Return what the service answers at `path`, from JSON."""
    import orjson

    with open_answer(settings, path, url, body) as answer:
        return orjson.loads(answer.read())


def _reason(body: bytes) -> str:
    import orjson

    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:200].decode(errors="replace")
    return str(found.get("error") or found.get("detail") or found) if isinstance(found, dict) else str(found)

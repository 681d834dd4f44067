"""Questions of commands over HTTP: to a service about itself, and to the live page about what was published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from impactd.cli.common import Failure, InputError

if TYPE_CHECKING:
    from impactd.config import Settings

url_option = click.option(
    "--url", metavar="URL", help="Address of the service.  [default: http.host and http.port of the settings]"
)

page_url_option = click.option(
    "--url", metavar="URL", help="Address of the live page.  [default: http.host and http.page_port of the settings]"
)


def service_url(settings: Settings, given: str | None, option: str) -> str:
    """Return the address of the service: what `option` gave, or that of the settings."""
    return _address(settings, settings.http.port, given, option)


def _address(settings: Settings, port: int, given: str | None, option: str) -> str:
    from impactd.shell.ask import http_url

    base = given.rstrip("/") if given else http_url(settings.http.host, port)
    if not base.startswith(("http://", "https://")):
        raise InputError(f"{option}: needs http:// or https://, not {base!r}")
    return base


def _opened(settings: Settings, base: str, path: str, remedy: str, body: bytes | None = None) -> Any:
    """Return the open answer of the server of `base` at `path`; `remedy` is for one that is not there."""
    import urllib.error
    import urllib.request

    token = settings.http.token.get_secret_value() if settings.http.token is not None else None
    headers = {"Content-Type": "application/json"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
    request = urllib.request.Request(base + path, data=body, headers=headers)  # noqa: S310  # the scheme is checked
    try:
        return urllib.request.urlopen(request, timeout=60)  # noqa: S310  # the scheme is checked
    except urllib.error.HTTPError as error:
        with error:
            raise Failure(f"{base}{path}: {error.code} {_reason(error.read())}") from error
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise Failure(f"{base}{path} does not answer: {reason}; {remedy}") from error


def ask_service(settings: Settings, path: str, url: str | None, body: bytes) -> Any:
    """Return what a service answers to a question at `path`, from JSON."""
    return _answer(_opened(settings, service_url(settings, url, "--url"), path, "start impactd run", body))


def open_page(settings: Settings, path: str, url: str | None) -> Any:
    """Return the open answer of the live page at `path`."""
    base = _address(settings, settings.http.page_port, url, "--url")
    return _opened(settings, base, path, "start impactd page")


def ask_page(settings: Settings, path: str, url: str | None = None) -> Any:
    """Return what the live page answers at `path`, from JSON."""
    return _answer(open_page(settings, path, url))


def _answer(opened: Any) -> Any:
    import orjson

    with opened as answer:
        return orjson.loads(answer.read())


def _reason(body: bytes) -> str:
    import orjson

    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:200].decode(errors="replace")
    return str(found.get("error") or found.get("detail") or found) if isinstance(found, dict) else str(found)

"""``impactd health``: what it asks, and what it makes of the answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from impactd.cli import main
from impactd.shell.ask import ask, http_url
from tests.serving import Silent, served

READY = b'{"ready":true,"reasons":[]}'
LAGS = (
    b'{"ready":false,"reasons":[{"kind":"lag","detail":"7 records wait","partition":3},'
    b'{"kind":"broker_away","detail":"no answer","partition":null}]}'
)


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[int, list[str]]]:
    """Serve one answer; yield the port and the paths that were asked for."""
    asked: list[str] = []

    class Handler(Silent, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

    with served(Handler) as port:
        yield port, asked


@pytest.mark.parametrize(
    ("args", "status", "body", "code", "said"),
    [
        ((), 200, b'{"alive":true,"failure":null}', 0, "alive"),
        ((), 503, b'{"alive":false,"failure":"disk full"}', 1, "impactd: failed: disk full"),
        (("--ready",), 200, READY, 0, "ready"),
        (("--ready",), 503, LAGS, 1, "impactd: lag (partition 3): 7 records wait; broker_away: no answer"),
    ],
)
def test_health_repeats_the_answer_of_the_service(
    args: tuple[str, ...],
    status: int,
    body: bytes,
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with answering(status, body) as (port, asked):
        # Listening everywhere, it is asked here.
        assert main(["health", *args, "--set", f"http.port={port}", "--set", "http.host=0.0.0.0"]) == code
    captured = capsys.readouterr()
    assert (captured.out or captured.err) == said + "\n"
    assert asked == ["/readyz" if args else "/livez"]


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"{}", b'{"ready":true,"reasons":[1]}', b'{"reasons":{}}'])
def test_ask_of_another_server_is_not_well(body: bytes) -> None:
    with answering(200, body) as (port, _):
        answer = ask("127.0.0.1", port, ready=True)
    assert not answer.well
    assert "not impactd" in answer.text


def test_ask_where_nobody_listens_is_not_well() -> None:
    with answering(200, READY) as (port, _):
        pass
    answer = ask("127.0.0.1", port, ready=True)
    assert not answer.well
    assert f"no answer from 127.0.0.1:{port}/readyz" in answer.text


@pytest.mark.parametrize(("setting", "word"), [("http.enabled=false", "cannot be asked"), ("http.port=0", "http.port")])
def test_health_of_a_service_that_cannot_be_found_states_what_to_set(
    setting: str, word: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["health", "--set", setting]) == 2
    assert word in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104  (nothing is bound)
        ("::", "http://[::1]:80"),
        ("fe80::1", "http://[fe80::1]:80"),
        ("desk", "http://desk:80"),
    ],
)
def test_a_server_s_address_can_be_opened(host: str, url: str) -> None:
    assert http_url(host, 80) == url

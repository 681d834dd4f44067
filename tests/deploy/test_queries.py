"""The dashboard's queries and the rules on a real Prometheus that scrapes the service's own metrics."""

from __future__ import annotations

import contextlib
import itertools
import re
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http import HTTPStatus
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
import yaml

from impactd.shell.broker.probe import free_ports
from impactd.shell.exposition import CONTENT_TYPE, exposition
from tests.deploy import tools
from tests.deploy.test_grafana import filled, queries
from tests.shell.test_metrics import reading
from tests.write_manifests import DEPLOY, RULES

#: What Grafana replaces by what is chosen: one deployment, and all of it.
CHOSEN: Final = {"$job": "impactd", "$instance": ".*", "$partition": ".*"}

#: A restart is what it marks.
MAY_BE_EMPTY: Final = {"Starts"}

_WITHIN_S: Final = 300.0


class _Metrics(BaseHTTPRequestHandler):
    """A service that has something to report of everything; each scrape finds its counters higher."""

    scrapes = itertools.count(1)
    scraped = threading.Event()

    def do_GET(self) -> None:
        n = next(self.scrapes)
        grown = re.compile(r"^(\w+_(?:total|bucket|sum|count)(?:\{.*\})? )(\S+)$", re.MULTILINE)
        text = grown.sub(lambda found: f"{found[1]}{n * float(found[2])}", exposition(reading()).decode())
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.end_headers()
        self.wfile.write(text.encode())
        self.scraped.set()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def _service() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Metrics) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _wait_for_scrape() -> None:
    """Wait until the service has been scraped since the last wait, or the one that scrapes it has ended."""
    assert _Metrics.scraped.wait(_WITHIN_S)
    _Metrics.scraped.clear()


def _wait_for_end(running: subprocess.Popen[bytes]) -> None:
    running.wait()
    _Metrics.scraped.set()


def _get(port: int, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def _ask(port: int, path: str, **asked: str) -> Any:
    _, answer = _get(port, f"/api/v1/{path}?{urllib.parse.urlencode(asked)}")
    found = orjson.loads(answer)
    assert found["status"] == "success", found
    return found["data"]


@pytest.fixture(scope="module")
def prometheus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Yield the port of a Prometheus with the configuration of deploy/, which scrapes a service each second."""
    program = tools.need("prometheus", request)
    directory: Path = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(RULES / "*.yaml")]
    [job] = config["scrape_configs"]
    del job["dns_sd_configs"]
    [port] = free_ports(1)
    with _service() as service, (directory / "log").open("wb") as log:
        job["static_configs"] = [{"targets": [f"127.0.0.1:{service}"]}]
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
        options = {
            "config.file": directory / "prometheus.yml",
            "storage.tsdb.path": directory / "data",
            "web.listen-address": f"127.0.0.1:{port}",
        }
        words = [str(program), *(f"--{name}={value}" for name, value in options.items())]
        running = subprocess.Popen(words, stdout=log, stderr=log)
        ended = threading.Thread(target=_wait_for_end, args=(running,))
        ended.start()
        try:
            while True:
                # It scrapes once it has read its configuration, and listens since before that.
                _wait_for_scrape()
                assert running.poll() is None, (directory / "log").read_text("utf-8")
                if _get(port, "/-/ready")[0] == HTTPStatus.OK:
                    break
            yield port
        finally:
            running.terminate()
            ended.join()


def _chosen(query: str) -> str:
    for name, value in CHOSEN.items():
        query = query.replace(name, value)
    return filled(query)


def test_every_query_of_the_dashboard_is_answered(prometheus: int) -> None:
    waiting = {place: _chosen(text) for place, text in queries() if place not in MAY_BE_EMPTY}
    deadline = time.monotonic() + _WITHIN_S
    while waiting and time.monotonic() < deadline:
        _wait_for_scrape()
        found = {place: _ask(prometheus, "query", query=text)["result"] for place, text in waiting.items()}
        waiting = {place: text for place, text in waiting.items() if not found[place]}
    assert waiting == {}


def test_every_rule_is_evaluated_without_an_error(prometheus: int) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while True:
        rules = [rule for group in _ask(prometheus, "rules")["groups"] for rule in group["rules"]]
        if all(rule["health"] != "unknown" for rule in rules) or time.monotonic() > deadline:
            break
        _wait_for_scrape()
    assert rules
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}

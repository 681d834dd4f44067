"""The container image, built here and run against a broker as it would be in production.

Wherever Docker answers.  What it is built on is `IMPACTD_TEST_BASE_IMAGE`, any image with Python 3.11 or later
and its venv module, so that no registry is needed; by default the Dockerfile's own base.  `IMPACTD_TEST_CA` is a file
of authorities, and `IMPACTD_TEST_PIP_CONF` pip's settings, where the package index asks for them: the build gets both
as secrets.  With ``--log-cli-level=INFO`` it says how large the image is, and how long its end takes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from impactd.__about__ import __version__
from impactd.core.base.topics import Topic
from impactd.shell.broker.broker import Broker
from impactd.shell.broker.probe import free_ports
from tests.conftest import missing
from tests.integration.kafka_lab import COMPARED, from_files, from_topics, lab, published_all, records_until, write_day
from tests.integration.test_commands import environment, impactd
from tests.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # it is built, with every package that it holds

BASE_VARIABLE: Final = "IMPACTD_TEST_BASE_IMAGE"

#: What the build may be given, by the secret's name.
SECRETS: Final = {"ca": "IMPACTD_TEST_CA", "pipconf": "IMPACTD_TEST_PIP_CONF"}

#: The image less its base.
MOST_BYTES: Final = 700_000_000

#: What nobody needs who only runs the service.
BUILD_TOOLS: Final = ("gcc", "cc", "g++", "clang", "make", "ld", "git")

#: As little as there is, and what the service must do with.
CONFINED: Final = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")

_DOCKER: Final = shutil.which("docker") or "docker"
_MINUTES: Final = 60
_SPEED: Final = 120

_log = logging.getLogger(__name__)


def docker(*args: str, check: bool = True, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"DOCKER_BUILDKIT": "1"}
    done = subprocess.run([_DOCKER, *args], capture_output=True, text=True, check=False, timeout=timeout_s, env=environ)
    if check:
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def inspect(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("inspect", name).stdout)[0]
    return found


def _without(request: pytest.FixtureRequest, why: str) -> None:
    missing(request.config, "the container image", why)
    pytest.skip(why)


@pytest.fixture(scope="module")
def base(request: pytest.FixtureRequest) -> str:
    """Return the image to build on; skip where there is no engine, or no such image."""
    if shutil.which(_DOCKER) is None or docker("version", check=False).returncode:
        _without(request, "no Docker engine answers: start one, or name it in DOCKER_HOST")
    found = re.search(r"^ARG BASE=(.*)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert found is not None
    named = os.environ.get(BASE_VARIABLE, found[1])
    if docker("image", "inspect", named, check=False).returncode:
        pulled = docker("pull", named, check=False, timeout_s=600)
        if pulled.returncode:
            _without(request, f"no {named} here, and no registry: name a local image in {BASE_VARIABLE}")
    return named


@pytest.fixture(scope="module")
def image(base: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the name of the image, built from this tree."""
    name = f"impactd-test:{secrets.token_hex(4)}"
    given = [f"id={key},src={os.environ[variable]}" for key, variable in SECRETS.items() if variable in os.environ]
    arguments = [word for value in given for word in ("--secret", value)]
    built = docker(
        *("build", "--network", "host", "--build-arg", f"BASE={base}", "--build-arg", f"VERSION={__version__}"),
        *(*arguments, "--tag", name, str(ROOT)),
        check=False,
        timeout_s=800,
    )
    if "buildx component is missing" in built.stderr:
        _without(request, "this Docker cannot build: install its buildx plugin")
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    try:
        yield name
    finally:
        docker("image", "rm", "--force", name)


def run(image: str, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return docker("run", "--rm", *CONFINED, *args[: args.index("--")], image, *args[args.index("--") + 1 :], **options)


def shell(image: str, script: str) -> str:
    return run(image, "--entrypoint", "/bin/sh", "--", "-c", script).stdout


def test_image_is_small_above_its_base(image: str, base: str) -> None:
    above = inspect(image)["Size"] - inspect(base)["Size"]
    _log.info("%s MB above the base", round(above / 1e6))
    assert 0 < above < MOST_BYTES


def test_image_states_what_it_is(image: str) -> None:
    config = inspect(image)["Config"]
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
    assert labels["title"] == "impactd"
    assert labels["version"] == __version__
    assert labels["licenses"] == "Apache-2.0"
    assert config["Entrypoint"] == ["impactd"]
    assert run(image, "--", "--version").stdout.startswith(f"impactd {__version__}")


def test_image_holds_no_build_tools_and_no_secrets(image: str, base: str) -> None:
    look = "; ".join(f"command -v {tool}" for tool in BUILD_TOOLS)
    there = docker("run", "--rm", "--entrypoint", "/bin/sh", base, "-c", f"{look}; true").stdout
    assert shell(image, f"{look}; true") == there
    assert "No module named pip" in shell(image, "python3 -m pip 2>&1; true")
    assert shell(image, "ls /etc/pip.conf /run/secrets /src 2>/dev/null; true") == ""
    history = docker("history", "--no-trunc", image).stdout
    assert "PIP_" not in history
    assert "pip.conf" not in history


def test_image_runs_as_nobody_and_writes_to_one_place(image: str) -> None:
    assert shell(image, "id -u; id -g").split() == ["10001", "10001"]
    places = "/ /etc /etc/impactd /opt/impactd /tmp /var/cache/impactd"
    tries = f"for d in {places}; do touch $d/x 2>/dev/null && echo $d; done; true"
    assert shell(image, tries).split() == ["/var/cache/impactd"]
    assert shell(image, "find /opt/impactd /etc/impactd -writable ! -type l") == ""


def test_image_compiles_nothing_that_was_compiled_beforehand(image: str) -> None:
    # Had a kernel been compiled again, its file would be another one.
    script = (
        'impactd compile && diff --recursive --brief "$IMPACTD_KERNELS" "$NUMBA_CACHE_DIR" && ls "$NUMBA_CACHE_DIR"'
    )
    said, key = shell(image, script).splitlines()
    assert said.startswith("compiled in ")
    assert re.fullmatch("[0-9a-f]{16}", key)


def test_image_without_a_place_to_write_to_reports_it(image: str) -> None:
    done = run(image, "--user", "4242", "--", "check-config", check=False)
    assert done.returncode == 2
    assert "NUMBA_CACHE_DIR" in done.stderr


class Container:
    """A service in a container."""

    def __init__(self, image: str, environ: dict[str, str]) -> None:
        given = [word for pair in environ.items() for word in ("--env", "=".join(pair))]
        self.name = f"impactd-test-{secrets.token_hex(4)}"
        options = ("--network", "host", "--health-interval", "1s", *CONFINED)
        docker("run", "--detach", "--name", self.name, *options, *given, image)

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = inspect(self.name)["State"]
        return found

    def log(self) -> str:
        done = docker("logs", self.name)
        return done.stdout + done.stderr

    async def until_healthy(self) -> None:
        async with asyncio.timeout(120):
            while (state := await asyncio.to_thread(lambda: self.state))["Health"]["Status"] != "healthy":
                assert state["Running"], self.log()
                await asyncio.sleep(0.5)

    async def stop(self) -> float:
        """Send SIGTERM, fail unless it ends in order within ten seconds, and return how many it took.

        After ten seconds the engine kills it, and its exit code is 137.
        """
        started = time.monotonic()
        await asyncio.to_thread(docker, "stop", "--time", "10", self.name)
        took_s = time.monotonic() - started
        assert (self.state["ExitCode"], self.state["OOMKilled"]) == (0, False), self.log()
        return took_s


@asynccontextmanager
async def serving(image: str, environ: dict[str, str]) -> AsyncIterator[Container]:
    container = await asyncio.to_thread(Container, image, environ)
    try:
        yield container
    finally:
        await asyncio.to_thread(docker, "rm", "--force", "--volumes", container.name)


async def test_image_serves_a_broker_and_loses_nothing_over_its_end(image: str, broker: Broker, tmp_path: Path) -> None:
    settings = await lab(broker.bootstrap)
    sources = write_day(tmp_path / "day", _MINUTES)
    expected = await asyncio.to_thread(from_files, sources, tmp_path / "expected")
    host = environment(settings)
    own = {name: value for name, value in host.items() if name.startswith("IMPACTD__")}
    own["IMPACTD__HTTP__PORT"] = str(free_ports(1)[0])

    orders = ["--orders", str(sources.orders), "--executions", str(sources.executions)]
    day = ["publish", "--data", str(sources.data[0]), *orders, "--speed", str(_SPEED)]
    publishing = asyncio.create_task(asyncio.to_thread(impactd, host, *day))
    async with serving(image, own) as container:
        await container.until_healthy()
        await records_until(settings, Topic.PLANS, lambda found: len(found) >= 5)
        _log.info("%.1f s from SIGTERM to the end", await container.stop())
        assert "draining" in container.log()
    before = await from_topics(settings)
    async with serving(image, own) as container:
        # The last minute stays open: nothing that is silent for a minute waits here.
        await published_all(settings, {Topic.ESTIMATES: [lines[:-2] for lines in expected[Topic.ESTIMATES]]})
        assert (await publishing).returncode == 0
        await container.stop()
    after = await from_topics(settings)

    # It was told to end in the middle, and what both published is what one would have, each record once.
    assert 0 < sum(map(len, before[Topic.ESTIMATES])) < sum(map(len, after[Topic.ESTIMATES]))
    for topic in COMPARED:
        for ours, theirs in zip(after[topic], expected[topic], strict=True):
            assert ours == theirs[: len(ours)], topic
    assert sum(map(len, after[Topic.PLANS])) > _MINUTES

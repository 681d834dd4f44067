"""The commands in the documentation are run as they stand there.

Each ``console`` block is taken from its page.  ``impactd`` commands are run
with this environment's own program, from an empty directory in which
`replay_data` and earlier results are found; ``make`` commands are looked up in
the Makefile, since this very test runs below one of them.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from impactd.core.messages import Topic
from impactd.shell.broker import Broker
from impactd.shell.kafka.client import KafkaSettings
from impactd.shell.kafka.consume import tail

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "replay_data" / "README.md", *ROOT.glob("docs/*.md")]
)

#: Commands that talk to a broker; the others must do without.
ON_A_BROKER = {"run", "publish", "capture", "audit", "topics"}

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[list[str]]:
    for block in _BLOCK.findall(page.read_text()):
        for line in block.splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def environment(bootstrap: str | None) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {name: value for name, value in os.environ.items() if not name.startswith("IMPACTD__")} | {"PATH": path}
    # Whoever reads the page has the port to himself; a machine that tests may not.
    own["IMPACTD__HTTP__PORT"] = "0"
    return own if bootstrap is None else own | {"IMPACTD__KAFKA__BOOTSTRAP": bootstrap}


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "replay_data", tmp_path / "replay_data")
    return tmp_path


def run(words: list[str], cwd: Path, env: dict[str, str]) -> None:
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_commands_of_a_page_are_targets(page: Path) -> None:
    for words in commands(page):
        if words[0] == "make":
            named = [word for word in words[1:] if "=" not in word]
            assert set(named) <= targets(), shlex.join(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page_work_without_a_broker(page: Path, workplace: Path) -> None:
    for words in commands(page):
        if (
            words[0] == "make"
            or (words[0] == "impactd" and words[1] in ON_A_BROKER)
            or "captured/journal.jsonl" in words
        ):
            continue
        run(words, workplace, environment(None))


async def first_plan(broker: Broker, prefix: str) -> None:
    """Return once the service has published a plan, so that there is a run to capture."""
    settings = KafkaSettings(bootstrap=broker.bootstrap, topic_prefix=prefix)
    async with asyncio.timeout(100), aclosing(tail(settings, settings.topic(Topic.PLANS))) as records:
        await anext(records)


@pytest.mark.timeout(300)  # a dozen processes, one after another
def test_commands_of_the_readme_work_on_a_broker(broker: Broker, workplace: Path) -> None:
    env = environment(broker.bootstrap) | {
        "IMPACTD__KAFKA__ENVIRONMENT": f"docs-{os.getpid()}",
        "IMPACTD__KAFKA__GROUP": f"docs-{os.getpid()}",
        "IMPACTD__TOPICS__PREFIX": f"docs-{os.getpid()}.",
    }
    service: subprocess.Popen[bytes] | None = None
    try:
        for words in commands(ROOT / "README.md"):
            if words[:2] == ["impactd", "run"]:
                service = subprocess.Popen(words, cwd=workplace, env=env, stderr=subprocess.DEVNULL)
            elif words[0] == "impactd" and (words[1] in ON_A_BROKER or "captured/journal.jsonl" in words):
                run(words, workplace, env)
            if words[:2] == ["impactd", "publish"]:
                asyncio.run(first_plan(broker, env["IMPACTD__TOPICS__PREFIX"]))
        assert service is not None
        service.send_signal(signal.SIGTERM)
        assert service.wait(timeout=30) == 0
    finally:
        if service is not None:
            service.kill()
            service.wait()
    assert (workplace / "derived" / "plans.jsonl").exists()

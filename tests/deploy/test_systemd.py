"""deploy/systemd: what systemd itself says of the unit, and what the unit says of the service."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from impactd.config import Settings
from impactd.shell.notify import EXTEND_S
from tests.paths import ROOT

UNIT: Final = ROOT / "deploy" / "systemd" / "impactd.service"

#: What `systemd-analyze security` may say at most, in tenths: the network and memory that is executed are needed.
MOST_EXPOSED: Final = 15

#: prctl's number, and its flag: memory that could be written becomes executable no more.
_PR_SET_MDWE: Final = 65
_PR_GET_MDWE: Final = 66

_COMPILE: Final = f"""
import ctypes
assert ctypes.CDLL(None).prctl({_PR_SET_MDWE}, 1, 0, 0, 0) == 0
from impactd.core.base.jit import kernel
kernel(lambda x: x + 1)(1)
"""


def unit() -> dict[str, dict[str, list[str]]]:
    """Return the unit's sections: each key's values, in order."""
    sections: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] = {}
    for line in UNIT.read_text("utf-8").splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return sections


def seconds(text: str) -> float:
    """Return a time span as systemd writes it."""
    found = re.fullmatch(r"(\d+)(s|min)", text)
    assert found is not None, text
    return int(found[1]) * {"s": 1, "min": 60}[found[2]]


@pytest.fixture
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("no systemd-analyze: install systemd")
    return found


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return the unit with a program that this machine has."""
    program = shutil.which("impactd", path=str(Path(sys.executable).parent)) or sys.executable
    text = UNIT.read_text("utf-8")
    path = tmp_path / UNIT.name
    path.write_text(re.sub(r"^(ExecStart=)\S+", rf"\g<1>{program}", text, flags=re.MULTILINE), "utf-8")
    return path


def test_unit_is_one_that_systemd_takes_without_a_word(analyze: str, here: Path) -> None:
    command = [analyze, "verify", "--man=no", "--recursive-errors=no", str(here)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if here.name in line]
    assert (done.returncode, ours) == (0, [])


def test_unit_is_confined(analyze: str, here: Path) -> None:
    command = [analyze, "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", str(here)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze judges no files: systemd 250 or later does")
    assert done.returncode == 0, done.stdout + done.stderr


def test_unit_gives_the_service_the_time_that_it_takes() -> None:
    service = unit()["Service"]
    settings = Settings()
    assert service["Type"] == ["notify"]
    # The drain, the end of HTTP and of the interpreter; a second signal would cut it short.
    assert seconds(service["TimeoutStopSec"][0]) >= settings.kafka.drain_timeout_ms / 1000 + 5
    # Before the process ends itself, and not while a kernel is compiled.
    assert seconds(service["WatchdogSec"][0]) <= settings.health.stuck_after_s / 2
    assert seconds(service["TimeoutStartSec"][0]) >= EXTEND_S


def test_unit_names_a_command_and_files_that_the_documentation_names() -> None:
    guide = (ROOT / "deploy" / "README.md").read_text("utf-8")
    service = unit()["Service"]
    program, *arguments = service["ExecStart"][0].split()
    assert arguments[0] == "run"
    for path in (program.removesuffix("/bin/impactd"), arguments[-1], service["EnvironmentFile"][0].removeprefix("-")):
        assert path in guide, path


def test_unit_lets_memory_be_executed_since_nothing_is_compiled_otherwise() -> None:
    assert "MemoryDenyWriteExecute" not in unit()["Service"]
    if ctypes.CDLL(None).prctl(_PR_GET_MDWE, 0, 0, 0, 0) < 0:
        pytest.skip("this kernel cannot deny it to one process: Linux 6.3 or later can")
    done = subprocess.run([sys.executable, "-c", _COMPILE], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "executable memory" in done.stderr

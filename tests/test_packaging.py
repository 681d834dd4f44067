"""What is built installs into an empty environment and is whole there.

The wheel is built from the source archive, as an installer would do it.  The
quick tests lend the new environment this one's dependencies; the slow one
installs what `requirements/run.lock` says from the package index.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path
from typing import NamedTuple

import pytest

from impactd.__about__ import __version__
from tests.paths import PACKAGE, ROOT

#: What pip says where there is no package index to ask.
_NO_INDEX = (
    "Could not find a version that satisfies",
    "No matching distribution",
    "Max retries exceeded",
    "ProxyError",
)

#: Commands that need all that is imported at the start of anything, and no compiler.
_PROBES = (["--version"], ["check-config"], ["topics", "acls"], ["completion", "bash"], ["demo", "--help"])


class Built(NamedTuple):
    sdist: Path
    wheel: Path


def _run(words: list[str | Path], cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("IMPACTD_", "PYTHON"))}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    directory = tmp_path_factory.mktemp("built")
    build = [sys.executable, "-m", "hatchling", "build", "--directory", directory]
    _run([*build, "--target", "sdist"], ROOT)
    (sdist,) = directory.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(directory, filter="data")
    _run([*build, "--target", "wheel"], directory / sdist.name.removesuffix(".tar.gz"))
    (wheel,) = directory.glob("*.whl")
    return Built(sdist, wheel)


@pytest.fixture(scope="module")
def names(built: Built) -> list[str]:
    with zipfile.ZipFile(built.wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the programs' directory of a new environment with the wheel, and this one's dependencies behind it."""
    environment = tmp_path_factory.mktemp("installed") / "env"
    _run([sys.executable, "-m", "venv", "--without-pip", environment], ROOT)
    python = environment / "bin" / "python"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install"]
    _run([*pip, "--quiet", "--no-deps", "--no-index", built.wheel], environment)
    own = Path(_run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], environment).strip())
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return environment / "bin"


def test_wheel_and_archive_have_the_version_of_the_package(built: Built) -> None:
    assert built.wheel.name == f"impactd-{__version__}-py3-none-any.whl"
    assert built.sdist.name == f"impactd-{__version__}.tar.gz"


def test_wheel_has_every_file_of_the_package_and_no_other(names: list[str]) -> None:
    own = {
        f"impactd/{path.relative_to(PACKAGE)}"
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    for wanted in (
        "py.typed",
        "shell/page/index.html",
        "shell/page/vendor/uPlot.esm.js",
        "research/templates/report.html.j2",
    ):
        assert f"impactd/{wanted}" in own
    day = {f"impactd/replay_data/{path.name}" for path in (ROOT / "replay_data").iterdir()}
    assert {name for name in names if ".dist-info/" not in name} == own | day


def test_wheel_has_its_licences_and_metadata(built: Built, names: list[str]) -> None:
    info = f"impactd-{__version__}.dist-info"
    with zipfile.ZipFile(built.wheel) as archive:
        metadata = message_from_string(archive.read(f"{info}/METADATA").decode())
        entries = archive.read(f"{info}/entry_points.txt").decode()
    assert (metadata["Name"], metadata["Version"]) == ("impactd", __version__)
    licences = metadata.get_all("License-File")
    assert licences is not None
    assert {Path(licence).name for licence in licences} == {"LICENSE", "uPlot.LICENSE"}
    assert all(f"{info}/licenses/{licence}" in names for licence in licences)
    assert "impactd = impactd.cli:main" in entries


def test_archive_has_what_its_tests_need(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    for path in ("LICENSE", "Makefile", "mkdocs.yml", "docs/index.md", "requirements/run.lock", "tests/conftest.py"):
        assert path in held
    assert not [name for name in held if "__pycache__" in name or name.startswith(("build/", ".venv"))]


@pytest.mark.parametrize("words", _PROBES, ids=" ".join)
def test_installed_program_runs(words: list[str], installed: Path, tmp_path: Path) -> None:
    assert _run([installed / "impactd", *words], tmp_path) != ""


def test_installed_package_is_whole_and_its_own(installed: Path, tmp_path: Path) -> None:
    program = """
from pathlib import Path
import impactd
from impactd.cli.demo import _replay_data
from impactd.shell.live import pages
root = Path(impactd.__file__).parent
assert _replay_data() == root / "replay_data", _replay_data()
assert (root / "py.typed").exists()
print(root)
"""
    root = Path(_run([installed / "python", "-c", program], tmp_path).strip())
    assert installed.parent in root.parents


@pytest.mark.slow  # downloads or unpacks everything that the service needs
@pytest.mark.timeout(1200)
def test_wheel_installs_from_the_index_into_an_empty_environment(built: Built, tmp_path: Path) -> None:
    environment = tmp_path / "env"
    _run([sys.executable, "-m", "venv", environment], tmp_path)
    pip = [environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    locked = [*pip, "--require-hashes", "--requirement", ROOT / "requirements" / "run.lock"]
    done = subprocess.run(locked, cwd=tmp_path, capture_output=True, text=True, check=False)
    if done.returncode != 0 and any(words in done.stderr for words in _NO_INDEX):
        pytest.skip(f"no package index: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    _run([*pip, "--no-deps", "--no-index", built.wheel], tmp_path)
    _run([environment / "bin" / "python", "-m", "pip", "check"], tmp_path)
    for words in _PROBES:
        assert _run([environment / "bin" / "impactd", *words], tmp_path) != ""

"""Where machine code is kept: apart for each state of the sources, and filled from what was compiled beforehand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from impactd.shell.kernels import CACHE_VARIABLE, COMPILED_VARIABLE, KernelCacheError, prepare_kernels, release_key

OTHERS = {
    "content": {"a": "1", "b": "3"},
    "name": {"a": "1", "c": "2"},
    "border": {"a": "1b", "b": ""},
    "less": {"a": "1"},
}


def sources(directory: Path, **files: str) -> Path:
    directory.mkdir()
    for name, text in files.items():
        (directory / f"{name}.py").write_text(text, "utf-8")
    return directory


def test_release_key_is_of_names_and_contents_and_not_of_place_or_time(tmp_path: Path) -> None:
    one = sources(tmp_path / "one", a="1", b="2")
    two = sources(tmp_path / "two", b="2", a="1")
    os.utime(two / "a.py", (1, 1))
    assert release_key(one) == release_key(two)
    other = {release_key(sources(tmp_path / name, **files)) for name, files in OTHERS.items()}
    assert len(other | {release_key(one)}) == 1 + len(OTHERS)


def test_prepare_kernels_without_a_directory_leaves_it_to_numba() -> None:
    environ: dict[str, str] = {}
    assert prepare_kernels(environ) is None
    assert environ == {}


def test_prepare_kernels_keeps_a_release_apart_and_reports_it_once(tmp_path: Path) -> None:
    environ = {CACHE_VARIABLE: str(tmp_path / "cache")}
    directory = prepare_kernels(environ)
    assert directory == tmp_path / "cache" / release_key()
    assert directory.is_dir()
    assert environ == {CACHE_VARIABLE: str(directory)}
    # As in a process that one of ours starts.
    assert prepare_kernels(environ) == directory


def test_prepare_kernels_copies_what_was_compiled_beforehand_once(tmp_path: Path) -> None:
    compiled = tmp_path / "compiled" / release_key() / "core_1"
    compiled.mkdir(parents=True)
    (compiled / "walk.nbi").write_bytes(b"first")
    compiled.chmod(0o555)
    (tmp_path / "compiled" / "another").mkdir()
    environ = {CACHE_VARIABLE: str(tmp_path / "cache"), COMPILED_VARIABLE: str(tmp_path / "compiled")}
    directory = prepare_kernels(environ)
    assert directory is not None
    assert (directory / "core_1" / "walk.nbi").read_bytes() == b"first"
    (directory / "core_1" / "walk.nbi").write_bytes(b"compiled here")
    prepare_kernels(environ)
    assert (directory / "core_1" / "walk.nbi").read_bytes() == b"compiled here"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [release_key()]


def test_prepare_kernels_where_nothing_was_compiled_beforehand_begins_empty(tmp_path: Path) -> None:
    environ = {CACHE_VARIABLE: str(tmp_path / "cache"), COMPILED_VARIABLE: str(tmp_path / "nothing")}
    directory = prepare_kernels(environ)
    assert directory is not None
    assert list(directory.iterdir()) == []


def test_prepare_kernels_where_nothing_can_be_written_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KernelCacheError, match=f"{CACHE_VARIABLE}, or mount"):
        prepare_kernels({CACHE_VARIABLE: str(tmp_path / "file")})


def test_command_has_numba_keep_its_code_in_the_releases_directory(tmp_path: Path) -> None:
    program = (
        "from impactd.cli import main; main(['generate', '--help']);"
        "from numba.core import config; print(config.CACHE_DIR)"
    )
    environ = os.environ | {CACHE_VARIABLE: str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str(tmp_path / release_key())


def test_command_without_a_place_for_kernels_reports_it_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environ = os.environ | {CACHE_VARIABLE: str(tmp_path / "file")}
    command = [sys.executable, "-m", "impactd", "check-config"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("impactd: ")
    assert len(done.stderr.splitlines()) == 1

"""The programs that judge deploy/: built once by Go, at the versions and hashes of requirements/deploy-tools.

``python -m tests.deploy.tools`` builds them into the cache of downloads, where
every clone finds them again.  A test that needs one takes the pinned one,
else one of the PATH; where there is neither it is skipped, and says so loudly.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from impactd.shell.broker.release import cache_dir
from tests.conftest import missing
from tests.paths import ROOT

MODULE: Final = ROOT / "requirements" / "deploy-tools"

#: Set where a missing program is a failure, as for `make manifests`.
REQUIRE_TOOLS: Final = "IMPACTD_REQUIRE_TOOLS"

#: What is built, from which package.
PACKAGES: Final = {
    "kustomize": "sigs.k8s.io/kustomize/kustomize/v5",
    "prometheus": "github.com/prometheus/prometheus/cmd/prometheus",
    "promtool": "github.com/prometheus/prometheus/cmd/promtool",
}

_HOW_TO_HAVE_THEM: Final = (
    "make manifests (needs Go), or have kustomize or kubectl and Prometheus' programs on the PATH"
)


def tools_dir() -> Path:
    """Return where the pinned programs are, once they are built: a directory for each set of pins."""
    pins = b"".join((MODULE / name).read_bytes() for name in ("go.mod", "go.sum"))
    return cache_dir() / f"deploy-tools-{hashlib.sha256(pins).hexdigest()[:12]}"


def find(name: str) -> Path | None:
    """Return a program: the pinned one, else the PATH's, else None."""
    pinned = tools_dir() / name
    if pinned.is_file():
        return pinned
    found = shutil.which(name)
    return None if found is None else Path(found)


def need(name: str, request: pytest.FixtureRequest) -> Path:
    """Return a program, or skip the test with the reason."""
    found = find(name)
    if found is None:
        without(name, request)
    return found


def without(name: str, request: pytest.FixtureRequest) -> None:
    """Skip the test that cannot have a program, or fail it where it was asked for."""
    text = f"no {name}: {_HOW_TO_HAVE_THEM}"
    missing(request.config, f"what needs {name}", text)
    if os.environ.get(REQUIRE_TOOLS, "") not in {"", "0"}:
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


@functools.cache
def kustomization(directory: Path) -> str | None:
    """Return what kustomize makes of a directory, as YAML; None where there is no kustomize."""
    command = find("kustomize")
    words = [str(command), "build"] if command is not None else ["kubectl", "kustomize"]
    if command is None and shutil.which("kubectl") is None:
        return None
    done = subprocess.run([*words, str(directory)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    # Deprecated fields are warned of and still work, for a release or two.
    assert done.stderr == ""
    return done.stdout


def build() -> int:
    """Build what is not there yet; return the exit code."""
    target = tools_dir()
    absent = {name: package for name, package in PACKAGES.items() if not (target / name).is_file()}
    if not absent:
        return 0
    go = shutil.which("go")
    if go is None:
        sys.stderr.write("error: no go here: install Go 1.25 or later, which builds kustomize and Prometheus once\n")
        return 2
    for name, package in absent.items():
        sys.stderr.write(f"building {name}, once: this takes minutes\n")
        made = target / f".{name}.{os.getpid()}"
        made.parent.mkdir(parents=True, exist_ok=True)
        # Nothing but what go.sum vouches for.
        words = [go, "build", "-mod=readonly", "-trimpath", "-o", str(made), package]
        done = subprocess.run(words, cwd=MODULE, check=False)
        if done.returncode != 0:
            return done.returncode
        made.rename(target / name)
    return 0


if __name__ == "__main__":
    sys.exit(build())

"""What it takes to run Apache Kafka from its published jars: Java, and Maven to fetch them once."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Final

_MIN_JAVA: Final = 17
_FETCH_TIMEOUT_S: Final = 600.0
_JAVA_TIMEOUT_S: Final = 60.0


class BrokerUnavailable(RuntimeError):  # noqa: N818  (it reports a state of the machine, as `ConnectionRefused` does)
    """There is no broker available here; the text states what to install or to set."""


def cache_dir() -> Path:
    """Return the directory of downloads: `IMPACTD_CACHE_DIR`, else ``impactd`` in the user's cache directory."""
    named = os.environ.get("IMPACTD_CACHE_DIR")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "impactd"


def kafka_jars(version: str) -> Path:
    """Return a directory with Kafka's jars, fetched by Maven the first time."""
    pom = resources.files("impactd.shell.broker") / "kafka-pom.xml"
    return maven_jars("kafka", version, pom.read_text("utf-8"))


def maven_jars(name: str, version: str, pom: str) -> Path:
    """Return a directory with the jars that `pom` names, fetched by Maven the first time."""
    jars = cache_dir() / f"{name}-{version}"
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerUnavailable("Maven (mvn) is not on the PATH: install it, to fetch Apache Kafka")
    jars.parent.mkdir(parents=True, exist_ok=True)
    # Fetched aside and renamed: two processes that fetch at once, or one that is interrupted, leave nothing half done.
    aside = Path(tempfile.mkdtemp(prefix=f"{name}-{version}-", dir=jars.parent))
    try:
        (aside / "pom.xml").write_text(pom, "utf-8")
        fetched = aside / "jars"
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fetched}"]
        command = [maven, "-q", "-B", "-f", str(aside / "pom.xml"), f"-Dkafka.version={version}", *goal]
        done = run(command, timeout_s=_FETCH_TIMEOUT_S)
        if done.returncode != 0:
            raise BrokerUnavailable(f"Maven could not fetch {name} {version}:\n{done.stdout}")
        with contextlib.suppress(OSError):  # another process was first: its jars are as good
            fetched.rename(jars)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return jars


def java_command() -> str:
    """Return the path of a Java that Apache Kafka accepts: of `JAVA_HOME` if that is set, else of the PATH."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if java is None:
        raise BrokerUnavailable(
            f"Java is not {'in JAVA_HOME' if home else 'on the PATH'}: install Java {_MIN_JAVA} or later"
        )
    said = run([java, "-version"], timeout_s=_JAVA_TIMEOUT_S).stdout
    found = re.search(r'version "(\d+)', said)
    if found is None or int(found[1]) < _MIN_JAVA:
        raise BrokerUnavailable(
            f"{java} is not Java {_MIN_JAVA} or later, which Apache Kafka needs; it says: {said.strip()}"
        )
    return java


def run(command: Sequence[str], *, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run `command` to its end, with both its outputs in ``stdout``."""
    try:
        return subprocess.run(  # noqa: S603  (our own arguments)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BrokerUnavailable(f"{command[0]} did not end within {timeout_s:.0f} s") from error

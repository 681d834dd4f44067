"""A PostgreSQL server for tests, from the machine's packages; reached by a socket in a directory of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HOW_TO_HAVE_ONE = "install a server (Debian, Ubuntu: apt-get install postgresql) and psycopg"


def find() -> Path | None:
    """Return the directory of the server's programs, or None where there is none."""
    found = shutil.which("pg_ctl")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists() and (place / "pg_ctl").exists()), None)


@contextmanager
def server(programs: Path) -> Iterator[str]:
    """Yield the address of a server that nobody else uses."""
    # The server refuses to run as root, and whoever it runs as must reach its directory.
    options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "env": os.environ | {"LC_ALL": "C"}}
    # A socket's path is short.
    directory = Path(tempfile.mkdtemp(prefix="impactd-pg-"))
    if os.geteuid() == 0:
        options |= {"user": "nobody", "extra_groups": []}
        shutil.chown(directory, "nobody")
    data = directory / "data"
    try:
        subprocess.run(
            [programs / "initdb", "--auth=trust", "--username=impactd", "--no-sync", "-D", data],
            cwd=directory, check=True, **options,
        )  # fmt: skip
        start = f"-c listen_addresses= -c fsync=off -k {directory}"
        control = [programs / "pg_ctl", "-D", data, "-w", "-t", "300"]
        subprocess.run([*control, "-l", directory / "log", "-o", start, "start"], cwd=directory, check=True, **options)
        try:
            yield f"postgresql://impactd@/postgres?host={directory}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], cwd=directory, check=True, **options)
    finally:
        shutil.rmtree(directory, ignore_errors=True)

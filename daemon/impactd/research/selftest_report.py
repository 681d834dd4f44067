"""A selftest as a dated JSON document and a page."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from impactd.__about__ import __version__
from impactd.research.errors import MALFORMED, ValidationError
from impactd.research.report import page_environment
from impactd.research.selftest import Selftest


def as_document(found: Selftest, at: datetime) -> dict[str, Any]:
    """Return all that a selftest found, for machines."""
    return {
        "at": at.isoformat(timespec="seconds"),
        "release": __version__,
        "healthy": found.healthy,
        "checks": [
            {"name": check.name, "healthy": check.healthy, "text": check.text, "figures": check.figures}
            for check in found.checks
        ],
        "monitoring": found.monitoring,
    }


def write_selftest(found: Selftest, out: Path, at: datetime) -> list[Path]:
    """Write ``selftest-DATE.json`` and ``.html``; a second run of one day replaces the first."""
    document = as_document(found, at)
    page = page_environment().get_template("selftest.html.j2").render(document)
    stem = f"selftest-{at:%Y-%m-%d}"
    files = {
        f"{stem}.json": orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY) + b"\n",
        f"{stem}.html": page.encode(),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (out / name).write_bytes(content)
    except OSError as error:
        raise ValidationError(MALFORMED, f"{out}: {error.strerror}", "name a directory that can be written") from error
    return [out / name for name in files]

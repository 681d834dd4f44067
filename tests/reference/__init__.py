"""The pages of docs/reference, and the index of decisions, that are made from the code and the files.

``python -m tests.write_reference`` writes them; a test says when one of them is stale.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from impactd.shell.fix.atdl import ticket
from impactd.wire import forms
from tests import write_reference
from tests.paths import ROOT
from tests.reference import (
    asyncapi,
    client_types,
    commands,
    decisions,
    errors,
    fix,
    messages,
    openapi,
    recorded,
    schemas,
    settings,
)

REFERENCE: Final = ROOT / "docs" / "reference"

#: File in docs/reference: what writes it.
PAGES: Final[dict[str, Callable[[], str]]] = {
    "../../daemon/impactd/client/messages.py": client_types.text,
    "../../daemon/impactd/shell/page/openapi.json": openapi.page,
    "../adr/index.md": decisions.page,
    "asyncapi.yaml": asyncapi.text,
    "commands.md": commands.page,
    "../../deploy/fix/impactd.atdl.xml": ticket,
    "errors.md": errors.page,
    "fix.md": fix.page,
    "messages.md": messages.page,
    "metrics.md": write_reference.page,
    "settings.md": settings.page,
    **{f"schemas/{name}.json": partial(schemas.text, name) for name in schemas.names()},
    # Before what is made from it.
    "schemas/impactd.numbers": forms.numbers_text,
    "schemas/impactd.proto": forms.proto_text,
    **{f"schemas/{topic}.avsc": partial(forms.avro_text, topic) for topic in forms.topics()},
}


def write(directory: Path = REFERENCE) -> None:
    """Write every page, with the examples of what is published made again."""
    recorded.write_examples()
    for name, made in PAGES.items():
        (directory / name).write_text(made(), encoding="utf-8")

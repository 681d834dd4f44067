"""Vendored files are those that docs/third-party.md lists, with the hashes that it lists."""

from __future__ import annotations

import hashlib
import re

from tests.paths import PACKAGE, ROOT


def test_vendored_files_are_those_that_are_listed() -> None:
    page = (ROOT / "docs" / "third-party.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| ((?:daemon|docs)/\S+) \|.* ([0-9a-f]{64}) \|$", page, re.MULTILINE))
    found = {
        str(path.relative_to(ROOT)): hashlib.sha256(path.read_bytes()).hexdigest()
        for directory in (PACKAGE / "shell" / "page" / "vendor", ROOT / "docs" / "assets" / "katex")
        for path in directory.rglob("*")
        if path.is_file()
    }
    assert found == listed

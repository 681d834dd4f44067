"""The dialect that docs/howto/connect-a-feed.md adds: its file and its line are all that it needs."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import pytest

from impactd.shell.recorded import read_ticks
from impactd.wire.decoder import join
from impactd.wire.registry import CODECS
from tests.paths import ROOT
from tests.wire.helpers import T0

PAGE = (ROOT / "docs" / "howto" / "connect-a-feed.md").read_text(encoding="utf-8")


def test_dialect_of_the_page_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r'```python title="acme.py"\n(.*?)```', PAGE, re.DOTALL)
    line = re.search(r"```ini\n(\[project\.entry-points.*?)```", PAGE, re.DOTALL)
    assert code is not None
    assert line is not None
    (tmp_path / "acme.py").write_text(code[1])
    monkeypatch.syspath_prepend(str(tmp_path))
    ((name, target),) = tomllib.loads(line[1])["project"]["entry-points"]["impactd.codecs"].items()
    module, _, cls = target.partition(":")
    for names in ("_targets", "_loaded"):
        monkeypatch.setattr(CODECS, names, dict(getattr(CODECS, names)))
    CODECS.register(name, getattr(importlib.import_module(module), cls))
    path = tmp_path / "FROG.csv"
    path.write_text(f"acme_seq,time,bid1,bid1_size,ask1,ask1_size\n1,{T0 // 10**6},31.2,3,31.25,2\n")
    batch = join(list(read_ticks(path))).batch
    assert batch.ts_event.tolist() == [T0 // 10**6 * 10**6]
    assert (batch.bid_sz.tolist(), batch.ask_sz.tolist()) == ([[300.0]], [[200.0]])

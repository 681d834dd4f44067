"""The generated day that the demo shows: that it is what its command makes, and that it makes a good show."""

from __future__ import annotations

import gzip
import hashlib
import re
import shlex
from pathlib import Path

import orjson

from impactd.cli import main
from tests.paths import ROOT

DAY = ROOT / "replay_data"


def command(name: str) -> list[str]:
    """Return the arguments of the command in the README that begins with ``impactd NAME``."""
    readme = (DAY / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^impactd ({name} .*)$", readme, re.MULTILINE)
    assert found is not None
    return shlex.split(found[1])


def content(path: Path) -> str:
    """Return the hash of what a compressed file holds: the compressed bytes may differ between zlib's releases."""
    return hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()


def test_day_is_what_its_command_makes(tmp_path: Path) -> None:
    args = command("generate")
    args[args.index("--out") + 1] = str(tmp_path / "day.jsonl.gz")
    assert main(args) == 0
    assert content(tmp_path / "day.jsonl.gz") == content(DAY / "day.jsonl.gz")


def test_day_is_small() -> None:
    assert (DAY / "day.jsonl.gz").stat().st_size < 1_500_000


def test_day_replays_into_plans_for_both_orders(tmp_path: Path) -> None:
    args = [str(ROOT / arg) if arg.startswith("replay_data/") else arg for arg in command("replay")]
    args[args.index("--out") + 1] = str(tmp_path / "out")
    assert main(args) == 0
    plans = [orjson.loads(line) for line in (tmp_path / "out" / "plans.jsonl").read_bytes().splitlines()]
    last = {plan["cl_ord_id"]: plan for plan in plans}
    assert {name: (plan["status"], plan["cum_qty"]) for name, plan in last.items()} == {
        "BUY-1": ("done", 26_000),
        "SELL-1": ("done", 8_000),
    }
    assert len(plans) > 100
    assert all(sum(plan["qty"]) == plan["leaves_qty"] - plan["shortfall_qty"] for plan in plans)

"""``make chaos``: run rounds of faults and say whether everything was published once.

Exit code 0: it was; with ``--variant``, the broken service was caught.  1: it was not.  2: usage, or no broker.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from impactd.shell.broker.release import BrokerUnavailable
from tests.chaos import rounds
from tests.chaos.variants import VARIANTS
from tests.console import say


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "make chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example:\n  make chaos ROUNDS=100 SEED=7\n  make chaos VARIANT=all",
    )
    parser.add_argument("--rounds", type=int, default=10, help="rounds of faults")
    parser.add_argument("--seed", default="", help="what the faults and the load are drawn from; printed if not given")
    parser.add_argument("--variant", default="", choices=["", "all", *VARIANTS], help="run a broken service instead")
    parser.add_argument("--keep", action="store_true", help="keep logs and the captured run of a good run too")
    parser.add_argument("--fault", action="append", help="this fault instead of a drawn one; may be repeated")
    return parser.parse_args()


def _one(seed: str, faults: list[str], variant: str, *, keep: bool) -> bool:
    directory = Path(tempfile.mkdtemp(prefix="impactd-chaos-"))
    say(f"seed {seed}: {len(faults)} rounds{f' of {variant}' if variant else ''}, in {directory}")
    report = asyncio.run(rounds.run(seed, faults, directory, say, variant))
    text = "\n".join(report.lines())
    say(text)
    (directory / "report.txt").write_text(text + "\n", "utf-8")
    if variant:
        caught = report.verdict is not None and bool(report.verdict.faults)
        say(f"{variant}: {'caught' if caught else 'NOT CAUGHT'} ({VARIANTS[variant].what})")
        good = caught
    else:
        good = report.ok
    if good and not keep:
        shutil.rmtree(directory)
    else:
        say(f"logs and the captured run: {directory}")
    return good


def main() -> int:
    """Run what was asked for."""
    asked = _arguments()
    # What the harness's own clients say about a broker that is gone is no news.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    seed = asked.seed or secrets.token_hex(4)
    # Processes that all compile at once would take longer than a round may.
    subprocess.run([sys.executable, "-m", "impactd", "compile"], check=True, stdout=subprocess.DEVNULL)
    try:
        if not asked.variant:
            return 0 if _one(seed, asked.fault or rounds.drawn(seed, asked.rounds), "", keep=asked.keep) else 1
        names = list(VARIANTS) if asked.variant == "all" else [asked.variant]
        caught = [_one(seed, list(VARIANTS[name].faults), name, keep=asked.keep) for name in names]
        return 0 if all(caught) else 1
    except BrokerUnavailable as error:
        sys.stderr.write(f"chaos: {error}\n")
        return 2


if __name__ == "__main__":
    started = time.monotonic()
    code = main()
    say(f"{time.monotonic() - started:.0f} s, exit code {code}")
    sys.exit(code)

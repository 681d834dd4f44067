"""Shards of a backtest as Ray tasks on two local nodes, one of which is killed: ``python -m tests.soak.ray_nodes``.

Needs Ray, which is no dependency of impactd; where it has an environment of its own, ``--impactd`` names the program.
The merged report must have the bytes of the one that a single process writes.
"""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from tests.paths import ROOT

DAY: Final = ROOT / "replay_data"
ASKED: Final = (
    *("backtest", "-c", str(DAY / "impactd.toml"), "--data", str(DAY / "day.jsonl.gz")),
    *("--horizon", "60", "--strategies", "engine", "--workers", "1"),
)
SHARDS: Final = 2


def worked(program: list[str], results: Path, begun: Path) -> int:
    """Work all shards on two nodes and kill the second once both work; return how often a shard was started.

    Each start writes a byte to the pipe `begun`.
    """
    os.mkfifo(begun)
    pipe = os.open(begun, os.O_RDWR)  # also to write, so that it never ends
    ray: Any = import_module("ray")
    cluster = import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )

    @ray.remote(num_cpus=1, max_retries=-1)  # type: ignore[untyped-decorator]  # Ray is loaded where it is
    def work(number: int) -> None:
        begun.write_bytes(b".")
        subprocess.run([*program, *ASKED, "--shard", f"{number}/{SHARDS}", "--out", str(results)], check=True)

    try:
        second = cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address)
        tasks = [work.remote(number) for number in range(1, SHARDS + 1)]
        starts = 0
        while starts < SHARDS:
            starts += len(os.read(pipe, SHARDS))
        cluster.remove_node(second, allow_graceful=False)
        ray.get(tasks)
        begun.write_bytes(b".")  # so that the last read waits for nothing
        return starts + len(os.read(pipe, select.PIPE_BUF)) - 1
    finally:
        ray.shutdown()
        cluster.shutdown()
        os.close(pipe)


def main(program: list[str]) -> int:
    """Compare the reports and return the exit code."""
    with tempfile.TemporaryDirectory() as directory:
        results, begun, merged, one = (Path(directory) / name for name in ("results", "begun", "merged", "one"))
        started = worked(program, results, begun)
        subprocess.run([*program, "merge", str(results), "--out", str(merged)], check=True)
        subprocess.run([*program, *ASKED, "--out", str(one)], check=True)
        same = all((merged / name).read_bytes() == (one / name).read_bytes() for name in ("report.json", "report.html"))
    sys.stdout.write(f"{started} starts of {SHARDS} shards; {'same bytes' if same else 'OTHER BYTES'}\n")
    return 0 if same and started > SHARDS else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--impactd", nargs="+", default=[sys.executable, "-m", "impactd"], help="the program")
    sys.exit(main(parser.parse_args().impactd))

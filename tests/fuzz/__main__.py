"""``make fuzz N=100000 SEED=1``: mutated messages of every kind; the first failure names its round."""

from __future__ import annotations

import argparse
import faulthandler
import sys

from tests.fuzz.corpus import KINDS
from tests.fuzz.files import kinds, run_files
from tests.fuzz.harness import run

#: A round takes seconds; one that takes this long hangs, and shows where.
_HANGS_AFTER_S = 1_800


def _watch() -> None:
    faulthandler.dump_traceback_later(_HANGS_AFTER_S, exit=True)


def main() -> int:
    """Run the fuzzer; print one line a kind."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("-n", type=int, default=100_000, help="mutants of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", choices=KINDS, action="append", help="only these")
    parser.add_argument("--values", action="store_true", help="values of any magnitude in well-formed records alone")
    parser.add_argument("--files", action="store_true", help="damaged files of every codec in place of messages")
    given = parser.parse_args()
    if given.files:
        for kind in kinds():
            if not given.kind or kind.partition(",")[0] in given.kind:
                print(run_files(kind, given.n, given.seed).line(), flush=True)  # noqa: T201  (its output)
        return 0
    for kind in given.kind or KINDS:
        report = run(kind, given.n, given.seed, values=given.values, each_round=_watch)
        print(report.line(), flush=True)  # noqa: T201  (its output)
        faulthandler.cancel_dump_traceback_later()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Freed memory stays with the process: a block that is freed and asked for again has its pages still."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from impactd.shell.heap import keep_freed_memory

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")

#: Page faults of a hundred blocks of 8 MB, one after another: each has 2,048 pages.
_FAULTS = """
import os, resource
from impactd.shell.heap import keep_freed_memory
kept = keep_freed_memory(os.environ)
bytearray(8_388_608)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    bytearray(8_388_608)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(**environ: str) -> tuple[bool, int]:
    out = subprocess.run(
        [sys.executable, "-c", _FAULTS],
        env={"PYTHONPATH": ":".join(sys.path), **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, faults = out.stdout.split()
    return kept == "True", int(faults)


@needs_glibc
def test_blocks_of_a_fetch_have_no_pages_made_again() -> None:
    kept, faults = _faults()
    assert kept
    assert faults < 2_048


@needs_glibc
def test_what_a_user_has_set_stays() -> None:
    assert not keep_freed_memory({"MALLOC_ARENA_MAX": "2"})
    kept, faults = _faults(MALLOC_MMAP_THRESHOLD_="1000000")
    assert not kept
    assert faults > 100 * 1_000


def test_the_objects_of_a_minute_are_not_looked_through_while_they_are_made() -> None:
    code = """
import gc
from impactd.shell.heap import collect_seldom
collect_seldom()
gc.collect()
looks = []
gc.callbacks.append(lambda phase, info: looks.append(phase))
kept = [[] for _ in range(15_000)]
few = len(looks)
kept += [[] for _ in range(15_000)]
print(few, len(looks))
"""
    out = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=True
    )
    few, more = map(int, out.stdout.split())
    assert few == 0
    assert more > 0  # and yet they are, in the end

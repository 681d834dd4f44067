"""A member never has two processes at once, even if two faults start it together."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.chaos.members import Member


async def test_two_faults_that_start_a_member_again_start_one_process(tmp_path: Path) -> None:
    started = tmp_path / "started"
    program = f"import sys; open({str(started)!r}, 'a').write('x'); sys.stdin.read()"
    member = Member("m0", tmp_path, "seed", (sys.executable, "-c", program), "")
    await asyncio.gather(member.start(), member.start())
    assert member.starts == 1
    assert member.process is not None
    assert member.process.stdin is not None
    member.process.stdin.close()
    await member.process.wait()
    assert started.read_text("utf-8") == "x"
    member.close()

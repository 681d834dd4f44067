"""Pictures of the live page during a demo, in both widths and both themes: ``make screenshots``."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from pathlib import Path
from typing import Final

from tests.integration import chromium
from tests.paths import ROOT

OUT: Final = ROOT / "build" / "screenshots"

#: The generated day is at its height then: an amended order, a blackout, half of all executed.
_PAST_NOON: Final = "/1[2-5]:\\d\\d/.test(document.querySelector('#clock').innerText)"


async def main(out: Path) -> int:
    """Write the pictures and return the exit code."""
    if chromium.program() is None:
        sys.stderr.write(f"no Chromium: {chromium.HOW_TO_HAVE_ONE}\n")
        return 1
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "impactd", "demo", "--plain", "--stay", "--set", "http.port=0"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert demo.stderr is not None
    try:
        while not (found := re.search(r"live page: (\S+)", (line := await demo.stderr.readline()).decode())):
            if not line:
                sys.stderr.write("the demo has ended by itself\n")
                return 1
        async with chromium.browser() as browser:
            for size in chromium.SIZES:
                for theme in chromium.THEMES:
                    async with chromium.opened(browser, found[1], size, theme) as watched:
                        await chromium.holds(watched.page, _PAST_NOON)
                        await watched.page.wait_for_selector("#c-depth canvas")
                        path = out / f"{size[0]}-{theme}.png"
                        await watched.page.screenshot(path=path, full_page=True)
                        sys.stdout.write(f"{path}\n")
    finally:
        demo.send_signal(signal.SIGINT)
        await demo.communicate()
    return 0


if __name__ == "__main__":
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    directory.mkdir(parents=True, exist_ok=True)
    sys.exit(asyncio.run(main(directory)))

"""The documentation builds as a site without a warning, and the site sends no request to another host."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from tests.integration import chromium
from tests.paths import ROOT
from tests.serving import Silent, served

#: What a browser would fetch by itself.
_FETCHED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*?\bsrc=[\"']?([^\"'\s>]+)|<link\b[^>]*?\bhref=[\"']?([^\"'\s>]+)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    # Not --quiet: warnings that are not written are not counted either.
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(directory)]
    environment = {"NO_MKDOCS_2_WARNING": "1", "PATH": ""}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


def test_site_has_every_page(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    made = {path.relative_to(site).parent for path in site.rglob("index.html")}
    # An index is its directory.
    assert {page.parent if page.name == "index" else page for page in pages} == made


def test_site_asks_nothing_of_another_host(site: Path) -> None:
    for path in site.rglob("*.html"):
        fetched = [src or href for src, href in _FETCHED.findall(path.read_text(encoding="utf-8"))]
        assert fetched, path
        assert [url for url in fetched if re.match(r"(?:\w+:)?//", url)] == [], path
    for path in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", path.read_text(encoding="utf-8")), path


def test_site_has_the_asyncapi_document(site: Path) -> None:
    written = ROOT / "docs" / "reference" / "asyncapi.yaml"
    assert (site / "reference" / "asyncapi.yaml").read_bytes() == written.read_bytes()


class Files(Silent, SimpleHTTPRequestHandler):
    """Serves the files of a directory."""


async def test_formulas_and_figure_are_set_in_a_browser_from_the_site_alone(site: Path, chromium_here: None) -> None:
    with served(partial(Files, directory=str(site))) as port:
        base = f"http://127.0.0.1:{port}/"
        async with chromium.browser() as found:
            for size in chromium.SIZES:
                for theme in chromium.THEMES:
                    async with chromium.opened(found, base, size, theme) as watched:
                        await watched.page.goto(f"{base}method/", wait_until="networkidle")
                        formulas = await watched.page.locator(".arithmatex").count()
                        assert formulas == len(
                            re.findall(r'class="arithmatex"', (site / "method" / "index.html").read_text("utf-8"))
                        )
                        assert formulas > 50
                        # Set once the script has come, which on a busy machine is after the network has gone quiet.
                        await watched.page.wait_for_function(
                            "n => document.querySelectorAll('.arithmatex > :is(.katex, .katex-display)').length === n",
                            arg=formulas,
                            timeout=0,
                        )
                        assert await watched.page.locator(".katex-error").count() == 0
                        await watched.page.evaluate("document.fonts.ready")
                        assert await watched.page.evaluate("document.fonts.check('16px KaTeX_Main')")
                        assert await watched.page.evaluate(
                            "[...document.querySelectorAll('.figure img')].every((i) => i.naturalWidth)"
                        )
                        # Neither a formula nor a table makes the page wider than the screen.
                        assert await watched.page.evaluate("document.documentElement.scrollWidth") <= size[0]
                        assert watched.faults == []

"""The look of the reports: that of the live page, light and dark, with the answer first."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import impactd.research
import impactd.shell
from impactd.research.picture import _THEMED, COLOURS, themed, to_svg
from impactd.research.report import page_environment

TEMPLATES = Path(impactd.research.__path__[0]) / "templates"
THEME = (Path(impactd.shell.__path__[0]) / "page" / "theme.css").read_text(encoding="utf-8")
REPORTS = sorted({path.name for path in TEMPLATES.glob("*.html.j2")} - {"page.html.j2", "parts.html.j2"})


def variables(rule: str) -> dict[str, str]:
    """Return the values of the theme's variables in the rule that begins so."""
    (found,) = re.findall(re.escape(rule) + r" \{ ([^}]*)\}", THEME)
    return dict(re.findall(r"(--[a-z-]+):([^;]+);", found))


def test_dark_is_one_set_of_colours_and_replaces_every_light_one() -> None:
    preferred, chosen = (variables(f":root{which}") for which in (":not([data-theme=light])", "[data-theme=dark]"))
    assert preferred == chosen
    assert preferred.keys() == variables("\n:root").keys()


def test_paper_is_light() -> None:
    assert len(re.findall(r"@media screen", THEME)) == 2
    assert not re.findall(r"^:root[^ ]", THEME, re.MULTILINE)


@pytest.mark.parametrize("name", REPORTS)
def test_report_has_the_theme_of_the_page_and_begins_with_the_answer(name: str) -> None:
    environment = page_environment()
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    assert text.startswith('{% extends "page.html.j2" %}')
    head = environment.get_template("page.html.j2").render()
    assert THEME.strip() in head
    body = text[text.index("{% block body %}") :]
    first = re.search(r"<(p|h\d|dl|ul|div|table)[^>]*?(class=\"[^\"]*\")?", body)
    assert first is not None
    assert "answer" in body[first.start() : body.index("</", first.start())]


def test_chart_has_the_colours_of_its_page_and_its_own_in_a_file() -> None:
    figure = Figure()
    axes = figure.subplots()
    for colour in COLOURS:
        axes.plot([0, 1], [0, 1], color=colour, label="a line")
    axes.legend()
    file = to_svg(figure, "salt")
    assert "var(" not in file
    assert file == to_svg(figure, "salt")
    text = themed(file)
    for colour, name in _THEMED.items():
        bare = text.replace(f"var(--{name}, {colour})", "")
        assert colour not in bare
        assert f"--{name}" in variables("\n:root")
    assert "text{fill:var(--ink, #000000)}" in text

"""The report: what it says, that failures stand in it, and that equal inputs give equal bytes."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from impactd.cli import cli
from impactd.research.compare import generated_day, recorded_day
from impactd.research.report import Report, make_report, write_report
from tests.research.errors import fails

_VOID = {"meta", "br", "img", "link", "hr", "path", "use", "rect"}


class _Nesting(HTMLParser):
    """Notes tags that are closed in another order than they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002  (the parser gives them)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)


@pytest.fixture(scope="module")
def report() -> Report:
    return make_report([generated_day(3, n_snapshots=60, n_levels=5)], 10_000, 20)


def test_report_html_is_one_page_with_its_figures_and_asks_nothing_of_the_network(
    report: Report, tmp_path: Path
) -> None:
    write_report(report, tmp_path)
    page = (tmp_path / "report.html").read_text("utf-8")
    nesting = _Nesting()
    nesting.feed(page)
    assert not nesting.faults
    assert not nesting.open
    assert page.count("<svg") == len(report.days[0].figures) == 5
    # Namespaces are names, not addresses to fetch from.
    asked = re.findall(r'\b(?:src|href|xlink:href|data)="(?!#)([^"]*)"|url\((?!#)([^)]*)\)|@import', page)
    # A heatmap is an image, which the page holds.
    assert [address for address in asked if not address[0].startswith("data:image/")] == []
    for assumption in report.assumptions:
        assert html.escape(assumption, quote=False).replace("'", "&#39;") in page


def test_report_markdown_names_figures_that_are_there(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    text = (tmp_path / "report.md").read_text("utf-8")
    named = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(named) == 5
    assert all((tmp_path / name).is_file() for name in named)
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert tables
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1


def test_report_equal_inputs_give_equal_bytes(report: Report, tmp_path: Path) -> None:
    again = make_report([generated_day(3, n_snapshots=60, n_levels=5)], 10_000, 20)
    for name, found in (("a", report), ("b", again)):
        write_report(found, tmp_path / name)
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_report_solver_that_is_not_there_stands_in_it(report: Report) -> None:
    rows = {row[0]: row for row in report.days[0].strategies[0].rows}
    missing = [name for name, row in rows.items() if row[-1] == "not_installed"]
    for name in missing:
        assert any(line.startswith(name) for line in report.days[0].failed)
    assert rows["linear, exact"][-1] == "solved"


def test_report_recorded_day_stands_first_and_is_set_against_the_generated_one(data_dir: Path) -> None:
    frog = recorded_day(data_dir / "FROG_2025-04-03_mbp10.csv.gz")
    found = make_report([generated_day(0, n_snapshots=60, n_levels=5), frog], 20_000, 20)
    assert [day.recorded for day in found.days] == [True, False]
    assert found.differences is not None
    assert ("intervals", "390") in found.days[0].facts


def test_report_into_a_file_is_1001(report: Report, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x", "utf-8")
    with fails(1001, str(tmp_path / "taken")):
        write_report(report, tmp_path / "taken")


def test_report_command_writes_and_states_what(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["report", "--intervals", "10", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "generated (seed 0)" in result.output
    assert (tmp_path / "out" / "report.html").is_file()

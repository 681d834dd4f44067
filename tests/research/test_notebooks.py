"""The notebooks: they run as they are, on recorded and on generated data, and their two forms say the same."""

from __future__ import annotations

from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

from tests.paths import ROOT

NOTEBOOKS = ("impact_modeling", "trade_allocation_strategy")


def _run(name: str, monkeypatch: pytest.MonkeyPatch, data: Path) -> str:
    """Run a notebook with recorded days in `data` and return all that it printed."""
    monkeypatch.setenv("IMPACTD_DATA_DIR", str(data))
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(ROOT / "notebooks")}})
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output.output_type == "error"]
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_forms_hold_the_same_cells_and_no_outputs(name: str) -> None:
    text = jupytext.read(ROOT / "notebooks" / f"{name}.py")
    made = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    assert [(cell.cell_type, cell.source) for cell in made.cells] == [(c.cell_type, c.source) for c in text.cells]
    assert all(not cell.get("outputs") for cell in made.cells)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs_on_generated_data_and_reports_it(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "GENERATED data" in _run(name, monkeypatch, tmp_path)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs_on_a_recorded_day_and_reports_it(
    name: str, monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    assert "RECORDED data: FROG" in _run(name, monkeypatch, data_dir)

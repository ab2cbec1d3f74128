"""The example notebook runs from top to bottom, and shows what it promises."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    notebook = nbformat.read(ROOT / "docs" / "explain.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(tmp_path_factory.mktemp("notebook")))
    return [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]


def test_runs_figures_and_frames_are_shown(outputs: list[dict[str, str]]) -> None:
    pages = [data["text/html"] for data in outputs if "text/html" in data]
    assert any("Occlusion sensitivity" in page and page.count("data:image/png") == 24 for page in pages)
    assert any("pointing: hit" in page for page in pages)
    assert sum("image/png" in data for data in outputs) >= 2
    assert any("report.html" in data.get("text/plain", "") for data in outputs)

"""The two notebooks run top to bottom, on the demo, as printed; the demo's promises hold there."""

from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Both notebooks, executed in one folder against one store."""
    folder = tmp_path_factory.mktemp("notebooks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIGNSTUDY_HOME", str(folder / "home"))
        ran = {name: execute(name, folder) for name in ("main", "eval")}
    return folder / "runs" / "demo", ran


def execute(name, folder):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=1000, kernel_name="python3", resources=resources).execute()
    return notebook


def texts(notebook):
    """What the code cells gave back, as plain text."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    return [out["data"]["text/plain"] for out in outputs if "data" in out]


def test_no_cell_failed_and_figures_are_shown(demo):
    _, ran = demo
    for notebook in ran.values():
        outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
        assert not [out for out in outputs if out["output_type"] == "error"]
        assert [out for out in outputs if "image/png" in out.get("data", {})]


def test_the_second_notebook_runs_no_stage_again(demo):
    assert "'0 of 35 stages ran'" in texts(demo[1]["eval"])


def test_the_exported_ratings_give_the_same_table(demo):
    assert texts(demo[1]["eval"])[-1] == "True"


def test_sft_and_sft_dpo_beat_the_base_because_they_were_trained_to(demo):
    table = pd.read_csv(demo[0] / "tables" / "comparisons.csv")
    against_base = table[(table.reference == "base") & table.metric.isin(["hpr", "cas"])]
    for model in ("sft", "sft_dpo"):
        rows = against_base[against_base.model == model]
        assert len(rows) == 2
        assert (rows.low > 10).all()
        assert (rows.p_holm < 0.001).all()


def test_outputs_are_stored_with_the_notebooks():
    for name in ("main", "eval"):
        cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
        code = [cell for cell in cells if cell.cell_type == "code"]
        assert all(cell.outputs for cell in code if not cell.source.startswith("PRESET"))

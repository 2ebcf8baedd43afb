"""The notebook of examples/ runs from its first cell to its last, and is kept without outputs."""

import json
import os
import shutil
from pathlib import Path

import pytest

from speech2face.models.release import MANIFEST, SHIPPED

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
CELL_SECONDS = 600  # of one cell, the slowest of which learns a model; without it a kernel that hangs would never end

nbclient, nbformat = (
    pytest.importorskip(name, reason="notebooks are run by nbclient; install the extra `test`")
    for name in ("nbclient", "nbformat")
)


def test_the_notebook_is_kept_without_outputs_and_shows_what_it_should() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["id"] for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []
    text = "".join("".join(cell["source"]) for cell in code)
    for shown in ("facts()", "samples=", "given=", 'style="drawn"', "LiveSession", "read_recording", '"learn"'):
        assert shown in text, shown


@pytest.mark.slow
@pytest.mark.skipif(not (SHIPPED / MANIFEST).exists(), reason="no weights are shipped yet")
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="its last part learns a model; install the extra `eval`")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")  # as in a clone, where it may write beside itself
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=CELL_SECONDS, kernel_name="python3", resources={"metadata": {"path": tmp_path / "examples"}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 7
    assert (tmp_path / "build" / "notebook" / "model" / "model.json").exists()
    assert not (ROOT / "examples" / "drawn.svg").exists()

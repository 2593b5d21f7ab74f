"""The notebook for Colab is its script, installs nothing anew, and runs from top to bottom."""

import json
import os
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"


def sources(cells):
    return [(cell["cell_type"], "".join(cell["source"])) for cell in cells]


@pytest.fixture
def notebook():
    return json.loads((SCRIPTS / "colab.ipynb").read_text())


def test_the_notebook_has_no_outputs_and_begins_with_its_title(notebook):
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) >= 8
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert sources(notebook["cells"])[0][1].startswith("# Which initializer")


@pytest.mark.slow
def test_the_notebook_is_the_script(notebook):
    """`jupytext --to ipynb scripts/colab.py` makes it."""
    jupytext = pytest.importorskip("jupytext")
    made = jupytext.read(SCRIPTS / "colab.py")
    assert sources(made.cells) == sources(notebook["cells"])


def test_the_notebook_installs_only_what_is_missing(monkeypatch, tmp_path):
    """The cell that installs, on a machine that lacks rich and jinit."""
    import importlib.util
    import subprocess

    called = []
    found = importlib.util.find_spec
    lacking = ("rich", "jinit")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in lacking else found(name)
    )

    def run(words, check):
        kept = Path(words[words.index("--constraint") + 1]).read_text().splitlines()
        called.append((words[words.index("--constraint") + 2 :], kept))

    monkeypatch.setattr(subprocess, "run", run)
    cell = (SCRIPTS / "colab.py").read_text().split("# %%")[2]
    exec(cell, {})
    (missing, kept), (own, _) = called
    assert missing == ["rich"]
    assert own[0] == "--no-deps"
    import jax

    assert f"jax=={jax.__version__}" in kept


@pytest.mark.full
def test_the_notebook_runs_from_top_to_bottom(monkeypatch, tmp_path):
    pytest.importorskip("ipykernel")
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("JINIT_SEEDS", "8")
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS.parent))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    made = nbformat.read(SCRIPTS / "colab.ipynb", as_version=4)
    client = nbclient.NotebookClient(
        made, timeout=250, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [output for cell in made.cells for output in cell.get("outputs", ())]
    # Tables of rich are displayed, not printed.
    said = "".join(o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in outputs)
    for text in ("CPU: ", "by theory 0.0625", "jinit.initialize(", "vanishing forward",
                 "jinit doctor", "he_normal against glorot_uniform"):  # fmt: skip
        assert text in said
    assert any("image/png" in output.get("data", ()) for output in made.cells[-1]["outputs"])
    assert (tmp_path / "runs.db").exists()

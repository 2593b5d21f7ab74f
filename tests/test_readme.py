"""Every code block of the README runs, and the scripts it names exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
COMMANDS = [
    line.partition("#")[0].strip()
    for language, code in BLOCKS
    if language == "bash"
    for line in code.splitlines()
]


def test_the_inventory_is_the_registrys(capsys):
    from jinit.cli import main

    assert main(["initializers", "--markdown"]) == 0
    table = capsys.readouterr().out.strip()
    text = (ROOT / "README.md").read_text()
    marker = "<!-- jinit initializers --markdown -->"
    assert text.partition(marker)[2].partition("<!-- end -->")[0].strip() == table


def test_there_are_blocks_of_each_kind():
    assert {language for language, _ in BLOCKS} == {"python", "bash", "text"}
    assert len(PYTHON) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_python_block(code, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:jinit", "-c", code],
        capture_output=True, text=True, timeout=240, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command, capsys):
    words = shlex.split(command)
    if words[0] == "jinit":
        from jinit.cli import main

        assert main(words[1:]) == 0
        assert capsys.readouterr().out
    elif words[0].startswith("./scripts/"):
        assert (ROOT / words[0]).stat().st_mode & 0o111
    else:
        assert words == [".venv/bin/pre-commit", "install"]
        assert (ROOT / ".pre-commit-config.yaml").is_file()


@pytest.mark.slow
def test_the_seed_sweep_script_runs_and_stays_short():
    script = ROOT / "scripts" / "seed_sweep.py"
    assert len(script.read_text().splitlines()) <= 60
    done = subprocess.run(
        [sys.executable, str(script), "--seeds", "4", "--steps", "20"],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "verdict" in done.stdout

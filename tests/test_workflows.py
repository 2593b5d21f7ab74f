"""Continuous integration runs the scripts that people run, on the versions that are promised."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parent.parent
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
JOBS = WORKFLOW["jobs"]
ACTIONS = {
    "actions/checkout", "actions/setup-python", "actions/upload-pages-artifact",
    "actions/deploy-pages",
}  # fmt: skip


@pytest.mark.parametrize("job", JOBS)
def test_each_step_is_a_script_or_a_known_action(job):
    assert JOBS[job]["timeout-minutes"] <= 60
    for step in JOBS[job]["steps"]:
        if "run" in step:
            script, _, tier = step["run"].partition(" ")
            assert (ROOT / script).stat().st_mode & 0o111
            assert not tier or f"scripts/test {tier} " in (ROOT / "scripts" / "test").read_text()
        else:
            action, _, version = step["uses"].partition("@")
            assert action in ACTIONS
            assert re.fullmatch(r"v\d+", version)


def test_the_fast_tests_run_on_every_python():
    rows = JOBS["fast"]["strategy"]["matrix"]["include"]
    assert [(row["python"], row["versions"]) for row in rows] == [
        ("3.11", "jax==0.9.2 jaxlib==0.9.2"),
        ("3.12", ""),
        ("3.13", ""),
    ]
    project = (ROOT / "pyproject.toml").read_text()
    assert {row["python"] for row in rows} == set(re.findall(r"Python :: (3\.\d+)", project))
    assert JOBS["fast"]["steps"][-1]["env"] == {"PIP_EXTRA": "${{ matrix.versions }}"}


def test_every_block_of_every_page_runs_in_a_job():
    assert JOBS["pages"]["steps"][-1]["run"] == "./scripts/test pages"
    assert "if" not in JOBS["pages"]


def test_a_push_ends_no_weekly_run():
    group = WORKFLOW["concurrency"]
    assert "github.event_name" in group["group"]
    assert group["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"


def test_the_pages_are_one_tier(tmp_path):
    done, log = run_script(tmp_path, "pages")
    assert done.returncode == 0
    assert "-m pytest -n auto --dist worksteal tests/test_readme.py" in log
    assert " -m " not in log.partition("tests/test_readme.py")[2]


def test_the_oldest_versions_are_the_same_everywhere():
    oldest = JOBS["oldest"]["steps"][-1]["env"]["PIP_EXTRA"]
    assert f"environment dev {oldest}" in (ROOT / "scripts" / "test").read_text()
    project = (ROOT / "pyproject.toml").read_text()
    for package in ("jax", "flax", "numpy"):
        version = re.search(rf"\b{package}==([\d.]+)", oldest)[1]
        floor = re.search(rf'"{package}>=([\d.]+)', project)[1]
        assert f"{version}.".startswith(f"{floor}."), package


def test_only_the_main_branch_publishes():
    publish = JOBS["publish"]
    assert publish["needs"] == "docs"
    assert publish["if"].startswith("github.ref == 'refs/heads/main' && ")
    assert WORKFLOW["permissions"] == {"contents": "read"}


def test_a_bug_report_asks_for_the_settings():
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text())
    required = {
        item["id"] for item in form["body"] if item.get("validations", {}).get("required", False)
    }
    assert required == {"happened", "code", "settings"}


# Stands for Python, pip, ruff, mypy and pytest: notes its arguments; calls with FAILS in them fail.
TOOL = """#!/usr/bin/env bash
case "$*" in
  "-c import sys; print"*) echo 3.11.0 ;;
  "-m venv --clear "*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" && cp "$0" "$4/bin/ruff" &&
    cp "$0" "$4/bin/mypy" ;;
  *) echo "$0 $*" >> log ;;
esac
[[ "$0 $*" != *$FAILS* ]]
"""


def run_script(folder, *arguments, fails="nothing"):
    """`scripts/test` with stand-ins for all that it starts; what they were given, and the end."""
    scripts = folder / "scripts"
    scripts.mkdir()
    for name in ("test", "environment"):
        shutil.copy(ROOT / "scripts" / name, scripts)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for tool in (folder / "python", scripts / "quickstart"):
        tool.write_text(TOOL)
        tool.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "PYTHON": "./python", "NEWEST_PYTHON": "./python",
                   "FAILS": fails}  # fmt: skip
    done = subprocess.run([scripts / "test", *arguments], cwd=folder, env=environment,
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    log = folder / "log"
    return done, log.read_text() if log.exists() else ""


@pytest.mark.parametrize(
    "arguments", [("slow",), ("full", "test"), ("full", "tests", "faults"), ("fast", "tests")]
)
def test_an_unknown_part_is_refused_in_one_line_before_anything_runs(arguments, tmp_path):
    done, log = run_script(tmp_path, *arguments)
    assert (done.returncode, done.stdout, log) == (2, "", "")
    assert re.fullmatch(r"jinit: .*; use .*\n", done.stderr)


def test_a_failed_part_stops_no_other(tmp_path):
    done, log = run_script(tmp_path, "full", fails="tests/faults.py")
    assert done.returncode == 1
    said = re.findall(r"^jinit: (\w+) (passed|FAILED) in \d+ s$", done.stdout, re.MULTILINE)
    assert said == [("tests", "passed"), ("faults", "FAILED"), ("mutants", "passed"),
                    ("oldest", "passed"), ("newest", "passed")]  # fmt: skip
    assert "jax==0.7.2" in log
    assert ".venv-newest/bin/mypy" in log


def test_one_part_runs_alone(tmp_path):
    done, log = run_script(tmp_path, "full", "mutants")
    assert done.returncode == 0
    ran = [line for line in log.splitlines() if "-m pip" not in line and "-c " not in line]
    assert [line.partition(" ")[2] for line in ran] == ["tests/mutants.py"]


@pytest.mark.parametrize("arguments", [(), ("fast",), ("full", "tests")])
@pytest.mark.parametrize("fails", ["bin/ruff check", "bin/ruff format", "bin/mypy", "-m pytest"])
def test_a_style_type_or_test_error_fails_every_tier(arguments, fails, tmp_path):
    done, log = run_script(tmp_path, *arguments, fails=fails)
    assert done.returncode == 1
    assert fails in log

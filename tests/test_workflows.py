"""Continuous integration runs the scripts that people run, on the versions that are promised."""

import re
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

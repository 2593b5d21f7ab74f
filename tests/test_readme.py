"""Every page's code blocks run, its links lead somewhere, and its numbers are the measured ones."""

import importlib
import inspect
import json
import re
import shlex
import subprocess
import sys
import types
import warnings
from collections import Counter
from pathlib import Path

import pytest
from tiers import keep

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "CHANGELOG.md",
    ROOT / "experiments" / "README.md",
    *sorted(ROOT.glob("jinit/**/README.md")),
    *sorted(ROOT.glob(".github/*.md")),
]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text() for page in PAGES}
BLOCKS = [
    (page, language, code)
    for page, text in TEXTS.items()
    for language, code in re.findall(r"```(\w*)\n(.*?)```", text, flags=re.DOTALL)
]
PYTHON = [(page, code) for page, language, code in BLOCKS if language == "python"]
COMMANDS = sorted(
    {
        line.partition("#")[0].strip()
        for _, language, code in BLOCKS
        if language == "bash"
        for line in code.splitlines()
    }
)


def test_every_page_is_read():
    assert len(PAGES) >= 12
    assert {language for _, language, _ in BLOCKS} == {"python", "bash", "text", "bibtex"}
    assert len(PYTHON) >= 12


def test_the_readme_is_short():
    lines = README.read_text().splitlines()
    assert len(lines) <= 130
    assert not [line for line in lines if len(line) > 100]


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", TEXTS[page]):
        if not target.startswith(("http", "#")):
            assert (ROOT / page).parent.joinpath(target.partition("#")[0]).exists(), target


def test_the_readme_installs_as_messages_say():
    from jinit import errors

    command = errors.INSTALL.format(extra="lab").partition(" in a checkout")[0]
    assert f"```bash\n{command}\n```" in TEXTS["README.md"]


@pytest.mark.parametrize("page", TEXTS)
def test_names_in_prose_exist(page):
    import jinit

    if page == "jinit/README.md":
        return  # It lists old names.
    rooms = {name for name in jinit.__all__ if inspect.ismodule(getattr(jinit, name))}
    prose = re.sub(r"```.*?```", "", TEXTS[page], flags=re.DOTALL)
    for code in re.findall(r"`([^`]+)`", prose):
        for room, name in re.findall(r"(?<![\w./])(?:jinit\.)?(\w+)\.(\w+)", code):
            if room in rooms and name != "py":
                assert hasattr(getattr(jinit, room), name), f"{room}.{name}"


def test_the_inventory_is_the_registrys(capsys):
    from jinit.cli import main

    assert main(["initializers", "--markdown"]) == 0
    table = capsys.readouterr().out.strip()
    text = TEXTS["jinit/initializers/README.md"]
    marker = "<!-- jinit initializers --markdown -->"
    assert text.partition(marker)[2].partition("<!-- end -->")[0].strip() == table
    rows = table.splitlines()[2:]
    assert (
        f"[Initializers](jinit/initializers/README.md): {len(rows)} of them" in TEXTS["README.md"]
    )


def test_the_readme_counts_the_verdicts():
    from experiments import harness

    def kinds(names):
        found = (json.loads((harness.RESULTS / f"{name}.json").read_text()) for name in names)
        return Counter(result["verdict"]["kind"] for result in found)

    modules = {name: harness.load(name) for name in harness.names()}
    claims = kinds(name for name, module in modules.items() if module.NUMBER)
    papers = kinds(name for name, module in modules.items() if hasattr(module, "PAPER"))
    words = " ".join(TEXTS["README.md"].split())
    assert (
        f"Of its {claims.total()} claims {claims[harness.HOLDS]} hold, {claims[harness.LIMITED]} "
        f"hold with a limit and {claims[harness.FAILS]} does not hold; of {papers.total()} "
        f"published results {papers[harness.HOLDS]} were reproduced "
        f"and {papers[harness.FAILS]} were not."
    ) in words


def test_numbers_of_the_advice_are_measured_ones():
    """Each number before a citation is in the answer or the test of the cited experiment."""
    text = TEXTS["jinit/advise/README.md"]
    prose = "\n\n".join(part for part in text.split("\n\n") if not part.startswith(("|", "![")))
    citation = r"(.*?)\(\[experiment\]\([./]*experiments/(\w+)\.py\)\)"
    cited = re.findall(citation, " ".join(prose.split()))
    assert len(cited) >= 8
    for words, name in cited:
        result = json.loads((ROOT / f"experiments/results/{name}.json").read_text())
        spoken = result["verdict"]["answer"] + result["test"]
        numbers = re.findall(r"\d*\.\d+|\b\d{2,}\b", words)
        assert numbers, words
        for number in numbers:
            assert re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", spoken), (number, name)


def test_the_speed_table_is_the_committed_measurement(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    bench = importlib.import_module("bench")
    table = bench.markdown_table(json.loads(bench.RESULTS.read_text()))
    text = TEXTS["jinit/engine/README.md"]
    assert text.partition(bench.START)[2].partition(bench.END)[0].strip() == table
    # What a run writes has all that the table reads.
    rows = {letter: {"gflops": 64.2, "of_peak": 0.354, "slower": 11.3} for letter in "abf"}
    work = vars(bench.SIZES["32x3"])
    sizes = {"32x3": bench.summary({"work": work, "rows": rows})}
    record = {"machine": "one core", "versions": {}, "rounds": 1, "sizes": sizes}
    row = "| 256 × (32, 3, 32) | 64 GFLOP/s | 0.35 | 11 × | 11 × |"
    assert row in bench.markdown_table(record)
    ratio = {"median": 0.98, "low": 0.96, "high": 1.004}
    record["models"] = {
        "rounds": 12, "machine": "one core", "versions": {},
        "mlps": {"32x3": {"nnx": ratio}}, "cnn": {"step loop": ratio},
    }  # fmt: skip
    assert "| 256 × (32, 3, 32) | 0.98 [0.96, 1.00] |" in bench.markdown_table(record)
    once = {"cold": {"seconds": 8.0, "first_rows": 4.0}, "second": {"seconds": 2.0}}
    twice = {"cold": {"seconds": 16.0, "first_rows": 12.0}, "second": {"seconds": 9.0}}
    record["against"] = {
        "revision": "0123456789", "machine": "one core", "versions": {},
        "quickstart": {"old": [twice], "new": [once]},
        "rows": [{"size": "32x3", "kind": "linen", "slower": {},
                  "seconds": {"old": [[3.0, 5.0]], "new": [[2.0, 3.0]]}}],
    }  # fmt: skip
    text = bench.markdown_table(record)
    assert "| work | build 0123456 | this build | faster by |" in text
    assert "| quickstart, a second time | 9.0 s | 2.0 s | 4.50 × |" in text
    assert "| 256 × (32, 3, 32), linen | 3.0 s | 2.0 s | 1.50 × |" in text
    spent = {"products": 300.0, "others": 90.4, "dispatch": 10.0, "operations": 31.0}
    tile = {"networks": 16, "work": {"width": 32, "depth": 3, "batch": 32}, "at_peak": 250.0}
    tile["unrecorded"] = 380.0
    tile |= dict.fromkeys(("step", "evaluation", "rest"), spent)
    record["profile"] = {"machine": "one core", "versions": {}, "tiles": [tile]}
    row = "| 16 × (32, 3, 32) | 380 µs | 300 µs | 250 µs | 31, 90 µs | 390 µs |"
    assert row in bench.markdown_table(record)


def test_a_profile_counts_the_own_time_of_each_operation_once(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    profiles = importlib.import_module("benchmarks.profiles")

    def event(name, start, duration):
        return types.SimpleNamespace(name=name, start_ns=start, duration_ns=duration)

    # Two steps of a product and another operation within a loop, then one evaluation.
    events = [event("while.1", 0, 100_000), event("end: dot", 20_000, 1_000)]
    for start in (0, 50_000):
        events += [event("dot.2", start, 20_000), event("add_fusion", start + 20_000, 10_000)]
    events.append(event("log_fusion", 100_000, 7_000))
    lines = [
        types.SimpleNamespace(events=events),
        types.SimpleNamespace(events=[event("python", 0, 9_000)]),
    ]
    profile = types.SimpleNamespace(planes=[types.SimpleNamespace(lines=lines)])
    found = profiles._split(profile, {"step": 2, "evaluation": 1, "rest": 1})
    assert found["step"] == {"products": 20.0, "others": 10.0, "dispatch": 0.0, "operations": 1}
    assert found["evaluation"]["others"] == 7.0
    assert found["evaluation"]["dispatch"] == 40.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "code"),
    keep(PYTHON, lambda row, place: row[0] == "README.md"),
    ids=[f"{page}-{i}" for i, (page, _) in enumerate(PYTHON)],
)
def test_python_block(page, code, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    if page == "README.md" or "__main__" in code:
        done = subprocess.run(
            [sys.executable, "-W", "error::DeprecationWarning:jinit", "-c", code], timeout=240
        )
        assert done.returncode == 0
    else:
        # A process of its own would import for longer than most blocks run.
        block = types.ModuleType("block")
        monkeypatch.setitem(sys.modules, "block", block)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.filterwarnings("error", category=DeprecationWarning, module="jinit")
            exec(compile(code, "block", "exec"), vars(block))
    if "jinit.audit(" in code:
        assert "fix" in capfd.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_command(command, capsys):
    words = shlex.split(command)
    if words[0] == "jinit":
        from jinit.cli import main

        assert main(words[1:]) == 0
        assert capsys.readouterr().out
    elif words[0].startswith("./scripts/"):
        assert (ROOT / words[0]).stat().st_mode & 0o111
    elif words[:3] == ["python", "-m", "experiments"]:
        from experiments import __main__ as experiments

        assert words[3] in experiments.EXAMPLES
    elif words[:2] == ["pip", "install"]:
        assert words[2:] in (["."], [".[lab]"])
    elif words[0] == "python" and words[1].endswith(".py"):
        assert (ROOT / words[1]).is_file()
    else:
        assert words == [".venv/bin/pre-commit", "install"]
        assert (ROOT / ".pre-commit-config.yaml").is_file()


@pytest.mark.full
def test_the_seed_sweep_script_runs_and_stays_short():
    script = ROOT / "scripts" / "seed_sweep.py"
    assert len(script.read_text().splitlines()) <= 60
    done = subprocess.run(
        [sys.executable, str(script), "--seeds", "4", "--steps", "20"],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "verdict" in done.stdout


def test_shares_of_a_grid_leave_the_imports_out(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    whole = importlib.import_module("benchmarks.whole")
    record = {"cores": 2, "seconds": 10.0, "compile_seconds": 4.0}
    record |= {"cpu_seconds": 19.0, "import_cpu_seconds": 2.0}
    found = whole.with_shares(record)
    assert (found["compile_share"], round(found["idle_share"], 9)) == (0.2, 0.15)


def test_papers_cite_this_version():
    version = importlib.import_module("jinit").__version__
    assert f"version = {{{version}}}" in (ROOT / "README.md").read_text()

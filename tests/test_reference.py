"""Every exported name has a page in the reference, and its docstring says what a user needs.

The reference is made from docstrings (`scripts/docs`), so most tests read docstrings.
"""

import ast
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest

import jinit

ROOT = Path(__file__).parent.parent
ROOMS = [name for name in jinit.__all__ if isinstance(getattr(jinit, name), types.ModuleType)]
MODULES = [f"jinit.{name}" for name in ROOMS]
MODULES += [f"jinit.train.{name}" for name in ("losses", "optimizers", "schedules")]
MODULES += ["jinit.report.plots"]
# Rooms whose functions come from the literature. (The registry holds an initializer's source.)
CITED = ("theory", "calibrate", "stats")
NOT_FROM_THE_LITERATURE = ("get", "names", "register", "in_float64", "condition_number")
# Short functions whose summary describes an argument without its name.
DESCRIBED_IN_WORDS = {
    "jinit.clipping.clip_by_global_norm", "jinit.clipping.clip_by_value",
    "jinit.parameters.rezero_factors", "jinit.stats.restricted_mean",
}  # fmt: skip


def exported(module_name):
    """(name, object) of the functions and classes of jinit that a module exports."""
    module = importlib.import_module(module_name)
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module_name
    ]
    items = [(name, getattr(module, name)) for name in names]
    return [
        (name, item)
        for name, item in items
        if callable(item) and str(getattr(item, "__module__", "")).startswith("jinit")
    ]


def documentation(item):
    return inspect.cleandoc(item.__doc__ or "")


def with_references(module, item):
    """A docstring, with that of the function whose arguments or errors it says it shares."""
    text = documentation(item)
    for name in re.findall(r"are\s+those\s+of\s+:func:`(\w+)`", text):
        text += with_references(module, getattr(importlib.import_module(module), name))
    return text


def unnamed(module, item):
    """Parameters or fields that the docstring does not mention."""
    text = with_references(module, item)
    if dataclasses.is_dataclass(item):
        # A field of Grid has its help text, which the reference shows. `parent` and `name` are
        # those of every Flax module.
        names = [field.name for field in dataclasses.fields(item) if "help" not in field.metadata]
        names = [each for each in names if each not in ("parent", "name") and each[0] != "_"]
    elif inspect.isclass(item):
        names = []
    else:
        names = [each for each in inspect.signature(item).parameters if each != "args"]
    return [each for each in names if not re.search(rf"\b{each}\b", text)]


def refuses(item):
    """Whether the body of a function raises, or checks an argument."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(item))))
    except (OSError, SyntaxError, TypeError):
        return False
    raises = any(isinstance(node, ast.Raise) for node in ast.walk(tree))
    return raises or re.search(r"\berrors\.(?:check_|refus|wrong)\w+", ast.unparse(tree))


def test_all_rooms_export_something():
    counts = {module: len(exported(module)) for module in MODULES}
    assert min(counts.values()) >= 1, counts
    # Whoever adds a name to what 0.x promises raises the number.
    assert 250 <= sum(counts.values()) <= 290


@pytest.mark.parametrize("module", MODULES)
def test_each_name_has_a_summary_and_each_function_an_example(module):
    for name, item in exported(module):
        text = documentation(item)
        assert text.partition("\n\n")[0].rstrip().endswith((".", ":", "?", "…")), name
        # A class is what the example of a function returns.
        assert inspect.isclass(item) or ">>> " in text, name


@pytest.mark.parametrize("module", MODULES)
def test_arguments_and_fields_are_described(module):
    missing = {name: unnamed(module, item) for name, item in exported(module)}
    missing = {f"{module}.{name}": names for name, names in missing.items() if names}
    assert not {name: names for name, names in missing.items() if name not in DESCRIBED_IN_WORDS}


def test_attributes_of_what_functions_return_are_described(monkeypatch):
    reference = site_maker(monkeypatch)
    found = {module: reference.returned(module) for module in MODULES}
    assert {item.__name__ for item in found["jinit.sweep"]} >= {"Plan", "SweepEvent"}
    assert {item.__name__ for item in found["jinit.stats"]} >= {"Paired", "Pair", "Ranking"}
    missing = {
        f"{module}.{item.__name__}": unnamed(module, item)
        for module, items in found.items()
        for item in items
    }
    assert not {name: names for name, names in missing.items() if names}


@pytest.mark.parametrize("module", MODULES)
def test_functions_that_refuse_say_what_they_raise(module):
    functions = [(name, item) for name, item in exported(module) if not inspect.isclass(item)]
    assert not [
        name
        for name, item in functions
        if refuses(item) and "Raises:" not in with_references(module, item)
    ]


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[1] in CITED])
def test_functions_cite_their_source(module):
    assert not [
        name
        for name, item in exported(module)
        if inspect.isfunction(item)
        and name not in NOT_FROM_THE_LITERATURE
        and "Reference:" not in documentation(item)
    ]


def site_maker(monkeypatch):
    """scripts/reference.py as a module."""
    pytest.importorskip("pdoc")
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("reference")


@pytest.mark.full
def test_every_exported_name_is_in_the_site(tmp_path, monkeypatch):
    reference = site_maker(monkeypatch)
    command = [sys.executable, str(ROOT / "scripts" / "reference.py"), "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    assert set(reference.rooms()) == {"jinit", *MODULES}
    for module in MODULES:
        html = (tmp_path / f"{module.replace('.', '/')}.html").read_text()
        names = list(getattr(importlib.import_module(module), "__all__", ()))
        for name in names + [item.__name__ for item in reference.returned(module)]:
            if f"{module}.{name}" not in MODULES:
                assert f'id="{name}"' in html, (module, name)
    # Every link between pages, and every picture, is there.
    for page in tmp_path.rglob("*.html"):
        html = re.sub(r"<script.*?</script>", "", page.read_text(), flags=re.DOTALL)
        for target in re.findall(r'(?:href|src)="([^"#]+)', html):
            if not re.match(r"https?:|data:|mailto:", target):
                assert (page.parent / target).exists(), (page, target)

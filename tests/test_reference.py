"""Every exported name has a page in the reference, and its docstring says what a user needs.

The reference is made from docstrings (`scripts/docs`), so this reads the docstrings themselves.
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
MODULES += ["jinit.train.losses", "jinit.train.optimizers", "jinit.report.plots"]
# Rooms whose functions come from the literature. (The registry holds an initializer's source.)
CITED = ("theory", "calibrate", "stats")
NOT_FROM_THE_LITERATURE = ("get", "names", "register", "in_float64", "condition_number")
# What `in_axis`, `groups` and the like mean is said once, at KernelAxes; `dtype` is JAX's.
SHARED = {field.name for field in dataclasses.fields(jinit.initializers.KernelAxes)} | {"dtype"}
# Short functions whose summary describes an argument without its name.
DESCRIBED_IN_WORDS = {
    "jinit.calibrate.rezero", "jinit.clipping.clip_by_global_norm", "jinit.clipping.clip_by_value",
    "jinit.errors.wrong_type", "jinit.errors.check_fraction", "jinit.errors.check_scalar",
    "jinit.errors.check_integer", "jinit.errors.check_bool", "jinit.errors.check_choice",
    "jinit.findings.healthy", "jinit.frameworks.shapes", "jinit.initializers.he_uniform",
    "jinit.models.as_model", "jinit.parameters.rezero_factors", "jinit.parameters.skipinit_factors",
    "jinit.stats.restricted_mean", "jinit.stats.sign_p",
}  # fmt: skip
# Variants whose example is the one of the function that they shorten.
SHOWN_ELSEWHERE = {
    "jinit.errors.check_fraction", "jinit.initializers.zeros", "jinit.initializers.ones",
    "jinit.stats.compare_times",
}  # fmt: skip


def exported():
    """(module, name, object) of every exported function and class that jinit defines, each once."""
    rows, seen = [], set()
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        names = getattr(module, "__all__", None) or [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == module_name
        ]
        for name in names:
            item = getattr(module, name)
            ours = str(getattr(item, "__module__", "")).startswith("jinit")
            if ours and (inspect.isclass(item) or callable(item)) and id(item) not in seen:
                seen.add(id(item))
                rows.append(pytest.param(module_name, name, item, id=f"{module_name}.{name}"))
    return rows


EXPORTED = exported()


def documentation(item):
    return inspect.cleandoc(item.__doc__ or "")


def parameters(item):
    return [name for name in inspect.signature(item).parameters if name not in ("self", "args")]


@pytest.mark.parametrize(("module", "name", "item"), EXPORTED)
def test_it_has_a_summary_and_a_function_has_an_example(module, name, item):
    text = documentation(item)
    summary = text.partition("\n\n")[0]
    assert summary.rstrip().endswith((".", ":", "?", "…"))
    if inspect.isclass(item) or f"{module}.{name}" in SHOWN_ELSEWHERE:
        return  # A class is what the example of a function gives.
    assert ">>> " in text


@pytest.mark.parametrize(("module", "name", "item"), EXPORTED)
def test_it_names_its_arguments_or_fields(module, name, item):
    text = documentation(item)
    if dataclasses.is_dataclass(item):
        # A field of Grid has its help text, which the reference shows. `parent` and `name` are
        # those of every Flax module.
        names = [field.name for field in dataclasses.fields(item) if "help" not in field.metadata]
        names = [each for each in names if each not in ("parent", "name") and each[0] != "_"]
    elif inspect.isclass(item):
        return
    else:
        names = parameters(item)
        if module == "jinit.initializers":
            names = [each for each in names if each not in SHARED]
    if f"{module}.{name}" in DESCRIBED_IN_WORDS:
        return
    missing = [each for each in names if not re.search(rf"\b{each}\b", text)]
    assert not missing


@pytest.mark.parametrize(("module", "name", "item"), EXPORTED)
def test_it_says_what_it_raises(module, name, item):
    if inspect.isclass(item):
        return
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(item))))
    except (OSError, SyntaxError, TypeError):
        return
    raises = any(isinstance(node, ast.Raise) for node in ast.walk(tree))
    checks = re.findall(r"\berrors\.(?:check_|refus|wrong)\w+", ast.unparse(tree))
    if raises or checks:
        assert "Raises:" in documentation(item)


@pytest.mark.parametrize(("module", "name", "item"), EXPORTED)
def test_it_cites_its_source(module, name, item):
    cited = module.split(".")[1] in CITED and name not in NOT_FROM_THE_LITERATURE
    if cited and inspect.isfunction(item):
        assert "Reference:" in documentation(item)


def test_every_exported_name_is_in_the_site(tmp_path, monkeypatch):
    pytest.importorskip("pdoc")
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    reference = importlib.import_module("reference")
    command = [sys.executable, str(ROOT / "scripts" / "reference.py"), "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    assert set(reference.rooms()) == {"jinit", *MODULES}
    for module in MODULES:
        html = (tmp_path / f"{module.replace('.', '/')}.html").read_text()
        for name in getattr(importlib.import_module(module), "__all__", ()):
            if f"{module}.{name}" not in MODULES:
                assert f'id="{name}"' in html, (module, name)
    # Every link between pages, and every picture, is there.
    for page in tmp_path.rglob("*.html"):
        html = re.sub(r"<script.*?</script>", "", page.read_text(), flags=re.DOTALL)
        for target in re.findall(r'(?:href|src)="([^"#]+)', html):
            if not re.match(r"https?:|data:|mailto:", target):
                assert (page.parent / target).exists(), (page, target)

"""Every exported name has a page in the reference, and its docstring says what a user needs.

The reference is made from docstrings (`scripts/docs`), so this reads the docstrings themselves.
"""

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
import types
from pathlib import Path

import pytest

import jinit

ROOT = Path(__file__).parent.parent
ROOMS = [name for name in jinit.__all__ if isinstance(getattr(jinit, name), types.ModuleType)]
MODULES = [f"jinit.{name}" for name in ROOMS]
MODULES += ["jinit.train.losses", "jinit.train.optimizers", "jinit.report.plots"]
# Rooms whose functions come from the literature: each function cites its source.
CITED = ("initializers", "theory", "calibrate", "stats")


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
def test_it_has_a_summary_and_an_example(module, name, item):
    text = documentation(item)
    summary = text.partition("\n\n")[0]
    assert summary and summary.rstrip().endswith((".", ":")), summary
    assert ">>> " in text


@pytest.mark.parametrize(("module", "name", "item"), EXPORTED)
def test_it_names_its_arguments_or_fields(module, name, item):
    text = documentation(item)
    if dataclasses.is_dataclass(item):
        names = [field.name for field in dataclasses.fields(item) if not field.name.startswith("_")]
        names = [each for each in names if each not in ("parent", "name")]  # of a flax module
    elif inspect.isclass(item):
        return
    else:
        names = parameters(item)
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
    if module.split(".")[1] in CITED and inspect.isfunction(item):
        assert "Reference:" in documentation(item)

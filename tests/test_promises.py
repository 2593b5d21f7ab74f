"""Three promises about changes: a clip rule, a layer kind and a threshold each stand in one module.

Read from the source tree: each can then be changed in at most two files, the module and its test.
Docstrings, comments, imports and ``__all__`` are left out, because a change does not need them.
"""

import ast
import functools
import re
from pathlib import Path

import pytest

from jinit import clipping, frameworks
from jinit.frameworks import _table
from jinit.probes import _verdict

PACKAGE = Path(__file__).parent.parent / "jinit"
# Thresholds of verdicts: constants in capitals, without texts such as CENTRED.
THRESHOLDS = [
    name for name, value in vars(_verdict).items() if name.isupper() and isinstance(value, float)
]
# One default, the slope of PReLU, is the same in three frameworks and stands in a shared module.
SHARED = {"PReLU"}


@functools.cache
def code():
    """Module → the nodes of its syntax tree without docstrings, imports and ``__all__``."""
    nodes = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(getattr(node, "body", None), list):
                node.body = [child for child in node.body if not left_out(child)]
        nodes[str(path.relative_to(PACKAGE))] = list(ast.walk(tree))
    return nodes


def left_out(node):
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    listing = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    return docstring or listing or isinstance(node, ast.Import | ast.ImportFrom)


def modules_with(matches):
    """The modules in whose code at least one node matches."""
    return {module for module, nodes in code().items() if any(map(matches, nodes))}


def is_text(node, text):
    return isinstance(node, ast.Constant) and node.value == text


def compares_with(node, text):
    return isinstance(node, ast.Compare) and any(is_text(part, text) for part in ast.walk(node))


def functions(name):
    return modules_with(lambda node: isinstance(node, ast.FunctionDef) and node.name == name)


def uses(name):
    return modules_with(lambda node: isinstance(node, ast.Name) and node.id == name)


def assignments(name):
    """The modules that assign the name at any level."""
    return modules_with(
        lambda node: isinstance(node, ast.Name) and node.id == name
        and isinstance(node.ctx, ast.Store)
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["leaf_norm", "global_norm", "value"])
def test_a_clip_rule_is_changed_in_one_module(rule):
    """Its formula is one function; other code holds the rule's row and never asks for its name."""
    factory = clipping.get(rule).__name__
    defined = functions(factory)
    assert len(defined) == 1
    assert uses(factory) - defined == {"clipping/_rules.py"}  # the row
    about_clips = {path for path in code() if "clip" in (PACKAGE / path).read_text()}
    assert not modules_with(lambda node: compares_with(node, rule)) & about_clips


def hosts_by_class():
    """Layer class → the modules of the frameworks that know it."""
    modules = {}
    for name in frameworks.names():
        row = _table._table.get(name)
        for layer in row.classes:
            # linen and nnx share their classes and the table in _linen.py.
            module = "linen" if row.host == "flax" else name
            modules.setdefault(layer, set()).add(f"frameworks/_{module}.py")
    return modules


@pytest.mark.full
def test_a_layer_kind_of_one_framework_is_changed_in_one_module():
    """No module but those of frameworks names a layer class; one for a class of one framework."""
    files = {f"frameworks/_{name}.py" for name in frameworks.names()}
    alone = 0
    for layer, known in hosts_by_class().items():
        named = modules_with(lambda node, layer=layer: is_text(node, layer))
        assert known <= named
        if layer in SHARED:
            continue
        assert named <= files, layer
        if len(named) == 1:
            alone += 1
    assert alone > 20
    for layer, module in (("ConvLocal", "linen"), ("EinsumDense", "keras"), ("Bilinear", "torch"),
                          ("DepthwiseConv2D", "haiku"), ("GroupNorm", "equinox")):  # fmt: skip
        named = modules_with(lambda node, layer=layer: is_text(node, layer))
        assert named == {f"frameworks/_{module}.py"}


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_a_threshold_of_a_verdict_is_changed_in_one_module(threshold):
    """Assigned once in jinit. ``tests/probes/test_thresholds.py`` shows that it decides."""
    assert len(assignments(threshold)) == 1


def test_no_message_of_a_verdict_repeats_a_threshold_in_words():
    """Messages print the constants: their texts hold no percentage and no power of ten."""
    assert len(THRESHOLDS) >= 8
    texts = [
        node.value
        for module in ("probes/_verdict.py", "probes/_fixes.py")
        for node in code()[module]
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert len(texts) > 50
    assert not [text for text in texts if re.search(r"(?<![.\d])\d+ ?%|10\^|\de-?\d", text)]

"""Healthy trees of all initializers, layer kinds, hosts and dtypes keep an audit quiet."""

import functools
import sys
from pathlib import Path

import pytest
from scipy import stats

import jinit
from jinit import initializers

sys.path.insert(0, str(Path(__file__).parent))
from healthy_trees import healthy_tree


def called(initializer, key, shape, dtype):
    return initializer(key, shape, dtype)


def rules_of(tree, kind):
    if kind == "none":
        return None
    if kind == "named":
        return tree.rules
    return {
        path: functools.partial(called, initializers.get(rule)) for path, rule in tree.rules.items()
    }


def alarms(numbers, kind):
    found = []
    for number in numbers:
        tree = healthy_tree(number)
        findings = jinit.audit(
            tree.params, host=tree.host, layers=tree.layers, rules=rules_of(tree, kind)
        )
        found += [(number, tree.rules[findings[0].where], str(findings[0]))] if findings else []
    return found


@pytest.mark.full
@pytest.mark.parametrize("kind", ["none", "named", "functions"])
def test_ten_healthy_trees(kind):
    assert alarms(range(3, 200, 21), kind) == []


@pytest.mark.full
@pytest.mark.parametrize(("kind", "rate"), [("none", 0.01), ("named", 1e-3), ("functions", 1e-3)])
def test_two_hundred_healthy_trees(kind, rate):
    """The rates are those that the docstring and the room's page state."""
    found = alarms(range(200), kind)
    assert len(found) <= stats.binom.isf(1e-3, 200, rate), found

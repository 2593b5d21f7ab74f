"""Spec strings: parse and print are inverse; nothing but literals gets in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jinit import _specs
from jinit._registry import Registry

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda s: s not in {"and", "as", "if", "in", "is", "or", "not", "def", "del", "for", "try"}
)
VALUES = st.one_of(
    st.integers(-1000, 1000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
    st.text(alphabet="abc xyz'\"", max_size=6),
)


@pytest.mark.slow
@given(NAMES, st.lists(VALUES, max_size=3), st.dictionaries(NAMES, VALUES, max_size=3))
def test_parse_undoes_write(name, args, kwargs):
    spec = _specs.Spec(name, tuple(args), tuple(kwargs.items()))
    assert _specs.parse(str(spec)) == spec


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "a.b",
        "f(x.y)",
        "f(g(1))",
        "f(**d)",
        "f(*a)",
        "f(1",
        "f(lambda: 1)",
        "f(1+x)",
        "a b",
    ],
)
def test_what_is_not_a_name_with_literals_is_refused(text):
    with pytest.raises(ValueError, match=r"initializer: got .* allowed: .* fix: "):
        _specs.parse(text, "initializer")


def test_nothing_is_evaluated():
    with pytest.raises(ValueError, match="allowed"):
        _specs.parse("f(__import__('os').getcwd())")


def test_an_item_is_removed_under_its_alias():
    table = Registry("item of this test", "", {})
    table.register("mine", abs, aliases=("my",))
    table.remove("my")
    assert table.names() == ()
    assert "my" not in table

"""A retired name works with a warning that names its successor."""

import pytest

import jinit

RETIRED = {
    "probes.capture": jinit.frameworks.capture,
    "probes.recommend": jinit.advise.recommend,
    "initializers.mup_learning_rate": jinit.train.mup_learning_rate,
}


@pytest.mark.parametrize("name", RETIRED)
def test_a_retired_name_warns_and_gives_its_successor(name):
    room, _, old = name.partition(".")
    with pytest.warns(DeprecationWarning, match=f"jinit.{name} is now jinit"):
        found = getattr(getattr(jinit, room), old)
    assert found is RETIRED[name]
    assert old not in getattr(jinit, room).__all__


def test_other_names_are_unknown_as_before():
    with pytest.raises(AttributeError, match="no attribute 'captured'"):
        jinit.probes.captured  # noqa: B018

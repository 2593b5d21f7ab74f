"""Lists every initializer by name, with its aliases, formula and source.

A new initializer is a factory and one row; the tests in ``tests/initializers`` run on every row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jax.sharding import NamedSharding, PartitionSpec

from jinit import _specs, errors
from jinit._registry import WORDS, Registry
from jinit.initializers._aliases import check_alias
from jinit.initializers._base import NamedInitializer
from jinit.initializers._bias import class_prior
from jinit.initializers._constant import constant, identity, ones_init, zeros_init
from jinit.initializers._derived import edge_of_chaos, mup, random_walk, scaled_for, siren, spectral
from jinit.initializers._distributions import (
    normal,
    parametrized_truncated_normal,
    rademacher,
    truncated_normal,
    uniform,
    uniform_range,
)
from jinit.initializers._orthogonal import orthogonal, scaled_orthogonal
from jinit.initializers._parts import ALONG, Parts
from jinit.initializers._scaling import (
    fan_avg_normal,
    fan_in_normal,
    fan_in_uniform,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    lecun_normal,
    lecun_uniform,
    variance_scaling,
)
from jinit.initializers._sparse import randomized_asymmetric, sparse
from jinit.initializers._structured import delta_orthogonal, dirac, hadamard, looks_linear
from jinit.typing import Array, DType, Initializer, Key, Shape

Factory = Callable[..., Initializer]


@dataclass(frozen=True)
class Row:
    """The registry's entry for one initializer.

    Attributes:
      name: the canonical name.
      factory: the function that returns the initializer; its parameters are the arguments of the
        spec string.
      formula: the law of one entry; n = fan_in, m = fan_out.
      reference: author, year and equation of the rule.
      aliases: the names in torch, Keras, KotlinDL and the papers.
      example: a spec string with every required argument; empty if no argument is required.
      shape: a shape for examples, (receptive field…, in, out), that the initializer can draw.
    """

    name: str
    factory: Factory
    formula: str
    reference: str
    aliases: tuple[str, ...] = ()
    example: str = ""
    shape: Shape = (10, 1000)


def _kaiming(kind: str) -> tuple[str, ...]:
    return (f"kaiming_{kind}", f"kaiming_{kind}_", f"He{kind.title()}", f"he_{kind}_")


def _xavier(kind: str) -> tuple[str, ...]:
    return (f"xavier_{kind}", f"xavier_{kind}_", f"Glorot{kind.title()}", f"Xavier{kind.title()}")


_GLOROT, _HE = "Glorot & Bengio 2010, eq. 12", "He et al. 2015, eq. 10"
_ALEXNET, _BOOK = "Krizhevsky et al. 2012, sec. 5", "Goodfellow et al. 2016, sec. 8.4"
_BUILT_IN = (
    Row("zeros", zeros_init, "0", _ALEXNET, ("zeros_init", "zeros_", "Zeros")),
    Row("ones", ones_init, "1", _ALEXNET, ("ones_init", "ones_", "Ones")),
    Row("constant", constant, "value", _ALEXNET, ("constant_", "Constant"),
        "constant(value=0.1)"),
    Row("identity", identity, "gain · δ_ij", "Le et al. 2015, sec. 3",
        ("eye_", "Identity", "IdentityInitializer")),
    Row("dirac", dirac, "δ_ij at the centre tap", "Zagoruyko & Komodakis 2017, sec. 3",
        ("dirac_",), shape=(3, 3, 8, 16)),
    Row("normal", normal, "N(mean, stddev²)", _ALEXNET, ("normal_", "RandomNormal")),
    Row("uniform", uniform, "U[0, scale)", _BOOK),
    Row("uniform_range", uniform_range, "U[low, high)", _BOOK, ("uniform_", "RandomUniform")),
    Row("rademacher", rademacher, "±stddev", "Achlioptas 2003, thm. 1.1"),
    Row("truncated_normal", truncated_normal, "mean + stddev · z, lower < z < upper",
        "Johnson et al. 1994, eq. 13.134", ("trunc_normal_", "TruncatedNormal")),
    Row("parametrized_truncated_normal", parametrized_truncated_normal,
        "N(mean, stddev²) given p1 < W < p2", "Johnson et al. 1994, eq. 13.134",
        ("ParametrizedTruncatedNormal",)),
    Row("variance_scaling", variance_scaling, "Var W = scale / fan", _GLOROT,
        ("VarianceScaling",),
        "variance_scaling(scale=2.0, mode=fan_out, distribution=uniform)"),
    Row("lecun_normal", lecun_normal, "Var W = 1/n", "LeCun et al. 1998, eq. 16",
        ("LecunNormal", "LeCunNormal")),
    Row("lecun_uniform", lecun_uniform, "U[±√(3/n)]", "LeCun et al. 1998, eq. 16",
        ("LecunUniform", "LeCunUniform")),
    Row("glorot_normal", glorot_normal, "Var W = 2 gain²/(n+m)", _GLOROT, _xavier("normal")),
    Row("glorot_uniform", glorot_uniform, "U[±gain √(6/(n+m))]",
        "Glorot & Bengio 2010, eq. 16", _xavier("uniform")),
    Row("he_normal", he_normal, "Var W = 2/((1+a²) n)", _HE, _kaiming("normal")),
    Row("he_uniform", he_uniform, "U[±√(6/((1+a²) n))]", _HE, _kaiming("uniform")),
    Row("fan_in_normal", fan_in_normal, "N(0, k/n)", _HE),
    Row("fan_avg_normal", fan_avg_normal, "N(0, 2/(n+m))", _GLOROT),
    Row("fan_in_uniform", fan_in_uniform, "U[±1/√n]", "Glorot & Bengio 2010, eq. 1"),
    Row("scaled_for", scaled_for, "Var W = 1/(E[φ²] n)", "He et al. 2015, eq. 7",
        example="scaled_for(activation=gelu)"),
    Row("edge_of_chaos", edge_of_chaos, "N(0, σ_w²/n), χ₁(σ_w, σ_b) = 1",
        "Schoenholz et al. 2017, sec. 3", example="edge_of_chaos(activation=tanh, sigma_b=0.2)"),
    Row("random_walk", random_walk, "N(0, g²/n), g = √2 exp(1.2/(max(n,6)−2.4))",
        "Sussillo & Abbott 2014, sec. 2"),
    Row("siren", siren, "U[±√(6/n)/ω], first layer U[±1/n]", "Sitzmann et al. 2020, sec. 3.2"),
    Row("spectral", spectral, "N(0, min(1, m/n)/n)", "Yang, Simon & Bernstein 2023, param. 1"),
    Row("mup", mup, "N(0, 1/n), output N(0, 1/n²)", "Yang et al. 2022, table 3"),
    Row("orthogonal", orthogonal, "scale · Q, Q Haar", "Saxe et al. 2013, sec. 3",
        ("orthogonal_", "Orthogonal", "OrthogonalInitializer")),
    Row("scaled_orthogonal", scaled_orthogonal, "gain(φ) √max(1, m/n) · Q",
        "Saxe et al. 2013, sec. 3", ("semi_orthogonal",)),
    Row("delta_orthogonal", delta_orthogonal, "scale · Q at the centre tap",
        "Xiao et al. 2018, alg. 1", shape=(3, 3, 8, 16)),
    Row("hadamard", hadamard, "I, or 2^(−c/2) H where m > n", "Zhao et al. 2021, alg. 1",
        ("zero", "ZerO")),
    Row("looks_linear", looks_linear, "[[W, −W], [−W, W]], W orthogonal",
        "Balduzzi et al. 2017, sec. 4"),
    Row("sparse", sparse, "k of n weights N(0, stddev²), others 0", "Martens 2010, sec. 5",
        ("sparse_",)),
    Row("randomized_asymmetric", randomized_asymmetric,
        "one of n+1 Beta(2, 1), others N(0, 0.6008²/n)", "Lu et al. 2019, sec. 4", ("RAI",)),
    Row("class_prior", class_prior, "b_c = log π_c", "Lin et al. 2017, sec. 3.3",
        example="class_prior(counts=(90.0, 10.0))", shape=(2,)),
)  # fmt: skip

# The built-in names of jinit.calibrate, a later room: sweeps and reports read them as calibrations.
_CALIBRATIONS = (
    "lsuv", "within_layer", "between_layers", "metainit", "gradinit", "fixup", "skipinit", "rezero",
    "antisymmetric", "analytic", "output_bias",
)  # fmt: skip

_REGISTRY: Registry[Row] = Registry(
    "initializer",
    "jinit.initializers.names()",
    {row.name: row for row in _BUILT_IN},
    {alias: row.name for row in _BUILT_IN for alias in row.aliases},
    item_type=Row,
    reserved=(*WORDS, *_CALIBRATIONS),
    beside="calibration",
)


@dataclass(frozen=True)
class _Registered:
    """A function that a registered factory returned; it prints and compares by its spec."""

    name: str
    arguments: tuple[tuple[str, Any], ...]
    factory: Factory
    function: Initializer = field(compare=False)

    @property
    def __name__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return _specs.write(self.name, self.arguments)

    def __call__(
        self,
        key: Key,
        shape: Shape,
        dtype: DType = None,
        out_sharding: NamedSharding | PartitionSpec | None = None,
    ) -> Array:
        if out_sharding is None:
            return self.function(key, shape, dtype)
        return self.function(key, shape, dtype, out_sharding)


def get(initializer: str | Initializer) -> Initializer:
    """The initializer for a spec string; an initializer is returned unchanged.

    Args:
      initializer: ``"he_normal"``, ``"normal(stddev=0.01)"``, an alias from torch, Keras or
        KotlinDL, or any callable ``init(key, shape, dtype)``.

    Returns:
      An initializer; ``str(get(text))`` is the canonical spec string.

    Raises:
      ValueError: the name is unknown (the message offers the nearest), or its factory does not
        take the arguments, or an alias stands for another law in its library than here.
      TypeError: the argument is neither a string nor a callable.

    >>> str(get("kaiming_normal_"))
    'he_normal'
    """
    if not isinstance(initializer, str):
        if isinstance(initializer, type):
            raise errors.wrong_type("initializer", initializer, "an instance", "call the class")
        if callable(initializer):
            return initializer
        raise errors.wrong_type(
            "initializer", initializer, "a name, a spec string or a callable", "try 'he_normal'"
        )
    # Nested: an argument may be a spec string itself, as in scaled_for(leaky_relu(0.2)).
    spec = _specs.parse(initializer, "initializer", nested=True)
    entry = row(spec.name)
    check_alias(spec, entry.name)
    arguments = _specs.bind(spec, entry.factory, "initializer", entry.example)
    result = entry.factory(**arguments)
    if not callable(result):
        raise errors.wrong_type(
            f"factory of {spec.name!r}", result, "init(key, shape, dtype)", "return an initializer"
        )
    if isinstance(result, NamedInitializer | Parts):
        return result
    return _Registered(entry.name, tuple(arguments.items()), entry.factory, result)


def parts(initializers: Sequence[str | Initializer], along: str = "layers") -> Parts:
    """One initializer for each stacked layer, or for each packed block, of a leaf.

    Part i has the bits that its initializer alone would draw there, so that parts that differ only
    in σ differ only by a factor.

    Args:
      initializers: one for each part, in order: spec strings or ``init(key, shape, dtype)``.
      along: ``"layers"``: entries along the batch axes of the leaf's layout, such as layers that
        ``scan`` stacks, experts and heads. ``"blocks"``: the blocks that the layout packs, such as
        gates, or q, k and v; a bias is cut into equal blocks.

    Returns:
      An initializer for :func:`jinit.initialize`, which knows the layout of the leaf.

    Raises:
      ValueError: an unknown name or ``along``. TypeError: not a sequence, or an empty one.

    >>> depth_scaled = parts([f"normal({0.02 / (2 * l) ** 0.5})" for l in (1, 2, 3)])
    >>> str(depth_scaled.initializers[1])
    'normal(stddev=0.01)'
    """
    errors.check_choice("along", along, ALONG)
    if isinstance(initializers, str) or not isinstance(initializers, Sequence) or not initializers:
        raise errors.wrong_type(
            "parts", initializers, "a list of initializers", "parts(['zeros', 'ones'])"
        )
    return Parts(tuple(map(get, initializers)), along)


def row(name: str) -> Row:
    """The registry's row for a name or an alias.

    Raises:
      ValueError: the name is unknown.

    >>> row("HeNormal").formula
    'Var W = 2/((1+a²) n)'
    """
    if name not in _REGISTRY:
        # Names of calibrations belong to a later room, jinit.calibrate; the message points there.
        error = _REGISTRY.unknown(name)
        also = "jinit.calibrate.names() lists initializers that need a model and data"
        raise errors.ValueRefusal(
            error.what, error.got, error.allowed, error.fix, f"{error}; {also}"
        )
    return _REGISTRY.get(name)


def is_name(text: str) -> bool:
    """Whether a text is the name or an alias of an initializer."""
    return text in _REGISTRY


def names() -> tuple[str, ...]:
    """All canonical names, in the order of registration.

    Returns:
      The names without aliases: the built-in ones, then those that :func:`register` added.

    >>> "he_normal" in names()
    True
    """
    return _REGISTRY.names()


def register(
    name: str,
    factory: Factory,
    *,
    formula: str = "—",
    reference: str = "—",
    aliases: tuple[str, ...] = (),
) -> None:
    """Adds an initializer to this process; registering the same one again changes nothing.

    The command line knows the name if it imports the module that registers it: ``jinit sweep
    --import mine``, or an installed package with an entry point in the group ``jinit``.

    Args:
      name: an identifier that is not yet taken, not even by a calibration, and no word of rules
        (``keep``, ``norm``, ``own``).
      factory: a function that returns an initializer, which may be a plain function
        ``(key, shape, dtype) -> array``; its parameters become the arguments of the spec string.
      formula: the law of one entry, printed by :func:`describe`.
      reference: author, year and equation, printed by :func:`describe`.
      aliases: alternative spellings of the name.

    Raises:
      ValueError: the name or an alias is taken, is a word of rules, or is not an identifier.
      TypeError: the factory is not callable.

    >>> register("tiny_normal", lambda: normal(1e-6), aliases=("TinyNormal",))
    >>> str(get("TinyNormal"))
    'normal(stddev=1e-06)'
    >>> _REGISTRY.remove("tiny_normal")
    """
    if not callable(factory):
        raise errors.wrong_type("factory", factory, "a callable", "pass a function")
    _REGISTRY.register(name, Row(name, factory, formula, reference, tuple(aliases)), aliases)

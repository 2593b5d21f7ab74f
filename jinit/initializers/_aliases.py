"""Refuses aliases from other libraries where jinit would draw another law than the library.

An alias never draws another law in silence: if the library's defaults differ from jinit's, the
alias asks for these arguments; arguments of the library are answered with jinit's word for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jinit import errors
from jinit._specs import Spec, write


@dataclass(frozen=True)
class Foreign:
    """How other libraries use the aliases of one initializer.

    Attributes:
      needs: alias → the arguments that it must be given, because defaults differ.
      defaults: the defaults of the libraries, in words.
      words: argument of a library → jinit's word for it.
      named: whether arguments must be named, because their order differs.
      values: value of an argument that is another law in a library, or unknown here → library →
        jinit's word for it.
    """

    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    defaults: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    named: bool = False
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


_HE = Foreign(words={"a": "negative_slope", "nonlinearity": "scaled_for(activation=…)"}, named=True)
_GLOROT = Foreign(named=True)
_ORTHOGONAL = Foreign(words={"gain": "scale"})
_FOREIGN = {
    "normal": Foreign(
        {"normal_": ("stddev",), "RandomNormal": ("stddev",)},
        "torch, Haiku and KotlinDL draw σ = 1, Keras σ = 0.05, jinit's normal σ = 0.01",
        {"std": "stddev"},
        named=True,
    ),
    "uniform_range": Foreign(
        {"uniform_": ("low", "high"), "RandomUniform": ("low", "high")},
        "torch, Haiku and KotlinDL draw from [0, 1), Keras and jinit from [-0.05, 0.05)",
        {"a": "low", "b": "high", "minval": "low", "maxval": "high",
         "minVal": "low", "maxVal": "high"},
        named=True,
    ),
    "truncated_normal": Foreign(
        {"trunc_normal_": ("stddev", "lower", "upper"), "TruncatedNormal": ("stddev",)},
        "torch and Haiku draw σ = 1, Keras σ = 0.05, jinit's truncated_normal σ = 0.01; torch's "
        "bounds are values, jinit's are in units of stddev, from the mean",
        {"std": "stddev", "a": "lower = (a - mean)/std", "b": "upper = (b - mean)/std"},
        named=True,
    ),
    "constant": Foreign(words={"val": "value", "constantValue": "value"}),
    "variance_scaling": Foreign(
        words={"input_axes": "in_axis", "output_axes": "out_axis"},
        values={
            "normal": {"Keras": "truncated_normal", "Haiku": "normal"},
            "untruncated_normal": {"Keras and KotlinDL": "normal"},
        },
    ),
    "glorot_normal": _GLOROT,
    "glorot_uniform": _GLOROT,
    "he_normal": _HE,
    "he_uniform": _HE,
    "orthogonal": _ORTHOGONAL,
    "delta_orthogonal": _ORTHOGONAL,
    "sparse": Foreign(words={"std": "stddev"}),
}  # fmt: skip
_EVERYWHERE = {"seed": "the key of the draw", "generator": "the key of the draw"}
# JAX's own other names; their arguments are those of the canonical name.
_OF_JAX = ("kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform")


def check_alias(spec: Spec, name: str) -> None:
    """Refuses a spec string by another library's name that would not draw that library's law.

    Args:
      spec: the parsed spec string, by a canonical name or by an alias.
      name: the canonical name.

    Raises:
      ValueError: an argument under the library's word, arguments in the library's order, a value
        that means another law there, or an argument left to its default where the libraries'
        defaults differ.

    >>> check_alias(Spec("normal_", (), (("stddev", 1.0),)), "normal")
    """
    if spec.name == name or spec.name in _OF_JAX:
        return
    foreign = _FOREIGN.get(name, Foreign())
    given = dict(spec.kwargs)
    words = {word: ours for word, ours in {**_EVERYWHERE, **foreign.words}.items() if word in given}
    what = f"initializer {spec.name!r}"
    if words:
        said = "; ".join(f"{word!r} is {ours} here" for word, ours in words.items())
        raise errors.refusal(what, str(spec), f"the arguments of {name!r}", said)
    for value, laws in foreign.values.items():
        if value in (*spec.args, *given.values()):
            said = " or ".join(
                f"{_replaced(spec, name, value, ours)} for the law of {library}"
                for library, ours in laws.items()
            )
            allowed = f"the words of {name!r}, because {value!r} is another law in some libraries"
            raise errors.refusal(what, str(spec), allowed, f"write {said}")
    needs = foreign.needs.get(spec.name, ())
    example = write(name, tuple((need, _EXAMPLES[need]) for need in needs))
    if spec.args and foreign.named:
        raise errors.refusal(
            what, str(spec), "named arguments: their order differs between libraries",
            f"name them as {name!r} does" + (f", as in {example}" if needs else ""),
        )  # fmt: skip
    missing = [need for need in needs if need not in given]
    if missing:
        raise errors.refusal(
            what, str(spec), f"{spec.name} with {', '.join(needs)}: {foreign.defaults}",
            f"write {example} with your values",
        )  # fmt: skip


def _replaced(spec: Spec, name: str, value: str, ours: str) -> Spec:
    """The spec string by the canonical name with another word for one value."""
    args = tuple(ours if arg == value else arg for arg in spec.args)
    return Spec(name, args, tuple((key, ours if x == value else x) for key, x in spec.kwargs))


_EXAMPLES = {"stddev": 1.0, "low": 0.0, "high": 1.0, "lower": -2.0, "upper": 2.0}

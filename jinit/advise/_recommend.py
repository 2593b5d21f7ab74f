"""Ranks initializers for a network by measuring sampled networks; theory predicts the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from jinit import errors, initializers, theory
from jinit.activations import get as get_activation
from jinit.frameworks import capture
from jinit.models import MLP
from jinit.parameters import initialize
from jinit.probes import Profile, propagation, random_projection

# Candidates for every network.
_COMMON = ("lecun_normal", "glorot_uniform", "he_normal", "he_uniform", "orthogonal")


@dataclass(frozen=True)
class Candidate:
    """One initializer, measured in one network. A smaller score is better.

    Layers 1 and D are the first and the last hidden layer.

    Attributes:
      initializer: spec string of the kernels' initializer.
      bias_initializer: spec string of the biases' initializer.
      score: |measured_forward| + |measured_backward| + spread + angle; inf if a signal or a
        gradient is 0 or overflows in any network.
      forward: ln(E z_D² / E z_1²) by theory; NaN if theory does not cover the initializer.
      backward: ln(E‖∂L/∂z_1‖² / E‖∂L/∂z_D‖²) by theory; NaN as ``forward``.
      measured_forward: the measured counterpart of ``forward``, as a mean over seeds.
      measured_backward: the measured counterpart of ``backward``, as a mean over seeds.
      spread: standard deviation over seeds of ln E z_D².
      angle: mean over seeds of max(0, ln((1 − c_1)/(1 − c_D))), where c_l is the mean correlation
        of two inputs at layer l; large if inputs become parallel.
      correlation: mean over seeds of c_D.
      dead: share of networks in which a signal or a gradient is 0.
      reason: one sentence that explains the score.
      code: the line of Python that draws these weights.
    """

    initializer: str
    bias_initializer: str
    score: float
    forward: float
    backward: float
    measured_forward: float
    measured_backward: float
    spread: float
    angle: float
    correlation: float
    dead: float
    reason: str
    code: str


def recommend(
    model: MLP,
    features: int,
    *,
    candidates: Sequence[str] = (),
    seeds: int = 16,
    batch_size: int = 32,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Candidate]:
    """Ranks initializers for a network by how well they keep signals, gradients and angles.

    Every candidate gets ``seeds`` networks. The score adds up, from the first to the last hidden
    layer, the logarithmic change of E z² and of E‖∂L/∂z‖², the spread between seeds and the loss
    of angle between inputs (:class:`Candidate` has the formulas). L is a random projection of the
    outputs.

    Args:
      model: the MLP; its own initializers are ignored.
      features: number of input features, ≥ 1.
      candidates: spec strings of kernel initializers, measured with zero biases. Empty: the common
        defaults of frameworks and, if the activation is given by name, ``scaled_for`` and
        ``scaled_orthogonal``, Gaussian and orthogonal kernels on its edge of chaos for up to four
        σ_b, and orthogonal kernels at its isometric point if there is one.
      seeds: number of networks per candidate, ≥ 2.
      batch_size: number of inputs, drawn from N(0, 1), ≥ 2.
      progress: called as ``progress(done, total, initializer)`` before each candidate.

    Returns:
      Candidates, best first. If a signal or a gradient is 0 or overflows, the score is inf, and
      measured values may be infinite or NaN.

    Raises:
      TypeError: a model other than an MLP.
      ValueError: a network without hidden layers, an unknown initializer, or a number out of range.

    Reference: Schoenholz et al. 2017, sections 3 and 4 (signal and gradient); Hanin & Rolnick 2018
    (spread).

    >>> model = MLP(features=(32,) * 8 + (2,))
    >>> best = recommend(model, 32, candidates=("he_normal", "lecun_normal"))
    >>> best[0].initializer, round(best[1].forward / math.log(2))
    ('he_normal', -7)
    """
    if not isinstance(model, MLP):
        raise errors.wrong_type(
            "model",
            model,
            "a jinit.models.MLP, for which rules and theory are known",
            "MLP(features=(64, 64, 10)); probes.verdict judges any model's own rules",
        )
    errors.check_integer("features", features, low=1, fix="use 64")
    errors.check_integer("seeds", seeds, low=2, fix="use 16")
    errors.check_integer("batch_size", batch_size, low=2, fix="use 32")
    if model.depth < 1:
        raise errors.refusal("depth", 0, "at least one hidden layer", "use depth 2 or more")
    chosen = _candidates(model, candidates)
    x = jax.random.normal(jax.random.key(0), (batch_size, features))
    captured, loss = capture(model, x), random_projection(jax.random.key(1))
    measure = jax.jit(lambda params: propagation(captured, params, x, loss))
    ranked = []
    for done, (spec, bias) in enumerate(chosen):
        if progress is not None:
            progress(done, len(chosen), spec)
        rules = {"*/kernel": spec, "*/bias": bias}
        if model.layer_norm:
            rules |= {"*/scale": "ones", "*/shift": "zeros"}
        # Drawn leaf by leaf: compiling one program per candidate would take longer than drawing.
        profiles = [
            measure(initialize(jax.random.key(seed), captured.params, rules))
            for seed in range(seeds)
        ]
        stacked: Profile = jax.tree.map(lambda *rows: np.stack(rows), *profiles)
        ranked.append(_scored(model, x, spec, bias, stacked))
    return sorted(ranked, key=lambda candidate: (candidate.score, candidate.dead))


def _candidates(model: MLP, given: Sequence[str]) -> list[tuple[str, str]]:
    """Distinct pairs of kernel and bias spec strings."""
    if given:
        return [
            (spec, "zeros") for spec in dict.fromkeys(str(initializers.get(one)) for one in given)
        ]
    name = get_activation(model.activation).name
    chosen = [(str(initializers.get(spec)), "zeros") for spec in _COMMON]
    if not isinstance(model.activation, str):
        return chosen
    chosen.append((f"scaled_for({name})", "zeros"))
    chosen.append((f"scaled_orthogonal({name})", "zeros"))
    for sigma_b in (0.0, 0.1, 0.3, 1.0):
        try:
            sigma_w = theory.edge_of_chaos(model.activation, sigma_b)
        except ValueError:
            continue  # There is no stable edge of chaos for this σ_b.
        bias = f"normal({sigma_b:g})" if sigma_b else "zeros"
        chosen.append((f"edge_of_chaos({name}, sigma_b={sigma_b:g})", bias))
        chosen.append((_orthogonal(sigma_w), bias))
    if theory.isometry(model.activation).attainable:
        try:
            sigma_w, sigma_b = theory.isometric_point(model.activation, model.depth)
        except ValueError:
            pass  # The network is too deep for isometry with this activation.
        else:
            chosen.append((_orthogonal(sigma_w), f"normal({sigma_b:.3g})"))
    kept: list[tuple[str, str]] = []
    for spec, bias in chosen:
        pair = str(initializers.get(spec)), bias
        if pair not in kept:
            kept.append(pair)
    return kept


def _orthogonal(sigma_w: float) -> str:
    scale = f"{sigma_w:.6g}"
    return "orthogonal" if scale == "1" else f"orthogonal({scale})"


def _scored(model: MLP, x: jax.Array, spec: str, bias: str, profile: Profile) -> Candidate:
    """The candidate for a profile ``(seeds, layers)`` of its networks."""
    last = model.depth - 1
    length, norm = (
        np.asarray(values, np.float64)[:, : last + 1]
        for values in (profile.second_moment, profile.gradient_norm)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        square, slope = np.log(length), 2 * np.log(norm)
        forward = float((square[:, last] - square[:, 0]).mean())
        backward = float((slope[:, 0] - slope[:, last]).mean())
        spread = float(square[:, last].std(ddof=1))
    # ln 0 makes the factors infinite or NaN; zeros are therefore counted separately.
    zero = {"signal": (length == 0).any(1), "gradient": (norm == 0).any(1)}
    lost = [
        f"{what} is 0 in {100 * share.mean():.0f} % of networks"
        for what, share in zero.items()
        if share.any()
    ]
    correlation = np.asarray(profile.correlation, np.float64)[:, : last + 1]
    apart = np.log(np.maximum(1 - correlation, np.finfo(np.float32).eps))
    angle = float(np.maximum(apart[:, 0] - apart[:, last], 0.0).mean())
    expected = _expected(model, x, spec, bias)
    score = abs(forward) + abs(backward) + spread + angle
    parallel = float(correlation[:, last].mean())
    return Candidate(
        initializer=spec,
        bias_initializer=bias,
        score=score if math.isfinite(score) and not lost else math.inf,
        forward=expected[0],
        backward=expected[1],
        measured_forward=forward,
        measured_backward=backward,
        spread=spread,
        angle=angle,
        correlation=parallel,
        dead=float((zero["signal"] | zero["gradient"]).mean()),
        reason="; ".join(lost) or _reason(forward, backward, spread, parallel),
        code=_code(spec, bias),
    )


def _expected(model: MLP, x: jax.Array, spec: str, bias: str) -> tuple[float, float]:
    """:attr:`Candidate.forward` and :attr:`Candidate.backward`."""
    try:
        prediction = theory.predict(
            model, x, kernel=initializers.get(spec), bias=initializers.get(bias)
        )
    except (ValueError, TypeError):
        # The theory of random weights does not cover constant or deterministic kernels.
        return math.nan, math.nan
    last = model.depth - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        return (
            float(np.log(prediction.second_moment[last] / prediction.second_moment[0])),
            float(np.log(prediction.gradient[0] / prediction.gradient[last])),
        )


def _reason(forward: float, backward: float, spread: float, correlation: float) -> str:
    """Says what grows or shrinks, how much seeds differ, and whether inputs become parallel."""
    reasons = []
    for value, what in ((forward, "signal"), (backward, "gradient")):
        if not math.isfinite(value) or abs(value) > 600:
            reasons.append(f"{what} leaves float32")
        elif abs(value) > math.log(10):
            verb = "grows" if value > 0 else "shrinks"
            reasons.append(f"{what} {verb} 10^{abs(value) / math.log(10):.1f}")
    if not reasons:
        reasons.append("keeps signal and gradient within a factor 10")
    if spread > 1:
        reasons.append(f"seeds differ by e^{spread:.1f}")
    if correlation > 0.999:
        reasons.append("inputs become parallel")
    return "; ".join(reasons)


def _code(spec: str, bias: str) -> str:
    return f'jinit.initialize(key, shapes, {{"*/kernel": "{spec}", "*/bias": "{bias}"}})'

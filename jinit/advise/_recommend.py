"""Which initializer a network should have: by theory, and by measuring networks of that kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from jinit import errors, initializers, theory
from jinit.activations import get as get_activation
from jinit.frameworks._capture import capture
from jinit.models import MLP
from jinit.parameters import initialize
from jinit.probes._losses import random_projection
from jinit.probes._propagation import Profile, propagation

_COMMON = ("lecun_normal", "glorot_uniform", "he_normal", "he_uniform", "orthogonal")


@dataclass(frozen=True)
class Candidate:
    """One initializer for one network; the smaller the score, the better.

    Attributes:
      initializer: its spec string.
      bias_initializer: of the biases that belong to it.
      score: |ln forward| + |ln backward| + spread + angle, measured; forward and backward are the
        factors by which E z² and E‖∂L/∂z‖² change from the first to the last hidden layer.
      forward, backward: ln of those factors by theory; NaN where the theory refuses.
      measured_forward, measured_backward: the same, means over seeds of the logarithms.
      spread: standard deviation over seeds of ln E z² of the last hidden layer.
      angle: how much closer two inputs come: mean over seeds of ln (1 − c)/(1 − c′), ≥ 0, c and c′
        their correlation at the first and last hidden layer.
      correlation: c′, its mean over seeds.
      dead: share of networks in which a signal or a gradient is 0.
      reason: one sentence.
      code: the line that makes it.
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
    """Ranks initializers for a network: what theory expects and what sampled networks do.

    Args:
      model: the MLP; its own initializers play no part.
      features: number of input features.
      candidates: spec strings; empty: the field's defaults, ``scaled_for`` the activation, scaled
        orthogonal ones, and ``edge_of_chaos`` where the activation has one.
      seeds: networks to measure per candidate, ≥ 2.
      batch_size: inputs, N(0, 1), ≥ 2.
      progress: called as ``progress(done, of, initializer)`` before each candidate.

    Returns:
      Candidates, the best first. Where a signal or a gradient is 0 or overflows, the score is inf
      and what was measured NaN.

    Raises:
      ValueError: a network without hidden layers, an unknown initializer, numbers out of range.

    >>> model = MLP(features=(32,) * 8 + (2,))
    >>> best = recommend(model, 32, candidates=("he_normal", "lecun_normal"))
    >>> best[0].initializer, round(best[1].forward / math.log(2))
    ('he_normal', -7)
    """
    errors.check_integer("features", features, low=1, fix="use 64")
    errors.check_integer("seeds", seeds, low=2, fix="use 16")
    errors.check_integer("batch_size", batch_size, low=2, fix="use 32")
    if model.depth < 1:
        raise errors.refusal("depth", 0, "at least one hidden layer", "use depth 2 or more")
    chosen = _candidates(model, candidates)
    x = jax.random.normal(jax.random.key(0), (batch_size, features))
    captured, loss = capture(model, x), random_projection(jax.random.key(1))
    measure = jax.jit(lambda params: propagation(captured, params, x, loss))
    found = []
    for done, (spec, bias) in enumerate(chosen):
        if progress is not None:
            progress(done, len(chosen), spec)
        rules = {"*/kernel": spec, "*/bias": bias}
        if model.layer_norm:
            rules |= {"*/scale": "ones", "*/shift": "zeros"}
        # Leaf by leaf: a program that draws all leaves of a candidate would take longer to compile
        # than to run.
        profiles = [
            measure(initialize(jax.random.key(seed), captured.params, rules))
            for seed in range(seeds)
        ]
        stacked: Profile = jax.tree.map(lambda *rows: np.stack(rows), *profiles)
        found.append(_judged(model, x, spec, bias, stacked))
    return sorted(found, key=lambda each: (each.score, each.dead))


def _candidates(model: MLP, given: Sequence[str]) -> list[tuple[str, str]]:
    """Kernels and the biases that belong to them, each once."""
    if given:
        return [(str(initializers.get(spec)), "zeros") for spec in given]
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
            continue  # none, or an unstable one
        bias = f"normal({sigma_b:g})" if sigma_b else "zeros"
        chosen.append((f"edge_of_chaos({name}, sigma_b={sigma_b:g})", bias))
        chosen.append((_orthogonal(sigma_w), bias))
    if theory.isometry(model.activation).attainable:
        sigma_w, sigma_b = theory.isometric_point(model.activation, model.depth)
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


def _judged(model: MLP, x: jax.Array, spec: str, bias: str, profile: Profile) -> Candidate:
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
    # No logarithm of a factor says that nothing gets through.
    zero = {"signal": (length == 0).any(1), "gradient": (norm == 0).any(1)}
    gone = [
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
        score=score if math.isfinite(score) and not gone else math.inf,
        forward=expected[0],
        backward=expected[1],
        measured_forward=forward,
        measured_backward=backward,
        spread=spread,
        angle=angle,
        correlation=parallel,
        dead=float((zero["signal"] | zero["gradient"]).mean()),
        reason="; ".join(gone) or _reason(forward, backward, spread, parallel),
        code=_code(spec, bias),
    )


def _expected(model: MLP, x: jax.Array, spec: str, bias: str) -> tuple[float, float]:
    try:
        found = theory.predict(model, x, kernel=initializers.get(spec), bias=initializers.get(bias))
    except (ValueError, TypeError):
        # Constants, deterministic kernels: no theory of random weights.
        return math.nan, math.nan
    last = model.depth - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        return (
            float(np.log(found.second_moment[last] / found.second_moment[0])),
            float(np.log(found.gradient[0] / found.gradient[last])),
        )


def _reason(forward: float, backward: float, spread: float, correlation: float) -> str:
    parts = []
    for value, what in ((forward, "signal"), (backward, "gradient")):
        if not math.isfinite(value) or abs(value) > 600:
            parts.append(f"{what} leaves float32")
        elif abs(value) > math.log(10):
            verb = "grows" if value > 0 else "shrinks"
            parts.append(f"{what} {verb} 10^{abs(value) / math.log(10):.1f}")
    if not parts:
        parts.append("keeps signal and gradient within a factor 10")
    if spread > 1:
        parts.append(f"seeds differ by e^{spread:.1f}")
    if correlation > 0.999:
        parts.append("inputs become parallel")
    return "; ".join(parts)


def _code(spec: str, bias: str) -> str:
    return f'jinit.initialize(key, shapes, {{"*/kernel": "{spec}", "*/bias": "{bias}"}})'

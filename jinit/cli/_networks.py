"""Defines ``jinit probe``, ``predict``, ``phase`` and ``recommend``: networks before training."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

from jinit import errors
from jinit.cli._options import (
    NetworkOptions,
    PhaseOptions,
    PredictOptions,
    ProbeOptions,
    RecommendOptions,
)
from jinit.cli._output import dump, write_picture
from jinit.findings import all_ok

if TYPE_CHECKING:
    from jinit.models import MLP
    from jinit.probes import Profile
    from jinit.probes._beside import Beside
    from jinit.typing import Array


def probe(network: ProbeOptions = ProbeOptions()) -> int:
    """Measures the signal and the gradient at each layer before training, and reports faults.

    Exit code 0 if the network is healthy, 1 if something is wrong.

    Example: jinit probe --initializer glorot_uniform --activation sigmoid --depth 20 --width 64
    """
    errors.check_integer("depth", network.depth, low=0, fix="use 10")
    errors.check_integer("seeds", network.seeds, low=1, fix="use 64")
    from jinit import data, frameworks, probes, report
    from jinit.models import MLP
    from jinit.report import plots
    from jinit.report.plots._figure import check_picture

    if network.plot is not None:
        check_picture(network.plot)
    source = data.get(network.dataset)
    if source.task == "regression":
        raise errors.refusal("dataset", network.dataset, "a data set with classes", "try 'digits'")
    errors.check_integer(
        "batch_size", network.batch_size, low=2, high=len(source.x_train), fix="use 64"
    )
    x, labels = source.spread(network.batch_size)
    model = MLP(
        features=(*[network.width] * network.depth, source.outputs),
        activation=network.activation,
        residual=network.residual,
        layer_norm=network.layer_norm,
    )
    captured = frameworks.capture(model, x)
    rules = {"*/kernel": network.initializer, "*/bias": network.bias_initializer}
    if network.layer_norm and network.depth:
        rules |= {"*/scale": "ones", "*/shift": "zeros"}
    profile = probes.ensemble(
        captured,
        rules,
        x,
        probes.cross_entropy(labels),
        seeds=network.seeds,
        activation=network.activation,
    )
    findings = probes.verdict(captured, profile, activation=network.activation)
    against = _against_theory(network, model, x, profile) if network.theory else None
    if network.json:
        values = report.to_json(profile, model=captured, findings=findings)
        dump(values if against is None else values | {"theory": dataclasses.asdict(against)})
    else:
        report.show(profile, model=captured, findings=findings)
        if against is not None:
            report.show(against)
    if network.plot is not None:
        ax = plots.layer_profile(profile)
        ax.set_title(_title(network.initializer, network), loc="left", fontsize=10)
        write_picture(ax, network.plot)
    return 0 if all_ok(findings) else 1


def _against_theory(network: ProbeOptions, model: MLP, x: Array, profile: Profile) -> Beside:
    """Compares the measured profile with the predicted one."""
    from jinit import initializers, probes, theory

    errors.check_integer("seeds", network.seeds, low=2, fix="use 64 with --theory")
    kernel, bias = (
        initializers.get(name) for name in (network.initializer, network.bias_initializer)
    )
    return probes.beside(profile, theory.predict(model, x, kernel=kernel, bias=bias))


def predict(
    network: NetworkOptions = NetworkOptions(), weights: PredictOptions = PredictOptions()
) -> int:
    """Predicts E z², correlations and gradients of every layer by theory, without drawing weights.

    Exit code 0 if the network is healthy, 1 if something is wrong.

    Example: jinit predict --activation tanh --initializer he_normal --depth 100 --width 256
    """
    model, features = _network(network)
    from jinit import initializers, report, theory

    if weights.plot is not None:
        from jinit.report import plots
        from jinit.report.plots._figure import check_picture

        check_picture(weights.plot)
    kernel, bias = (
        initializers.get(name) for name in (weights.initializer, weights.bias_initializer)
    )
    prediction = theory.predict(model, features, kernel=kernel, bias=bias)
    if weights.json:
        dump(report.to_json(prediction))
    else:
        report.show(prediction)
    if weights.plot is not None:
        title = _title(weights.initializer, network)
        write_picture(plots.prediction(prediction, title=title), weights.plot)
    return 0 if all_ok(prediction.findings) else 1


def phase(grid: PhaseOptions = PhaseOptions()) -> int:
    """Draws the phase diagram of an activation: edge of chaos, depth scales, and an initializer.

    Example: jinit phase --activation tanh --initializer he_normal --out phase.png
    """
    import numpy as np

    errors.check_integer("points", grid.points, low=2, high=2000, fix="use 200")
    errors.check_integer("width", grid.width, low=1, fix="use 256")
    from jinit import initializers, theory
    from jinit.report import plots
    from jinit.report.plots._figure import check_picture

    check_picture(grid.out)
    sides = []
    for name, (low, high), least in (
        ("weight_variance", grid.weight_variance, 1e-6),
        ("bias_variance", grid.bias_variance, 0.0),
    ):
        errors.check_number(name, low, low=least, fix="give two variances, the smaller one first")
        errors.check_number(name, high, low=low, open_low=True, fix="give the smaller one first")
        sides.append(np.sqrt(np.linspace(low, high, grid.points)))
    mark = None
    if grid.initializer is not None:
        law = initializers.get(grid.initializer).law((grid.width, grid.width))  # type: ignore[attr-defined]
        bias = initializers.get(grid.bias_initializer).law((grid.width,))  # type: ignore[attr-defined]
        mark = (grid.width * law.stddev**2, bias.stddev**2 + bias.mean**2, grid.initializer)
        for name, value, (low, high) in zip(
            ("weight-variance", "bias-variance"), mark,
            (grid.weight_variance, grid.bias_variance), strict=False,
        ):  # fmt: skip
            if not low <= value <= high:
                print(f"{grid.initializer} is outside the picture: {value:.4g}; widen --{name}",
                      file=sys.stderr)  # fmt: skip
    diagram = theory.phase_diagram(grid.activation, *sides)
    files = plots.save(plots.phase_diagram(diagram, mark=mark), grid.out)
    if grid.json:
        scales = None
        if mark is not None:
            at = theory.depth_scales(grid.activation, mark[0] ** 0.5, mark[1] ** 0.5)
            scales = {name: float(value) for name, value in dataclasses.asdict(at).items()}
        names = [str(file) for file in files]
        dump({"activation": diagram.activation, "mark": mark, "scales": scales, "files": names,
              "weight_variance": diagram.sigma_w**2, "bias_variance": diagram.sigma_b**2,
              "trainable_depth": diagram.scales.trainable_depth,
              "critical_line": diagram.critical_line(),
              "divergence_line": diagram.divergence_line()})  # fmt: skip
    else:
        print(f"{diagram.activation}: {' and '.join(str(file) for file in files)} written")
    return 0


def recommend(
    network: NetworkOptions = NetworkOptions(), candidates: RecommendOptions = RecommendOptions()
) -> int:
    """Ranks initializers by measuring networks, with theory beside, and prints the code to use.

    Example: jinit recommend --activation gelu --depth 50 --width 512
    """
    model, features = _network(network)
    from jinit import advise, report

    ranked = advise.recommend(
        model,
        features,
        candidates=candidates.initializer,
        seeds=candidates.seeds,
        progress=_say if sys.stderr.isatty() else None,
    )
    if candidates.json:
        dump([dataclasses.asdict(candidate) for candidate in ranked])
    else:
        report.show(ranked)
    return 0


def _title(initializer: str, network: NetworkOptions | ProbeOptions) -> str:
    """The title of a picture: initializer, activation, depth × width, and any extra structure."""
    parts = [initializer, network.activation, f"{network.depth} × {network.width}"]
    parts += ["residual"] if network.residual else []
    parts += ["layer normalization"] if network.layer_norm else []
    return ", ".join(parts)


def _say(done: int, total: int, name: str) -> None:
    """Overwrites one line of progress on stderr."""
    print(f"\r\x1b[2K[{done + 1}/{total}] {name}", end="", file=sys.stderr, flush=True)
    if done + 1 == total:
        print(file=sys.stderr)


def _network(options: NetworkOptions) -> tuple[MLP, int]:
    """The MLP of the options and its number of input features."""
    errors.check_integer("depth", options.depth, low=0, fix="use 10")
    for name in ("width", "outputs"):
        errors.check_integer(name, getattr(options, name), low=1, fix="use 64")
    features = options.width if options.inputs is None else options.inputs
    errors.check_integer("inputs", features, low=1, fix="use 64")
    from jinit.models import MLP

    widths = (*[options.width] * options.depth, options.outputs)
    model = MLP(
        features=widths,
        activation=options.activation,
        residual=options.residual,
        layer_norm=options.layer_norm,
    )
    model._check()
    return model, features

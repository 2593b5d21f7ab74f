"""Turns any result of jinit into plain values for JSON. Needs neither rich nor matplotlib."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jinit import errors
from jinit.findings import Finding
from jinit.report._intervals import intervals
from jinit.results import Table, compare, summarize
from jinit.results._metrics import metric_for
from jinit.results._verdict import Comparison

if TYPE_CHECKING:
    from jinit.frameworks import Captured
    from jinit.probes import Profile
    from jinit.theory._predict import Prediction


def to_json(
    result: Any,
    *,
    baseline: str | None = None,
    metric: str | None = None,
    model: Captured | None = None,
    findings: Sequence[Finding] | None = None,
    real: Callable[[float], float | str | None] | None = None,
) -> Any:
    """Turns a result into dicts, lists, numbers, text and None, which strict JSON can hold.

    Args:
      result: a Table, Prediction or Profile; otherwise a nest of dicts, lists, tuples and
        dataclasses with arrays, numbers, text or None at the leaves, so all other results of jinit.
      baseline: for a Table, the arm to compare with; None compares nothing.
      metric: for a Table, the metric to summarize and compare; None is ``test_accuracy``, or
        ``test_loss`` if the task has no accuracy.
      model: for a Profile, the captured model that was measured; the model names the layers.
      findings: for a Profile, from :func:`jinit.probes.verdict`.
      real: converts each float; None turns NaN and infinities into None, which JSON cannot hold.

    Returns:
      A nest of dicts with string keys, lists, numbers, text and None. A Table gives the keys
      metric, summary, comparisons, columns, curves, curve_steps, timings and settings; a Prediction
      layers, scales, findings and notes; a Profile seeds, layers and findings, where each number of
      a layer is a median over seeds with its 95 % interval.

    Raises:
      ValueError: an option that belongs to another kind of result; an unknown metric or baseline.
      TypeError: a Profile without ``model``.

    >>> import numpy as np
    >>> to_json({"loss": np.array([0.5, np.inf]), "shape": (2, 3)})
    {'loss': [0.5, None], 'shape': [2, 3]}
    """
    of_profile = {"model": model, "findings": findings}
    check_options(result, {"baseline": baseline, "metric": metric}, of_profile)
    if isinstance(result, Table):
        result = table_json(
            result, metric="test_accuracy" if metric is None else metric, baseline=baseline
        )
    elif _kind(result) == "Profile":
        assert model is not None  # checked above
        result = profile_json(model, result, list(findings or []))
    elif _kind(result) == "Prediction":
        result = prediction_json(result)
    return plain(result, real or finite_or_none)


def check_options(
    result: object, of_table: Mapping[str, object], of_profile: Mapping[str, object]
) -> None:
    """Raises if an option is given to a result of another kind, or a Profile has no model."""
    for kind, options in (("Table", of_table), ("Profile", of_profile)):
        given = [name for name, value in options.items() if value is not None]
        if given and _kind(result) != kind:
            raise errors.refusal(
                given[0],
                f"a {type(result).__name__}",
                f"an option of a {kind}",
                f"leave {' and '.join(given)} out",
            )
    findings = of_profile["findings"]
    if findings is not None and not (
        isinstance(findings, list | tuple) and all(isinstance(item, Finding) for item in findings)
    ):
        raise errors.wrong_type("findings", findings, "a list of findings", "probes.verdict(…)")
    if _kind(result) == "Profile" and _kind(of_profile["model"]) != "Captured":
        raise errors.wrong_type(
            "model",
            of_profile["model"],
            "the captured model, which names the layers of a Profile",
            "pass model=captured",
        )


def _kind(result: object) -> str:
    """The name of a class of jinit; "" for others. Compared by name: a table needs no JAX."""
    kind = type(result)
    return kind.__name__ if kind.__module__.startswith("jinit.") else ""


def finite_or_none(value: float) -> float | None:
    """``value``, or None for NaN and infinities, which JSON cannot hold."""
    return value if math.isfinite(value) else None


def plain(value: Any, real: Callable[[float], float | str | None] = finite_or_none) -> Any:
    """Replaces arrays, dataclasses, tuples and NumPy numbers by values that strict JSON can hold.

    Args:
      value: a nest of dicts, lists, tuples and dataclasses, with arrays, numbers, text or None at
        the leaves.
      real: converts each float; the default turns NaN and infinities into None.

    Returns:
      A nest of dicts with string keys, lists, numbers, text and None.

    >>> import numpy as np
    >>> plain({"loss": np.array([0.5, np.inf]), "shape": (2, 3)})
    {'loss': [0.5, None], 'shape': [2, 3]}
    """
    if isinstance(value, dict):
        return {str(key): plain(item, real) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, real) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist(), real)
    if isinstance(value, float):
        return real(value)
    if isinstance(value, Comparison):
        return plain(_comparison_json(value), real)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value), real)
    return value


def table_json(
    table: Table, *, metric: str | None = None, baseline: str | None = None
) -> dict[str, Any]:
    """The runs of a sweep, their summary, the comparisons and the settings, for JSON.

    Args:
      table: from :func:`jinit.run`.
      metric: the metric to summarize and compare; a task without accuracy gets ``test_loss``.
      baseline: the arm to compare with; None compares nothing.

    Returns:
      A dict with the keys metric, summary, comparisons, columns, curves, curve_steps, timings and
      settings; NaN and infinities are kept (:func:`plain` replaces them).

    >>> import numpy as np
    >>> columns = {"initializer": np.array(["a", "a"]), "test_accuracy": np.array([0.4, 0.6]),
    ...            "diverged": np.zeros(2, bool), "steps_to_target": np.array([5.0, np.inf])}
    >>> values = table_json(Table(columns, ("initializer",), {}, np.array([])))
    >>> values["summary"][0]["metric"]["estimate"], values["columns"]["test_accuracy"]
    (0.5, [0.4, 0.6])
    """
    metric = metric_for(table, metric)
    comparisons = [] if baseline is None else compare(table, metric, baseline=baseline)
    return {
        "metric": metric,
        "summary": [dataclasses.asdict(item) for item in summarize(table, metric)],
        "comparisons": [_comparison_json(item) for item in comparisons],
        **runs_json(table),
    }


def runs_json(table: Table) -> dict[str, Any]:
    """What a table holds, without its summary, for JSON."""
    return {
        "columns": {name: column.tolist() for name, column in table.columns.items()},
        "curves": {name: curve.tolist() for name, curve in table.curves.items()},
        "curve_steps": table.curve_steps.tolist(),
        "timings": {"seconds": table.settings.get("seconds"), "runs": len(table)},
        "settings": dict(table.settings),
    }


def _comparison_json(item: Comparison) -> dict[str, Any]:
    return dataclasses.asdict(item) | {"sentence": item.sentence}


def profile_json(captured: Captured, profile: Profile, findings: list[Finding]) -> dict[str, Any]:
    """The measured profile of all layers and the findings, for JSON.

    Args:
      captured: the model that was measured; names the layers.
      profile: arrays ``(seeds, layers)`` from :func:`jinit.probes.ensemble`.
      findings: from :func:`jinit.probes.verdict`.

    Returns:
      A dict with the keys seeds, layers and findings; each number of a layer is a median over seeds
      with its 95 % interval.

    >>> import jax, jax.numpy as jnp
    >>> from jinit import frameworks, models, probes
    >>> x, rules = jnp.ones((4, 3)), {"*/kernel": "he_normal", "*/bias": "zeros"}
    >>> captured = frameworks.capture(models.MLP(features=(8, 2)), x)
    >>> loss = probes.cross_entropy(jnp.array([0, 1, 0, 1]))
    >>> profile = probes.ensemble(captured, rules, x, loss, seeds=4)
    >>> [layer["layer"] for layer in profile_json(captured, profile, [])["layers"]]
    ['hidden_0', 'output']
    """
    by_name = intervals(profile)
    layers = [
        {"layer": layer.name}
        | {name: dataclasses.asdict(of_layers[i]) for name, of_layers in by_name.items()}
        for i, layer in enumerate(captured.layers)
    ]
    return {
        "seeds": int(np.shape(profile.mean)[0]),
        "layers": layers,
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }


def prediction_json(prediction: Prediction) -> dict[str, Any]:
    """The prediction of all layers, the depth scales and the findings, for JSON.

    Args:
      prediction: from :func:`jinit.theory.predict`.

    Returns:
      A dict with the keys layers, scales (None if there are none), findings and notes.

    >>> from jinit import initializers, models, theory
    >>> kernel, bias = initializers.get("he_normal"), initializers.get("zeros")
    >>> prediction = theory.predict(models.MLP(features=(8, 2)), 8, kernel=kernel, bias=bias)
    >>> [layer["width"] for layer in prediction_json(prediction)["layers"]]
    [8, 2]
    """
    layers = [
        {
            "layer": name,
            "fan_in": int(prediction.fan_in[i]),
            "width": int(prediction.width[i]),
            "sigma_w": float(prediction.sigma_w[i]),
            "sigma_b": float(prediction.sigma_b[i]),
            "second_moment": float(prediction.second_moment[i]),
            "second_moment_band": prediction.second_moment_band[:, i].tolist(),
            "correlation": float(prediction.correlation[i]),
            "gradient": float(prediction.gradient[i]),
            "gradient_band": prediction.gradient_band[:, i].tolist(),
        }
        for i, name in enumerate(prediction.names)
    ]
    scales = None
    if prediction.scales is not None:
        scales = {k: float(v) for k, v in dataclasses.asdict(prediction.scales).items()}
    return {
        "layers": layers,
        "scales": scales,
        "findings": [dataclasses.asdict(finding) for finding in prediction.findings],
        "notes": prediction.notes,
    }

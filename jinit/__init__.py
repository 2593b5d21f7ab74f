"""Weight initialization for JAX: which initializer, why, and is the difference real or luck?

Rooms, from the bottom up: ``activations``, ``initializers``, ``clipping``, ``data``, ``stats``,
``engine``, ``theory``, ``models``, ``parameters``, ``train``, ``probes``, ``calibrate``, ``sweep``,
``report``.
"""

from typing import TYPE_CHECKING

from jinit._lazy import attach

if TYPE_CHECKING:
    from jinit import (
        activations,
        calibrate,
        clipping,
        data,
        engine,
        errors,
        initializers,
        models,
        parameters,
        probes,
        report,
        stats,
        sweep,
        theory,
        train,
    )
    from jinit.parameters.audit import audit
    from jinit.parameters.initialize import initialize
    from jinit.sweep import Grid, compare, plan, run, summarize

__version__ = "0.1.0"

__all__ = [
    "Grid", "audit", "compare", "initialize", "plan", "run", "summarize",
    "activations", "calibrate", "clipping", "data", "engine", "errors", "initializers",
    "models", "parameters", "probes", "report", "stats", "sweep", "theory", "train",
]  # fmt: skip

_ROOMS = (
    "activations", "calibrate", "clipping", "data", "engine", "errors", "initializers",
    "models", "parameters", "probes", "report", "stats", "sweep", "theory", "train",
)  # fmt: skip

# Imported when first used: `jinit --help` answers at once, and JAX loads only when it is needed.
__getattr__, __dir__ = attach(
    __name__,
    {
        "Grid": "jinit.sweep.grid",
        "audit": "jinit.parameters.audit",
        "compare": "jinit.sweep.comparison",
        "initialize": "jinit.parameters.initialize",
        "plan": "jinit.sweep.planner",
        "run": "jinit.sweep.runner",
        "summarize": "jinit.sweep.comparison",
        **{room: f"jinit.{room}" for room in _ROOMS},
    },
)

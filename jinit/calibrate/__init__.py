"""Calibrates initial weights to a network and its data, before training.

Every calibration is a pure function ``(key, model, params, batch, …) -> (params, trace)`` with a
bounded number of steps, so it jits and vmaps. It takes every model that
:func:`jinit.frameworks.capture` takes.
"""

from jinit._switches import guard
from jinit.calibrate._analytic import analytic
from jinit.calibrate._common import Trace
from jinit.calibrate._identity import antisymmetric, fixup, rezero, skipinit
from jinit.calibrate._learned import gradinit, metainit
from jinit.calibrate._moments import lsuv, output_bias, within_layer
from jinit.calibrate._rates import between_layers
from jinit.calibrate._registry import Calibration, get, names, register

__all__ = [
    "Calibration",
    "Trace",
    "analytic",
    "antisymmetric",
    "between_layers",
    "fixup",
    "get",
    "gradinit",
    "lsuv",
    "metainit",
    "names",
    "output_bias",
    "register",
    "rezero",
    "skipinit",
    "within_layer",
]

guard(__name__)

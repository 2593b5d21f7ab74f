"""Reads models of other frameworks: each framework is one row of a table and one file.

:func:`names` lists the frameworks and :func:`hosts` the values of ``host=``. :func:`presets` lists
the frameworks' default initializations, :func:`layer_kinds` the layers that a spec string can name.
"""

from jinit._switches import guard
from jinit.frameworks._as_model import as_model
from jinit.frameworks._capture import Captured, capture
from jinit.frameworks._conventions import Conventions
from jinit.frameworks._framework import Framework, Opening, Preset
from jinit.frameworks._haiku import haiku
from jinit.frameworks._keras import keras
from jinit.frameworks._kinds import layer_kinds, register_layer_kind
from jinit.frameworks._layers import layers, layout, shapes
from jinit.frameworks._layout import Layers, Layout
from jinit.frameworks._table import (
    get,
    hosts,
    names,
    presets,
    register,
    register_preset,
)

__all__ = [
    "as_model", "capture", "layers", "layout", "shapes",
    "haiku", "keras",
    "get", "hosts", "names", "register",
    "presets", "register_preset",
    "layer_kinds", "register_layer_kind",
    "Captured", "Conventions", "Framework", "Layers", "Layout", "Opening", "Preset",
]  # fmt: skip

guard(__name__)

"""Everything jinit knows of linen, nnx, Haiku, Equinox, Keras and torch: one file a framework."""

from jinit.frameworks._capture import Captured, Layer, capture
from jinit.frameworks._haiku import haiku
from jinit.frameworks._keras import keras
from jinit.frameworks._layers import host_of, layers, shapes
from jinit.frameworks._layout import (
    HOSTS,
    Layers,
    Layout,
    get_layer_kind,
    layer_kinds,
    layout,
    register_layer_kind,
)
from jinit.frameworks._paths import path_of

__all__ = [
    "HOSTS", "Captured", "Layer", "Layers", "Layout",
    "capture", "get_layer_kind", "haiku", "host_of", "keras", "layer_kinds", "layers", "layout",
    "path_of", "register_layer_kind", "shapes",
]  # fmt: skip

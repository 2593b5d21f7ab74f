"""Trains one network: losses, optimizers, a pure step, and a whole run as one scan."""

from jinit._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)

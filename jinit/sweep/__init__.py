"""Trains many networks with few programs: ``Grid`` → ``plan`` → ``run`` → ``results.Table``."""

from jinit._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)

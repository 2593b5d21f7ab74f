"""Weight initialization for JAX: which initializer, why, and is the difference real or luck?

The stub ``__init__.pyi`` lists every name. Each is imported when first used: ``jinit --help``
answers at once, and JAX loads only when it is needed.
"""

from jinit._lazy import attach

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = attach(__name__, __file__)

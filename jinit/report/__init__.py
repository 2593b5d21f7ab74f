"""Shows results: terminal tables, JSON and pictures. Needs the extra ``lab``.

Names are imported when first used, so ``import jinit.report`` needs neither rich nor matplotlib.
"""

from jinit._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)

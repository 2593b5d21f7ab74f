"""Looks at the machine for accelerators that JAX does not use."""

from __future__ import annotations

import os
from pathlib import Path

# Sign of an accelerator → its name.
_SIGNS = {
    "/dev/nvidia0": "an NVIDIA GPU (/dev/nvidia0)",
    "/dev/dxg": "a GPU of Windows (/dev/dxg)",
    "/dev/kfd": "an AMD GPU (/dev/kfd)",
    "/dev/accel0": "a TPU (/dev/accel0)",
    "/dev/vfio/0": "a TPU (/dev/vfio/0)",
}
_VARIABLES = ("TPU_NAME", "COLAB_TPU_ADDR", "TPU_ACCELERATOR_TYPE", "TPU_WORKER_ID")


def accelerators(root: Path = Path("/")) -> list[str]:
    """Signs of accelerators on this machine, whatever JAX uses.

    Args:
      root: the folder that stands for ``/``.
    """
    found = [name for path, name in _SIGNS.items() if (root / path.lstrip("/")).exists()]
    return found + [f"a TPU ({name} is set)" for name in _VARIABLES if os.environ.get(name)]

"""Tells branches that start at 0 on purpose from layers that block the signal.

Fixup, SkipInit, ReZero and LoRA start residual branches at 0. The signal and the gradient go around
such a branch; they stop at a layer of zeros on the only path.
"""

from __future__ import annotations

import numpy as np

from jinit.activations import ActivationLike
from jinit.probes._fixes import at_zero
from jinit.probes._medians import Medians

# A smaller share of E z² that differs between inputs is float32 rounding error of equal values.
ROUNDING = 1e-12


def bypassed(m: Medians, activation: ActivationLike | None) -> np.ndarray:
    """Whether a hidden layer adds nothing and the signal goes around it, ``(hidden layers,)``.

    A layer adds nothing if its z is 0 or its kernel is. The signal goes around it if a later layer
    still differs between inputs. Behind the last branch of a network whose output layer starts at
    0 too, no later layer does; there, the signal goes around if it went around another branch, or
    if the output layer receives something although φ(z) = φ(0) = 0.
    """
    nothing = (m.second_moment == 0) | (m.kernel_norm == 0)
    varies = m.all_input_variance > ROUNDING * m.all_second_moment
    later = np.array([varies[place + 1 :].any() for place in range(len(m.names))], bool)
    around = nothing & later
    if m.output_kernel_norm > 0 or not m.output_kernel_gradient > 0:
        return around
    zero_at_zero = activation is not None and not at_zero(activation)
    around_last = around.any() or (zero_at_zero and m.second_moment[-1:].sum() == 0)
    return nothing if around_last else around


def gated(m: Medians) -> np.ndarray:
    """Whether the gradient goes around a hidden layer, as if a factor 0 followed it.

    No gradient reaches the layer, but an earlier layer has one; or no hidden layer has one, its z
    and the output kernel are not 0, and the last hidden layer is not wholly dead or saturated.
    """
    none = m.gradient_norm == 0
    earlier = np.array([(~none[:place]).any() for place in range(len(m.names))], bool)
    flat = np.fmax(m.dead, m.saturated)
    # NaN, without an activation: unknown.
    open_end = bool(len(none)) and m.output_kernel_norm > 0 and flat[-1] < 1 and none.all()
    return none & (earlier | (open_end & (m.second_moment > 0)))

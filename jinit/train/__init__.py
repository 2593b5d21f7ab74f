"""Training one network: losses, optimizers, a pure step, and a whole run as one scan."""

from jinit.train import losses, optimizers
from jinit.train._fit import FitConfig, fit
from jinit.train._step import Status, StepMetrics, TrainState, make_train_step

__all__ = [
    "FitConfig", "Status", "StepMetrics", "TrainState",
    "fit", "losses", "make_train_step", "optimizers",
]  # fmt: skip

from jinit.train import losses as losses
from jinit.train import optimizers as optimizers
from jinit.train._config import FitConfig as FitConfig
from jinit.train._fit import fit as fit
from jinit.train._step import Status as Status
from jinit.train._step import StepMetrics as StepMetrics
from jinit.train._step import TrainState as TrainState
from jinit.train._step import make_train_step as make_train_step

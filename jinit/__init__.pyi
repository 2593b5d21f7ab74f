# Every public name of jinit: the rooms, then the functions and classes that most users need.
from jinit import activations as activations
from jinit import advise as advise
from jinit import auditing as auditing
from jinit import calibrate as calibrate
from jinit import clipping as clipping
from jinit import data as data
from jinit import engine as engine
from jinit import errors as errors
from jinit import findings as findings
from jinit import frameworks as frameworks
from jinit import initializers as initializers
from jinit import models as models
from jinit import parameters as parameters
from jinit import probes as probes
from jinit import report as report
from jinit import results as results
from jinit import stats as stats
from jinit import sweep as sweep
from jinit import theory as theory
from jinit import train as train
from jinit import typing as typing
from jinit.auditing import audit as audit
from jinit.parameters import initialize as initialize
from jinit.results import compare as compare
from jinit.results import concat as concat
from jinit.results import read as read
from jinit.results import summarize as summarize
from jinit.sweep import Grid as Grid
from jinit.sweep import plan as plan
from jinit.sweep import run as run

__version__: str

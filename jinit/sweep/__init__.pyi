from jinit.sweep._grid import Grid as Grid
from jinit.sweep._network import run_key as run_key
from jinit.sweep._plan import Plan as Plan
from jinit.sweep._plan import plan as plan
from jinit.sweep._run import SweepEvent as SweepEvent
from jinit.sweep._run import SweepInterrupted as SweepInterrupted
from jinit.sweep._run import run as run

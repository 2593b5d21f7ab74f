from jinit.report import plots as plots
from jinit.report._json import to_json as to_json
from jinit.report._progress import SweepProgress as SweepProgress
from jinit.report._show import show as show
from jinit.report._text import interval_text as interval_text

"""``python -m jinit`` is the command ``jinit``."""

import sys

from jinit.cli import main

sys.exit(main())

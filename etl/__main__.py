"""`python -m etl` and the command `etl`."""

import atexit
import gc
import sys
import warnings

from etl.signals import leave_at_once

FEW_COLLECTIONS = (100_000, 50, 100)  # code and pages of JSON are many objects, and no cycles

if not sys.warnoptions:
    warnings.simplefilter("ignore")  # libraries warn those who write programs
leave_at_once()  # until a command begins
gc.set_threshold(*FEW_COLLECTIONS)  # before the imports, which are a third of a short run
atexit.register(gc.freeze)  # Python looks through everything at its end, for nothing

from etl.cli import main  # noqa: E402  after the above

if __name__ == "__main__":
    main()

__all__ = ["main"]

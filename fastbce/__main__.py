"""Run the command line as ``python -m fastbce``."""

import sys

from fastbce.cli import main

if __name__ == "__main__":
    sys.exit(main())

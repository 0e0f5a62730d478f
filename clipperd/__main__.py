"""``python -m clipperd`` is the same as ``clipperd``."""

import sys

from clipperd.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m clipperd`` is the same as ``clipperd``."""

import sys

from clipperd.process.interpreter import leave_working_folder

if __name__ == "__main__":
    leave_working_folder()
    from clipperd.cli.main import main

    sys.exit(main())

"""``python -m cloud_broker`` is ``cloud-broker``."""

import sys

from cloud_broker.cli.interpreter import leave_working_folder

if __name__ == "__main__":
    leave_working_folder()
    from cloud_broker.cli.main import main

    sys.exit(main())

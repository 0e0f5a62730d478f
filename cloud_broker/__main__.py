"""``python -m cloud_broker`` is ``cloud-broker``."""

import sys

from cloud_broker.cli.main import main

sys.exit(main())

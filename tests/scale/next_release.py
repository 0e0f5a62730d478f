"""``python -m tests.scale.next_release``: today's broker with a later schema.

Every table has one more column, and the schema has one more table and index: additions that the
next release may make while today's runs. Its last step removes something.
"""

from __future__ import annotations

import re
import sys

from cloud_broker.cli.main import main
from cloud_broker.storage import migrations
from cloud_broker.storage.steps import Area, Contract

TODAY = migrations.steps()
_TABLES = sorted({name for s in TODAY for name in re.findall(r"CREATE TABLE (\w+)", s.sql)})
ADDED: list[str | Contract] = [
    *(f"ALTER TABLE {table} ADD COLUMN later TEXT" for table in _TABLES),
    "ALTER TABLE sessions ADD COLUMN place TEXT NOT NULL DEFAULT 'home'",
    "CREATE INDEX sessions_place ON sessions (place)",
    "CREATE TABLE later (id TEXT PRIMARY KEY, n BIGINT NOT NULL)",
    "INSERT INTO later (id, n) VALUES ('one', 1)",
    Contract("DROP TABLE later"),
]
NEXT: tuple[Area, ...] = (*migrations.AREAS, ("later", ADDED))

if __name__ == "__main__":
    migrations.AREAS = NEXT
    sys.exit(main())

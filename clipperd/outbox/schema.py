"""Create the tables of outbox.db that hold clips. Append new steps; see docs/storage-schema.md."""

from __future__ import annotations

import sqlite3

_CLIPS = """
CREATE TABLE clip (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  version INTEGER NOT NULL DEFAULT 1,
  edition INTEGER NOT NULL DEFAULT 1,
  user_id TEXT NOT NULL,
  workspace_id TEXT NOT NULL,
  created_at REAL NOT NULL,
  updated_at REAL NOT NULL,
  format TEXT NOT NULL,
  title TEXT NOT NULL,
  preview TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  demotable INTEGER NOT NULL,
  source TEXT NOT NULL DEFAULT '{}',
  priority INTEGER NOT NULL CHECK (priority IN (0, 1, 2)),
  not_before REAL,
  first_level INTEGER NOT NULL,
  elements INTEGER NOT NULL,
  body_bytes INTEGER NOT NULL,
  chunks INTEGER NOT NULL,
  content_expires_at REAL
) STRICT;
CREATE INDEX clip_owner ON clip (user_id, seq);
CREATE TABLE content (
  clip_seq INTEGER PRIMARY KEY REFERENCES clip (seq) ON DELETE CASCADE,
  accepted BLOB NOT NULL,
  plan BLOB NOT NULL
) STRICT;
CREATE TABLE idempotency (
  user_id TEXT NOT NULL,
  client_id TEXT NOT NULL,
  key TEXT NOT NULL,
  hash BLOB NOT NULL,
  clip_id TEXT NOT NULL,
  created_at REAL NOT NULL,
  PRIMARY KEY (user_id, client_id, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE delivery (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  clip_seq INTEGER NOT NULL REFERENCES clip (seq) ON DELETE CASCADE,
  user_id TEXT NOT NULL,
  workspace_id TEXT NOT NULL,
  lane TEXT NOT NULL,
  turn INTEGER NOT NULL,
  page_id TEXT,
  page_ref TEXT,
  page_title TEXT,
  new_page TEXT,
  position TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'retrying', 'unconfirmed',
    'needs_attention', 'failed', 'canceled', 'delivered')),
  reason TEXT,
  error_code TEXT,
  error_message TEXT,
  attempts INTEGER NOT NULL DEFAULT 0,
  anchor_losses INTEGER NOT NULL DEFAULT 0,
  due_at REAL,
  batch_cap INTEGER NOT NULL DEFAULT 100,
  chunks_done INTEGER NOT NULL DEFAULT 0,
  parent_id TEXT,
  level INTEGER NOT NULL DEFAULT 0,
  chunk_ids TEXT NOT NULL DEFAULT '[]',
  block_ids TEXT NOT NULL DEFAULT '[]',
  position_changed TEXT,
  notion_calls INTEGER NOT NULL DEFAULT 0,
  shared INTEGER NOT NULL DEFAULT 0,
  request_key TEXT,
  undo TEXT,
  created_at REAL NOT NULL,
  delivered_at REAL
) STRICT;
CREATE INDEX delivery_clip ON delivery (clip_seq);
CREATE INDEX delivery_open ON delivery (user_id, workspace_id, lane, turn)
  WHERE state IN ('queued', 'sending', 'retrying', 'unconfirmed', 'needs_attention');
CREATE INDEX delivery_page ON delivery (user_id, page_id, turn);
CREATE INDEX delivery_ref ON delivery (user_id, workspace_id, page_ref) WHERE page_ref IS NOT NULL;
CREATE INDEX delivery_undo ON delivery (user_id) WHERE undo IS NOT NULL;
CREATE TABLE request (
  key TEXT PRIMARY KEY,
  user_id TEXT NOT NULL,
  workspace_id TEXT NOT NULL,
  lane TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('append', 'create_page')),
  path TEXT NOT NULL,
  body BLOB NOT NULL,
  parent_id TEXT NOT NULL,
  after_id TEXT,
  edge TEXT NOT NULL CHECK (edge IN ('end', 'start')),
  level INTEGER NOT NULL,
  members TEXT NOT NULL,
  expected TEXT NOT NULL,
  phase TEXT NOT NULL CHECK (phase IN ('sending', 'replay', 'settle')),
  maybe_sent INTEGER NOT NULL,
  settle_s REAL,
  sent_at REAL NOT NULL
) STRICT;
CREATE UNIQUE INDEX request_lane ON request (user_id, workspace_id, lane);
CREATE TABLE receipt (
  block_id TEXT PRIMARY KEY,
  delivery_seq INTEGER NOT NULL,
  print TEXT NOT NULL,
  created_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE lane_setting (
  user_id TEXT NOT NULL,
  workspace_id TEXT NOT NULL,
  page_id TEXT NOT NULL,
  parked TEXT NOT NULL CHECK (parked IN ('wait', 'skip')),
  PRIMARY KEY (user_id, workspace_id, page_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE turn_counter (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  n INTEGER NOT NULL
) STRICT;
INSERT INTO turn_counter (one, n) VALUES (1, 0);
CREATE TABLE queue_pause (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  until REAL
) STRICT;
"""


DEFERRED = 1 << 60
"""Positions from here on belong to deliveries before their ``not_before``: they block no other."""


def m001_clips(connection: sqlite3.Connection) -> None:
    """Create clips, their deliveries, request rows and receipts."""
    for statement in _CLIPS.split(";"):
        if statement.strip():
            connection.execute(statement)


def m002_due_times(connection: sqlite3.Connection) -> None:
    """Index deferred deliveries and the counts of the status."""
    connection.execute(
        "CREATE INDEX delivery_deferred ON delivery (turn) WHERE turn >= 1152921504606846976"
    )
    connection.execute(
        "CREATE INDEX delivery_state ON delivery (user_id, state, workspace_id, created_at)"
    )


def m003_identity(connection: sqlite3.Connection) -> None:
    """Give the file an id and each request a number; see ``identity.py``.

    An existing file takes the id of its oldest clip, so that its copies get the same.
    """
    connection.execute(
        "CREATE TABLE outbox_id (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL) STRICT"
    )
    connection.execute(
        "CREATE TABLE outbox_line (user_id TEXT PRIMARY KEY, id TEXT NOT NULL,"
        " counter INTEGER NOT NULL, runs TEXT NOT NULL) STRICT, WITHOUT ROWID"
    )
    connection.execute("ALTER TABLE request ADD COLUMN outbox TEXT")
    connection.execute("ALTER TABLE request ADD COLUMN counter INTEGER")
    connection.execute(
        "INSERT INTO outbox_id SELECT 1, coalesce((SELECT id FROM clip ORDER BY seq LIMIT 1),"
        " lower(hex(randomblob(16))))"
    )


OUTBOX_STEPS = (m001_clips, m002_due_times, m003_identity)

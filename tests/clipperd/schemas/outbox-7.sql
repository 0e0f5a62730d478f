CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
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
, outbox TEXT, counter INTEGER) STRICT;
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
CREATE TABLE queue_pause (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  until REAL
) STRICT;
CREATE INDEX delivery_deferred ON delivery (turn) WHERE turn >= 1152921504606846976;
CREATE INDEX delivery_state ON delivery (user_id, state, workspace_id, created_at);
CREATE TABLE outbox_id (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL) STRICT;
CREATE TABLE outbox_line (user_id TEXT PRIMARY KEY, id TEXT NOT NULL, counter INTEGER NOT NULL, runs TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE account (
        user_id TEXT PRIMARY KEY,
        email TEXT NOT NULL,
        name TEXT NOT NULL,
        avatar_url TEXT,
        tier TEXT,
        subscription_status TEXT,
        limits TEXT,
        state TEXT NOT NULL CHECK (state IN ('signed_in', 'signed_out', 'reauth_required')),
        why TEXT,
        current_workspace_id TEXT,
        is_current INTEGER NOT NULL CHECK (is_current IN (0, 1)),
        signed_in_at REAL NOT NULL
    ) STRICT
    ;
CREATE UNIQUE INDEX account_current ON account (is_current) WHERE is_current = 1;
CREATE TABLE workspace (
        user_id TEXT NOT NULL REFERENCES account (user_id),
        workspace_id TEXT NOT NULL,
        name TEXT NOT NULL,
        icon TEXT,
        bot_id TEXT,
        place INTEGER NOT NULL,
        connected INTEGER NOT NULL CHECK (connected IN (0, 1)),
        PRIMARY KEY (user_id, workspace_id)
    ) STRICT, WITHOUT ROWID
    ;
CREATE TABLE pending_login (
        login_id TEXT PRIMARY KEY,
        state_hash BLOB NOT NULL UNIQUE,
        verifier TEXT,
        return_to TEXT NOT NULL CHECK (return_to IN ('app', 'loopback')),
        purpose TEXT NOT NULL CHECK (purpose IN ('sign_in', 'add_workspace', 'change_access')),
        expires_at REAL NOT NULL,
        completed INTEGER NOT NULL DEFAULT 0 CHECK (completed IN (0, 1))
    , outcome TEXT, error TEXT) STRICT
    ;
CREATE TABLE favorite (
            user_id TEXT NOT NULL,
            workspace_id TEXT NOT NULL,
            page_id TEXT NOT NULL,
            added_at REAL NOT NULL,
            PRIMARY KEY (user_id, workspace_id, page_id)
        ) STRICT, WITHOUT ROWID;
CREATE TABLE page_use (
            user_id TEXT NOT NULL,
            workspace_id TEXT NOT NULL,
            page_id TEXT NOT NULL,
            uses INTEGER NOT NULL,
            weight REAL NOT NULL,
            last_used_at REAL NOT NULL,
            PRIMARY KEY (user_id, workspace_id, page_id)
        ) STRICT, WITHOUT ROWID;
CREATE TABLE api_client (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, scopes TEXT NOT NULL, token_hash BLOB NOT NULL UNIQUE, created_at REAL NOT NULL, last_used_at REAL) STRICT;
INSERT INTO clip (seq, id, version, edition, user_id, workspace_id, created_at, updated_at, format, title, preview, size_bytes, demotable, source, priority, not_before, first_level, elements, body_bytes, chunks, content_expires_at) VALUES (1, 'a id', 1, 1, 'a user_id', 'a workspace_id', 2.5, 2.5, 'a format', 'a title', 'a preview', 1, 1, '{}', 1, 2.5, 1, 1, 1, 1, 2.5);
INSERT INTO content (clip_seq, accepted, plan) VALUES (1, X'5B315D', X'5B315D');
INSERT INTO idempotency (user_id, client_id, key, hash, clip_id, created_at) VALUES ('a user_id', 'a client_id', 'a key', X'5B315D', 'a clip_id', 2.5);
INSERT INTO delivery (seq, id, clip_seq, user_id, workspace_id, lane, turn, page_id, page_ref, page_title, new_page, position, state, reason, error_code, error_message, attempts, anchor_losses, due_at, batch_cap, chunks_done, parent_id, level, chunk_ids, block_ids, position_changed, notion_calls, shared, request_key, undo, created_at, delivered_at) VALUES (1, 'a id', 1, 'a user_id', 'a workspace_id', 'a lane', 1, 'a page_id', 'a page_ref', 'a page_title', NULL, '{"type":"end"}', 'queued', 'a reason', 'a error_code', 'a error_message', 1, 1, 2.5, 1, 1, 'a parent_id', 1, '[]', '[]', NULL, 1, 1, 'a request_key', NULL, 2.5, 2.5);
INSERT INTO request (key, user_id, workspace_id, lane, kind, path, body, parent_id, after_id, edge, level, members, expected, phase, maybe_sent, settle_s, sent_at, outbox, counter) VALUES ('a key', 'a user_id', 'a workspace_id', 'a lane', 'append', 'a path', X'5B315D', 'a parent_id', 'a after_id', 'end', 1, '[]', '[]', 'sending', 1, 2.5, 2.5, 'a outbox', 1);
INSERT INTO receipt (block_id, delivery_seq, print, created_at) VALUES ('a block_id', 1, 'a print', 2.5);
INSERT INTO lane_setting (user_id, workspace_id, page_id, parked) VALUES ('a user_id', 'a workspace_id', 'a page_id', 'wait');
INSERT INTO turn_counter (one, n) VALUES (1, 1);
INSERT INTO queue_pause (one, until) VALUES (1, 2.5);
INSERT INTO outbox_id (one, id) VALUES (1, 'a id');
INSERT INTO outbox_line (user_id, id, counter, runs) VALUES ('a user_id', 'a id', 1, 'a runs');
INSERT INTO account (user_id, email, name, avatar_url, tier, subscription_status, limits, state, why, current_workspace_id, is_current, signed_in_at) VALUES ('a user_id', 'a email', 'a name', 'a avatar_url', 'a tier', 'a subscription_status', '{}', 'signed_in', 'a why', 'a current_workspace_id', 1, 2.5);
INSERT INTO workspace (user_id, workspace_id, name, icon, bot_id, place, connected) VALUES ('a user_id', 'a workspace_id', 'a name', '"x"', 'a bot_id', 1, 1);
INSERT INTO pending_login (login_id, state_hash, verifier, return_to, purpose, expires_at, completed, outcome, error) VALUES ('a login_id', X'5B315D', 'a verifier', 'app', 'sign_in', 2.5, 1, 'a outcome', 'a error');
INSERT INTO favorite (user_id, workspace_id, page_id, added_at) VALUES ('a user_id', 'a workspace_id', 'a page_id', 2.5);
INSERT INTO page_use (user_id, workspace_id, page_id, uses, weight, last_used_at) VALUES ('a user_id', 'a workspace_id', 'a page_id', 1, 2.5, 2.5);
INSERT INTO api_client (id, name, scopes, token_hash, created_at, last_used_at) VALUES ('a id', 'a name', 'a scopes', X'5B315D', 2.5, 2.5);
INSERT INTO _sqlite_migrations (id, migration_set, name, applied_at) VALUES (1, 'outbox', 'm001_clips', '2026-11-29 19:19:28.116611+00:00');
INSERT INTO _sqlite_migrations (id, migration_set, name, applied_at) VALUES (2, 'outbox', 'm002_due_times', '2026-11-29 19:19:28.117048+00:00');
INSERT INTO _sqlite_migrations (id, migration_set, name, applied_at) VALUES (3, 'outbox', 'm003_identity', '2026-11-29 19:19:28.117788+00:00');
INSERT INTO _sqlite_migrations (id, migration_set, name, applied_at) VALUES (4, 'outbox', 'm001_session', '2026-11-29 19:19:28.118325+00:00');
INSERT INTO _sqlite_migrations (id, migration_set, name, applied_at) VALUES (5, 'outbox', 'm002_login_outcome', '2026-11-29 19:19:28.135189+00:00');
INSERT INTO _sqlite_migrations (id, migration_set, name, applied_at) VALUES (6, 'outbox', 'p001_marks', '2026-11-29 19:19:28.135692+00:00');
INSERT INTO _sqlite_migrations (id, migration_set, name, applied_at) VALUES (7, 'outbox', 'm_api_client', '2026-11-29 19:19:28.135941+00:00');
PRAGMA user_version=7;

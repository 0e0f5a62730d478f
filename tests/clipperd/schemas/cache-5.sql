CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE TABLE page (
            seq INTEGER PRIMARY KEY,
            user_id TEXT NOT NULL,
            workspace_id TEXT NOT NULL,
            page_id TEXT NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('page', 'database', 'data_source')),
            title TEXT NOT NULL,
            folded TEXT NOT NULL,
            url TEXT,
            icon TEXT,
            parent TEXT,
            parent_id TEXT,
            last_edited_time TEXT NOT NULL,
            access TEXT NOT NULL CHECK (access IN ('ok', 'trashed', 'gone')),
            checked_at REAL NOT NULL,
            UNIQUE (user_id, workspace_id, page_id)
        ) STRICT;
CREATE INDEX page_child ON page (user_id, workspace_id, parent_id);
CREATE TABLE page_index (
            user_id TEXT NOT NULL,
            workspace_id TEXT NOT NULL,
            phase TEXT NOT NULL CHECK (phase IN ('never', 'recents', 'filling', 'complete')),
            cursor TEXT,
            newest TEXT,
            refreshed_at REAL,
            error TEXT,
            PRIMARY KEY (user_id, workspace_id)
        ) STRICT, WITHOUT ROWID;
CREATE TABLE data_source (
            user_id TEXT NOT NULL,
            workspace_id TEXT NOT NULL,
            data_source_id TEXT NOT NULL,
            body TEXT NOT NULL,
            fetched_at REAL NOT NULL,
            PRIMARY KEY (user_id, workspace_id, data_source_id)
        ) STRICT;
CREATE TABLE outline (
            user_id TEXT NOT NULL,
            workspace_id TEXT NOT NULL,
            page_id TEXT NOT NULL,
            title TEXT,
            stamp TEXT,
            read_at REAL,
            fetched_at REAL NOT NULL,
            verified_at REAL NOT NULL,
            moved INTEGER NOT NULL CHECK (moved IN (0, 1)),
            shallow INTEGER NOT NULL CHECK (shallow IN (0, 1)),
            tree BLOB NOT NULL,
            PRIMARY KEY (user_id, workspace_id, page_id)
        ) STRICT;
CREATE TABLE page_count (
            user_id TEXT NOT NULL,
            workspace_id TEXT NOT NULL,
            n INTEGER NOT NULL,
            PRIMARY KEY (user_id, workspace_id)
        ) STRICT, WITHOUT ROWID;
CREATE TABLE push_position (user_id TEXT PRIMARY KEY, last_id TEXT NOT NULL)
            STRICT, WITHOUT ROWID;
CREATE INDEX page_recent ON page (user_id, workspace_id, access, last_edited_time DESC, page_id DESC, folded, kind);
CREATE INDEX page_title ON page (user_id, workspace_id, access, folded, page_id, last_edited_time, kind);
CREATE INDEX page_kind ON page (user_id, workspace_id, access, kind, last_edited_time DESC, page_id DESC, folded);
CREATE VIRTUAL TABLE page_words USING fts5
            (title, path, runs, tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2 3');
CREATE VIRTUAL TABLE page_grams USING fts5 (title, tokenize = 'trigram');
CREATE TABLE page_term (term TEXT PRIMARY KEY, backwards TEXT NOT NULL)
            STRICT, WITHOUT ROWID;
CREATE INDEX page_term_backwards ON page_term (backwards);
INSERT INTO page (seq, user_id, workspace_id, page_id, kind, title, folded, url, icon, parent, parent_id, last_edited_time, access, checked_at) VALUES (1, 'a user_id', 'a workspace_id', 'a page_id', 'page', 'a title', 'a folded', 'a url', '"x"', '{}', 'a parent_id', 'a last_edited_time', 'ok', 2.5);
INSERT INTO page_index (user_id, workspace_id, phase, cursor, newest, refreshed_at, error) VALUES ('a user_id', 'a workspace_id', 'never', 'a cursor', 'a newest', 2.5, 'a error');
INSERT INTO data_source (user_id, workspace_id, data_source_id, body, fetched_at) VALUES ('a user_id', 'a workspace_id', 'a data_source_id', '{}', 2.5);
INSERT INTO outline (user_id, workspace_id, page_id, title, stamp, read_at, fetched_at, verified_at, moved, shallow, tree) VALUES ('a user_id', 'a workspace_id', 'a page_id', 'a title', 'a stamp', 2.5, 2.5, 2.5, 1, 1, X'5B315D');
INSERT INTO page_count (user_id, workspace_id, n) VALUES ('a user_id', 'a workspace_id', 1);
INSERT INTO push_position (user_id, last_id) VALUES ('a user_id', 'a last_id');
INSERT INTO page_words (title, path, runs) VALUES ('a title', 'a path', 'a runs');
INSERT INTO page_grams (title) VALUES ('a title');
INSERT INTO page_term (term, backwards) VALUES ('a term', 'a backwards');
INSERT INTO _sqlite_migrations (id, migration_set, name, applied_at) VALUES (1, 'cache', 'm001_pages', '2026-11-25 00:41:45.651262+00:00');
INSERT INTO _sqlite_migrations (id, migration_set, name, applied_at) VALUES (2, 'cache', 'm002_outlines', '2026-11-25 00:41:45.651719+00:00');
INSERT INTO _sqlite_migrations (id, migration_set, name, applied_at) VALUES (3, 'cache', 'm003_count', '2026-11-25 00:41:45.652091+00:00');
INSERT INTO _sqlite_migrations (id, migration_set, name, applied_at) VALUES (4, 'cache', 'm004_push', '2026-11-25 00:41:45.655892+00:00');
INSERT INTO _sqlite_migrations (id, migration_set, name, applied_at) VALUES (5, 'cache', 'm005_search', '2026-11-25 00:41:45.657440+00:00');
CREATE TRIGGER page_came AFTER INSERT ON page WHEN new.access = 'ok' BEGIN
                INSERT INTO page_count VALUES (new.user_id, new.workspace_id, 1)
                ON CONFLICT DO UPDATE SET n = n + 1; END;
CREATE TRIGGER page_went AFTER DELETE ON page WHEN old.access = 'ok' BEGIN
                INSERT INTO page_count VALUES (old.user_id, old.workspace_id, -1)
                ON CONFLICT DO UPDATE SET n = n + -1; END;
CREATE TRIGGER page_was_lost AFTER UPDATE OF access ON page WHEN old.access = 'ok' BEGIN
                INSERT INTO page_count VALUES (old.user_id, old.workspace_id, -1)
                ON CONFLICT DO UPDATE SET n = n + -1; END;
CREATE TRIGGER page_was_found AFTER UPDATE OF access ON page WHEN new.access = 'ok' BEGIN
                INSERT INTO page_count VALUES (new.user_id, new.workspace_id, 1)
                ON CONFLICT DO UPDATE SET n = n + 1; END;
PRAGMA user_version=5;

-- Documents are JSON in `body`; what is looked up, ordered or kept unique has a column of its own.
CREATE TABLE users (
  id TEXT PRIMARY KEY NOT NULL,
  email TEXT NOT NULL UNIQUE,
  handle TEXT NOT NULL UNIQUE,
  body TEXT NOT NULL
) STRICT;

CREATE TABLE revoked_tokens (
  id TEXT PRIMARY KEY NOT NULL,
  -- Seconds since the epoch; the row may go then.
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE projects (
  id TEXT PRIMARY KEY NOT NULL,
  user TEXT NOT NULL,
  slug TEXT NOT NULL,
  body TEXT NOT NULL,
  UNIQUE (user, slug)
) STRICT;
CREATE INDEX projects_of_user ON projects (user, id);

CREATE TABLE credentials (
  project TEXT PRIMARY KEY NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
  body TEXT NOT NULL
) STRICT;

CREATE TABLE chat_sessions (
  -- Short name in turn_events. Never used twice, so that events of a deleted session can be cleared away later.
  key INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  user TEXT NOT NULL,
  project TEXT NOT NULL REFERENCES projects (id),
  archived INTEGER NOT NULL,
  turn_count INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  tool_call_count INTEGER NOT NULL,
  body TEXT NOT NULL
) STRICT;
CREATE INDEX chat_sessions_of_user ON chat_sessions (user, id);
CREATE INDEX chat_sessions_of_project ON chat_sessions (project, id);

CREATE TABLE turns (
  id TEXT PRIMARY KEY NOT NULL,
  session TEXT NOT NULL REFERENCES chat_sessions (id) ON DELETE CASCADE,
  user TEXT NOT NULL,
  status TEXT NOT NULL,
  ended_at TEXT,
  body TEXT NOT NULL
) STRICT;
CREATE INDEX turns_of_session ON turns (session, id);
CREATE UNIQUE INDEX one_processing_turn ON turns (session) WHERE status = 'processing';

-- Consecutive events of one append are one row.
CREATE TABLE turn_events (
  session INTEGER NOT NULL,
  first_seq INTEGER NOT NULL,
  last_seq INTEGER NOT NULL,
  turn TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  -- JSON array of [nanoseconds since the epoch, name, arguments, notes].
  body TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX turn_events_in_order ON turn_events (session, last_seq);

-- Turns that are over, assembled once.
CREATE TABLE assembled_turns (
  turn TEXT PRIMARY KEY NOT NULL REFERENCES turns (id) ON DELETE CASCADE,
  body TEXT NOT NULL
) STRICT;

-- Deleted sessions whose events are still to be cleared away.
CREATE TABLE deleted_sessions (
  key INTEGER PRIMARY KEY NOT NULL
) STRICT;

CREATE TABLE drones (
  id TEXT PRIMARY KEY NOT NULL,
  user TEXT NOT NULL,
  session TEXT,
  generation INTEGER NOT NULL,
  body TEXT NOT NULL
) STRICT;
CREATE INDEX drones_of_user ON drones (user, id);
CREATE INDEX drones_of_session ON drones (session) WHERE session IS NOT NULL;

CREATE TABLE providers (
  name TEXT PRIMARY KEY NOT NULL,
  body TEXT NOT NULL
) STRICT;

CREATE TABLE preferences (
  user TEXT PRIMARY KEY NOT NULL,
  body TEXT NOT NULL
) STRICT;

CREATE TABLE audit (
  id TEXT PRIMARY KEY NOT NULL,
  body TEXT NOT NULL
) STRICT;

-- Written and emptied to find out whether the store takes writes.
CREATE TABLE write_check (
  id INTEGER PRIMARY KEY NOT NULL,
  at INTEGER NOT NULL,
  filler BLOB NOT NULL
) STRICT;

-- The tables of schema version 1, as minid 0.1 made them, with one finished run.
CREATE TABLE runs (
  id INTEGER PRIMARY KEY,
  recipe TEXT NOT NULL,
  version TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN
    ('running', 'ok', 'unchanged', 'failed', 'interrupted')),
  reason TEXT NOT NULL,
  changes TEXT NOT NULL,
  started REAL NOT NULL,
  finished REAL,
  error TEXT NOT NULL DEFAULT '',
  exit_code INTEGER NOT NULL DEFAULT 0,
  log TEXT NOT NULL DEFAULT '',
  manifest TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX runs_by_recipe ON runs (recipe, id);
CREATE TABLE stages (
  run INTEGER NOT NULL REFERENCES runs (id),
  name TEXT NOT NULL,
  key TEXT NOT NULL,
  cached INTEGER NOT NULL,
  seconds REAL NOT NULL,
  tools TEXT NOT NULL
) STRICT;
CREATE INDEX stages_by_run ON stages (run);
CREATE TABLE results (
  key TEXT PRIMARY KEY,
  stage TEXT NOT NULL,
  recipe TEXT NOT NULL,
  output TEXT NOT NULL,
  created REAL NOT NULL
) STRICT;
CREATE TABLE images (
  manifest TEXT PRIMARY KEY,
  recipe TEXT NOT NULL,
  version TEXT NOT NULL,
  detail TEXT NOT NULL,
  created REAL NOT NULL
) STRICT;
CREATE TABLE tags (
  name TEXT PRIMARY KEY,
  manifest TEXT NOT NULL REFERENCES images (manifest),
  moved REAL NOT NULL
) STRICT;
CREATE TABLE publications (
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL REFERENCES runs (id),
  target TEXT NOT NULL,
  name TEXT NOT NULL,
  from_manifest TEXT NOT NULL,
  to_manifest TEXT NOT NULL,
  moved REAL NOT NULL
) STRICT;
CREATE INDEX publications_by_name ON publications (name, target, id);
CREATE TABLE inputs (
  recipe TEXT PRIMARY KEY,
  inputs TEXT NOT NULL,
  run INTEGER NOT NULL REFERENCES runs (id)
) STRICT;
INSERT INTO runs (id, recipe, version, status, reason, changes, started, finished, manifest)
  VALUES (7, 'web', '1.2', 'ok', 'first build', '[]', 10.0, 12.0, 'sha256:00');
INSERT INTO stages VALUES (7, 'compile', 'k', 0, 1.5, '{}');
INSERT INTO images VALUES ('sha256:00', 'web', '1.2', '{}', 12.0);
INSERT INTO tags VALUES ('web:latest', 'sha256:00', 12.0);
INSERT INTO publications VALUES (1, 7, 'store', 'web:latest', '', 'sha256:00', 12.0);
INSERT INTO inputs VALUES ('web', '{}', 7);
PRAGMA user_version = 1;

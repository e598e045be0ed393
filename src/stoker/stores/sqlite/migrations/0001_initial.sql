-- The first layout.
--
-- jobs.state: 0 blocked, 1 scheduled, 2 queued, 3 assigned, 4 running, 5 retry_queued,
--             6 completed, 7 dead_letter, 8 cancelled
-- jobs.priority: 0 high, 1 medium, 2 low
-- jobs.links: 1 has parents, 2 has children, 3 both
-- Instants are seconds since 1970 UTC. NULL stands for an option's default.

-- up

CREATE TABLE jobs (
    seq              INTEGER PRIMARY KEY,  -- the order of submission
    id               TEXT NOT NULL,
    state            INTEGER NOT NULL,
    queue            TEXT NOT NULL,
    priority         INTEGER NOT NULL,
    due_at           REAL NOT NULL,
    task             TEXT NOT NULL,
    submitted_at     REAL NOT NULL,
    attempt          INTEGER NOT NULL DEFAULT 0,
    epoch            INTEGER NOT NULL DEFAULT 0,
    nonce            TEXT,
    session          INTEGER,              -- sessions.seq that holds it, or held it last
    leased_at        REAL,
    started_at       REAL,
    deadline_at      REAL,
    finished_at      REAL,                 -- only of jobs that ended
    links            INTEGER NOT NULL DEFAULT 0,
    failed           INTEGER NOT NULL DEFAULT 0,
    lost             INTEGER NOT NULL DEFAULT 0,
    timeout          REAL,
    cancel_requested INTEGER,
    soft_timeout     REAL,
    expires_at       REAL,
    expires          REAL,                 -- as submitted: a requeue grants it anew
    max_retries      INTEGER,              -- NULL: 3
    max_lost         INTEGER,              -- NULL: 3
    retry            TEXT,                 -- NULL: the default policy
    waiting_for      INTEGER,
    run_anyway       INTEGER,              -- 1: a parent's failure does not cancel it
    workflow_id      TEXT,
    node             TEXT,
    tenant           TEXT,
    unique_key       TEXT,
    schedule         TEXT,
    headers          TEXT,
    progress         REAL,
    note             TEXT,
    error            TEXT,
    payload          TEXT,                 -- NULL: it stands in payloads
    result           TEXT
) STRICT;

CREATE UNIQUE INDEX jobs_id ON jobs (id);
CREATE INDEX jobs_ready ON jobs (queue, priority, due_at) WHERE state = 2;
CREATE INDEX jobs_due ON jobs (due_at) WHERE state IN (1, 5);
CREATE INDEX jobs_leased ON jobs (session) WHERE state IN (3, 4);
CREATE INDEX jobs_deadline ON jobs (deadline_at) WHERE deadline_at IS NOT NULL;
CREATE INDEX jobs_ended ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_dead ON jobs (seq) WHERE state = 7;
CREATE INDEX jobs_cancelled ON jobs (seq) WHERE state = 8;
CREATE INDEX jobs_expiring ON jobs (expires_at)
    WHERE expires_at IS NOT NULL AND state IN (0, 1, 2, 5);
CREATE INDEX jobs_unique ON jobs (unique_key, task)
    WHERE unique_key IS NOT NULL AND state < 6;
CREATE INDEX jobs_workflow ON jobs (workflow_id, finished_at) WHERE workflow_id IS NOT NULL;

-- Payloads so big that copying them with every change of their job's row would cost more than a
-- second look.
CREATE TABLE payloads (
    job     INTEGER PRIMARY KEY,
    payload TEXT NOT NULL
) STRICT;

-- Who waits for whom. A parent that was purged leaves its id.
CREATE TABLE edges (
    child     INTEGER NOT NULL,
    place     INTEGER NOT NULL,
    parent    INTEGER,
    parent_id TEXT,
    PRIMARY KEY (child, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX edges_parent ON edges (parent) WHERE parent IS NOT NULL;

-- Attempts that ended in any way but well. The one under way, and the one that completed the job,
-- stand in the job's own row.
CREATE TABLE attempts (
    job         INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    nonce       TEXT,
    session     INTEGER,
    leased_at   REAL NOT NULL,
    started_at  REAL,
    finished_at REAL NOT NULL,
    outcome     TEXT NOT NULL,
    error       TEXT,
    PRIMARY KEY (job, epoch)
) STRICT, WITHOUT ROWID;

CREATE TABLE logs (
    job     INTEGER NOT NULL,
    n       INTEGER NOT NULL,
    at      REAL NOT NULL,
    attempt INTEGER NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (job, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE queues (
    name   TEXT PRIMARY KEY,
    paused INTEGER NOT NULL DEFAULT 0,
    lease_limit INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX queues_restricted ON queues (name) WHERE paused OR lease_limit IS NOT NULL;

CREATE TABLE tallies (
    queue    TEXT NOT NULL,
    priority INTEGER NOT NULL,
    state    INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    PRIMARY KEY (queue, priority, state)
) STRICT, WITHOUT ROWID;

CREATE TABLE activity (
    minute  INTEGER NOT NULL,
    queue   TEXT NOT NULL,
    task    TEXT NOT NULL,
    outcome TEXT NOT NULL,
    n       INTEGER NOT NULL,
    waited  REAL NOT NULL,
    ran     REAL NOT NULL,
    PRIMARY KEY (minute, queue, task, outcome)
) STRICT, WITHOUT ROWID;

CREATE TABLE totals (
    outcome TEXT PRIMARY KEY,
    n       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE workflows (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    name         TEXT NOT NULL,
    submitted_at REAL NOT NULL
) STRICT;

CREATE TABLE workflow_tallies (
    workflow_id TEXT NOT NULL,
    state       INTEGER NOT NULL,
    n           INTEGER NOT NULL,
    PRIMARY KEY (workflow_id, state)
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    state      TEXT NOT NULL,
    started_at REAL NOT NULL,
    seen_at    REAL NOT NULL,
    expires_at REAL NOT NULL,
    ended_at   REAL,
    command    TEXT,
    nonce      TEXT,                       -- of the last exchange that leased
    spec       TEXT NOT NULL
) STRICT;
CREATE INDEX sessions_ended ON sessions (ended_at);

CREATE TABLE schedules (
    name        TEXT PRIMARY KEY,
    spec        TEXT NOT NULL,
    paused      INTEGER NOT NULL,
    next_at     REAL,
    last_at     REAL,
    last_job_id TEXT,
    fired       INTEGER NOT NULL DEFAULT 0,
    created_at  REAL NOT NULL,
    updated_at  REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    id           TEXT PRIMARY KEY,
    login_of     TEXT,                     -- the key that logged in, if this is a log-in
    spec         TEXT NOT NULL,            -- with the digest, never with the secret
    created_at   REAL NOT NULL,
    expires_at   REAL,
    last_used_at REAL,
    revoked_at   REAL
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_logins ON keys (login_of) WHERE login_of IS NOT NULL;

CREATE TABLE terms (
    name       TEXT PRIMARY KEY,
    holder     TEXT NOT NULL,
    elected_at REAL NOT NULL,
    expires_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    at      REAL NOT NULL,
    kind    TEXT NOT NULL,
    actor   TEXT NOT NULL,
    job_id  TEXT,
    queue   TEXT,
    worker  TEXT,
    details TEXT
) STRICT;
CREATE INDEX events_job ON events (job_id) WHERE job_id IS NOT NULL;

-- down

DROP TABLE events;
DROP TABLE terms;
DROP TABLE keys;
DROP TABLE schedules;
DROP TABLE sessions;
DROP TABLE workflow_tallies;
DROP TABLE workflows;
DROP TABLE totals;
DROP TABLE activity;
DROP TABLE tallies;
DROP TABLE queues;
DROP TABLE logs;
DROP TABLE attempts;
DROP TABLE edges;
DROP TABLE payloads;
DROP TABLE jobs;

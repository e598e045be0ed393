-- The first layout: tables. The commands on them are in the migrations that follow.
--
-- live holds the jobs that have not ended, ended those that have, with the same columns: what is
-- hot stays small however much is kept, and is all that autovacuum has to care for often.
--
-- state: 0 blocked, 1 scheduled, 2 queued, 3 assigned, 4 running, 5 retry_queued,
--        6 completed, 7 dead_letter, 8 cancelled
-- priority: 0 high, 1 medium, 2 low
-- links: 1 has parents, 2 has children, 3 both
-- Instants are seconds since 1970 UTC. Columns that hold free text from outside (note, error,
-- headers, messages, details, spec) hold it as JSON.

-- up

CREATE TABLE layout (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE SEQUENCE job_seq;

CREATE TABLE live (
    seq              bigint NOT NULL DEFAULT nextval('job_seq'), -- the order of submission
    session          bigint,            -- sessions.seq that holds it, or held it last
    due_at           double precision NOT NULL,
    submitted_at     double precision NOT NULL,
    leased_at        double precision,
    started_at       double precision,
    deadline_at      double precision,
    finished_at      double precision,  -- only of jobs that ended
    timeout          double precision,
    soft_timeout     double precision,
    expires_at       double precision,
    expires          double precision,  -- as submitted: a requeue grants it anew
    progress         double precision,
    attempt          integer NOT NULL DEFAULT 0,
    epoch            integer NOT NULL DEFAULT 0,
    failed           integer NOT NULL DEFAULT 0,
    lost             integer NOT NULL DEFAULT 0,
    waiting_for      integer NOT NULL DEFAULT 0,
    max_retries      integer NOT NULL,
    max_lost         integer NOT NULL,
    state            smallint NOT NULL,
    priority         smallint NOT NULL,
    links            smallint NOT NULL DEFAULT 0,
    cancel_requested boolean NOT NULL DEFAULT false,
    run_anyway       boolean NOT NULL DEFAULT false, -- a parent's failure does not cancel it
    id               text COLLATE "C" NOT NULL PRIMARY KEY,
    queue            text COLLATE "C" NOT NULL,
    task             text COLLATE "C" NOT NULL,
    nonce            text COLLATE "C",
    worker           text COLLATE "C",
    retry            text,              -- NULL: the default policy
    workflow_id      text COLLATE "C",
    node             text COLLATE "C",
    tenant           text COLLATE "C",
    unique_key       text COLLATE "C",
    schedule         text COLLATE "C",
    headers          text,
    note             text,
    error            text,
    error_fold       text,              -- what a search in errors looks at
    parents          text[],
    payload          bytea NOT NULL,
    result           bytea
) WITH (
    fillfactor = 85,
    toast_tuple_target = 1024,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_analyze_threshold = 5000
);
CREATE UNIQUE INDEX live_seq ON live (seq);
CREATE INDEX live_ready ON live (queue, priority, due_at, seq) WHERE state = 2;
CREATE INDEX live_due ON live (due_at) WHERE state IN (1, 5);
CREATE INDEX live_leased ON live (session) WHERE state IN (3, 4);
CREATE INDEX live_expiring ON live (expires_at)
    WHERE expires_at IS NOT NULL AND state IN (0, 1, 2, 5);
CREATE UNIQUE INDEX live_unique ON live (unique_key, task, (coalesce('=' || tenant, '')))
    WHERE unique_key IS NOT NULL;
CREATE INDEX live_workflow ON live (workflow_id, state) WHERE workflow_id IS NOT NULL;

CREATE TABLE ended (LIKE live);
ALTER TABLE ended ADD PRIMARY KEY (id);
ALTER TABLE ended SET (toast_tuple_target = 1024);
CREATE UNIQUE INDEX ended_seq ON ended (seq);
CREATE INDEX ended_finished ON ended (finished_at, seq);
CREATE INDEX ended_dead ON ended (seq) WHERE state = 7;
CREATE INDEX ended_cancelled ON ended (seq) WHERE state = 8;
CREATE INDEX ended_workflow ON ended (workflow_id, state, finished_at)
    WHERE workflow_id IS NOT NULL;

CREATE VIEW jobs AS SELECT * FROM live UNION ALL SELECT * FROM ended;

-- Who waits for whom, by job seq. A parent that was purged leaves no line.
CREATE TABLE edges (
    child  bigint NOT NULL,
    parent bigint NOT NULL,
    PRIMARY KEY (child, parent)
);
CREATE INDEX edges_parent ON edges (parent);

-- Attempts that ended in any way but well. The one under way, and the one that completed the job,
-- stand in the job's own row.
CREATE TABLE attempts (
    job         bigint NOT NULL,
    epoch       integer NOT NULL,
    attempt     integer NOT NULL,
    nonce       text COLLATE "C",
    worker      text COLLATE "C",
    leased_at   double precision NOT NULL,
    started_at  double precision,
    finished_at double precision NOT NULL,
    outcome     text NOT NULL,
    error       text,
    PRIMARY KEY (job, epoch)
);

CREATE TABLE logs (
    job     bigint NOT NULL,
    n       integer NOT NULL,
    at      double precision NOT NULL,
    attempt integer NOT NULL,
    message text NOT NULL,
    PRIMARY KEY (job, n)
);

CREATE TABLE queues (
    name        text COLLATE "C" PRIMARY KEY,
    paused      boolean NOT NULL DEFAULT false,
    lease_limit integer
);

-- What transactions add to the books, each a few lines that nobody else waits for. They are
-- folded into tallies, activity and totals now and then; whoever counts adds both up.
-- A line with a state is for tallies, one with an outcome for activity and totals. Lines of attempts
-- are told apart by the classes of durations that they fell into.
CREATE TABLE deltas (
    queue    text COLLATE "C" NOT NULL,
    task     text COLLATE "C",
    outcome  text COLLATE "C",
    minute   bigint,
    n        bigint NOT NULL,
    waited   double precision NOT NULL DEFAULT 0,
    ran      double precision NOT NULL DEFAULT 0,
    priority smallint,
    state    smallint,
    wait_class smallint,
    ran_class  smallint
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);

-- What the lines mean for the books: each counts for its outcome, and an attempt for its classes too,
-- under the marks of stoker.core.spread. Without a minute it counts for the totals alone.
CREATE FUNCTION booked(d deltas)
RETURNS TABLE (minute bigint, outcome text, n bigint, waited double precision, ran double precision)
LANGUAGE sql IMMUTABLE AS $$
    SELECT v.* FROM (VALUES
        (d.minute, d.outcome, d.n, d.waited, d.ran),
        (d.minute, 'waited_' || d.wait_class, d.n, 0, 0),
        (d.minute, 'ran_' || d.ran_class, d.n, 0, 0),
        (NULL, CASE WHEN d.wait_class IS NOT NULL THEN 'waited_us' END,
         round(d.waited * 1e6)::bigint, 0, 0),
        (NULL, CASE WHEN d.ran_class IS NOT NULL THEN 'ran_us' END,
         round(d.ran * 1e6)::bigint, 0, 0)
    ) AS v (minute, outcome, n, waited, ran) WHERE v.outcome IS NOT NULL
$$;

-- Assigned and running jobs are tallied together, as assigned.
CREATE TABLE tallies (
    queue    text COLLATE "C" NOT NULL,
    priority smallint NOT NULL,
    state    smallint NOT NULL,
    n        bigint NOT NULL,
    PRIMARY KEY (queue, priority, state)
) WITH (fillfactor = 50);

CREATE TABLE activity (
    minute  bigint NOT NULL,
    queue   text COLLATE "C" NOT NULL,
    task    text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    n       bigint NOT NULL,
    waited  double precision NOT NULL,
    ran     double precision NOT NULL,
    PRIMARY KEY (minute, queue, task, outcome)
) WITH (fillfactor = 70);

CREATE TABLE totals (
    outcome text COLLATE "C" PRIMARY KEY,
    n       bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE workflows (
    seq          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           text COLLATE "C" NOT NULL UNIQUE,
    name         text NOT NULL,
    submitted_at double precision NOT NULL
);

CREATE TABLE sessions (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         text COLLATE "C" NOT NULL UNIQUE,
    name       text COLLATE "C" NOT NULL,
    state      text NOT NULL,
    started_at double precision NOT NULL,
    seen_at    double precision NOT NULL,
    expires_at double precision NOT NULL,
    ended_at   double precision,
    command    text,
    nonce      text COLLATE "C",        -- of the last exchange that leased
    spec       text NOT NULL
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX sessions_ended ON sessions (ended_at);

CREATE TABLE schedules (
    name        text COLLATE "C" PRIMARY KEY,
    spec        text NOT NULL,
    paused      boolean NOT NULL,
    next_at     double precision,
    last_at     double precision,
    last_job_id text COLLATE "C",
    fired       bigint NOT NULL DEFAULT 0,
    created_at  double precision NOT NULL,
    updated_at  double precision NOT NULL
);

-- API keys and log-ins. The spec holds the digest, never the secret.
CREATE TABLE keys (
    id           text COLLATE "C" PRIMARY KEY,
    login_of     text COLLATE "C",      -- the key that logged in, if this is a log-in
    name         text NOT NULL,
    spec         text NOT NULL,
    created_at   double precision NOT NULL,
    expires_at   double precision,
    last_used_at double precision,
    revoked_at   double precision
);
CREATE INDEX keys_logins ON keys (login_of) WHERE login_of IS NOT NULL;

CREATE TABLE terms (
    name       text COLLATE "C" PRIMARY KEY,
    holder     text COLLATE "C" NOT NULL,
    elected_at double precision NOT NULL,
    expires_at double precision NOT NULL
);

CREATE TABLE events (
    seq     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      double precision NOT NULL,
    kind    text COLLATE "C" NOT NULL,
    actor   text COLLATE "C" NOT NULL,
    job_id  text COLLATE "C",
    queue   text COLLATE "C",
    worker  text COLLATE "C",
    details text
);
CREATE INDEX events_job ON events (job_id) WHERE job_id IS NOT NULL;

-- How one attempt ended, as the commands hand it to each other. An outcome is that of a settlement,
-- 'lost' or 'timed_out'.
CREATE TYPE ending AS (
    seq        bigint,
    outcome    text,
    error      text,
    error_fold text,
    code       text,
    retry_in   double precision,
    ran_for    double precision,
    result     bytea
);

-- What a command tells the outside besides its answer: queues in which a job became leasable or
-- due at some moment, and jobs that changed.
CREATE TYPE news AS (
    rung    text[],
    changed text[]
);

-- down

DROP TYPE news;
DROP TYPE ending;
DROP TABLE events;
DROP TABLE terms;
DROP TABLE keys;
DROP TABLE schedules;
DROP TABLE sessions;
DROP TABLE workflows;
DROP TABLE totals;
DROP TABLE activity;
DROP TABLE tallies;
DROP FUNCTION booked;
DROP TABLE deltas;
DROP TABLE queues;
DROP TABLE logs;
DROP TABLE attempts;
DROP TABLE edges;
DROP VIEW jobs;
DROP TABLE ended;
DROP TABLE live;
DROP SEQUENCE job_seq;
DROP TABLE layout;

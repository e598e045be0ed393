-- What people and the keeper do: cancel, requeue, reap, purge, queues, schedules, leaders, the audit
-- trail. See 0002 for the order of locks.

-- up

-- Folds the lines of deltas into the books. One transaction at a time does it; others pass by.
CREATE FUNCTION fold(p_now double precision) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('stoker ' || current_schema), 3) THEN
        RETURN;
    END IF;
    WITH gone AS MATERIALIZED (
        DELETE FROM deltas RETURNING *
    ), named AS (
        -- Jobs that came in with somebody else's transaction could not make their queue.
        INSERT INTO queues (name)
        SELECT DISTINCT g.queue FROM gone AS g
        WHERE NOT EXISTS (SELECT 1 FROM queues AS q WHERE q.name = g.queue)
        ORDER BY g.queue ON CONFLICT DO NOTHING
    ), tallied AS (
        INSERT INTO tallies AS t (queue, priority, state, n)
        SELECT queue, priority, state, sum(n) FROM gone WHERE state IS NOT NULL
        GROUP BY queue, priority, state
        ON CONFLICT (queue, priority, state) DO UPDATE SET n = t.n + excluded.n
    ), told AS MATERIALIZED (
        SELECT g.queue, g.task, b.* FROM gone AS g, booked(g::deltas) AS b
    ), counted AS (
        INSERT INTO totals AS t (outcome, n)
        SELECT outcome, sum(n) FROM told GROUP BY outcome
        ON CONFLICT (outcome) DO UPDATE SET n = t.n + excluded.n
    )
    INSERT INTO activity AS a (minute, queue, task, outcome, n, waited, ran)
    SELECT minute, queue, task, outcome, sum(n), sum(waited), sum(ran)
    FROM told WHERE minute IS NOT NULL GROUP BY minute, queue, task, outcome
    ON CONFLICT (minute, queue, task, outcome) DO UPDATE SET
        n = a.n + excluded.n, waited = a.waited + excluded.waited, ran = a.ran + excluded.ran;
    DELETE FROM activity WHERE minute < p_now - 86460;
END
$$;

-- Calls jobs off, in the given order. Answers are 'cancelled', 'requested' and 'too_late'; unknown
-- ids get none.
CREATE FUNCTION cancel(
    p_now double precision, p_actor text, p_reason text, p_ids text[],
    OUT ids text[], OUT answers text[], OUT rung text[], OUT changed text[]
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_mergejoin = off
SET enable_nestloop = off
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    v_now double precision;
    v_waiting bigint[];
    v_asked text[];
    v_told news := ROW('{}', '{}')::news;
    v_fall record;
BEGIN
    PERFORM lock_graph();
    PERFORM lock_trail();
    -- Leased ones first, as everybody takes them: see the order of locks.
    PERFORM 1 FROM live WHERE id = ANY (p_ids) AND state BETWEEN 3 AND 4 ORDER BY id FOR UPDATE;
    PERFORM 1 FROM live WHERE id = ANY (p_ids) ORDER BY id FOR UPDATE;
    v_now := moment(p_now);
    INSERT INTO events (at, kind, actor, job_id, queue, worker, details)
    SELECT v_now, 'job_cancelled', p_actor, j.id, j.queue, j.worker, json_build_object(
        'answer', CASE WHEN j.state IN (3, 4) THEN 'requested' ELSE 'cancelled' END,
        'reason', p_reason)::text
    FROM unnest(p_ids) WITH ORDINALITY AS t (id, place)
    CROSS JOIN LATERAL (SELECT * FROM live AS x WHERE x.id = t.id OFFSET 0) AS j
    WHERE NOT j.cancel_requested OR j.state NOT IN (3, 4) ORDER BY t.place;
    SELECT array_agg(j.id ORDER BY t.place),
           array_agg(CASE WHEN j.state >= 6 THEN 'too_late' WHEN j.state IN (3, 4) THEN 'requested'
                          ELSE 'cancelled' END ORDER BY t.place),
           array_agg(j.seq) FILTER (WHERE j.state IN (0, 1, 2, 5))
    INTO ids, answers, v_waiting
    FROM unnest(p_ids) WITH ORDINALITY AS t (id, place)
    CROSS JOIN LATERAL (SELECT * FROM jobs AS x WHERE x.id = t.id OFFSET 0) AS j;
    WITH asked AS (
        UPDATE live SET cancel_requested = true
        WHERE id = ANY (p_ids) AND state BETWEEN 3 AND 4 AND NOT cancel_requested
        RETURNING id
    )
    SELECT array_agg(id) INTO v_asked FROM asked;
    IF v_waiting IS NOT NULL THEN
        -- Jobs that were named are cancelled by their own right first, what depends on them after.
        SELECT * INTO v_fall FROM end_waiting(v_now, v_waiting, 8, NULL);
        v_told := joined(v_fall.told, spoil(v_now, v_fall.parents));
    END IF;
    ids := coalesce(ids, '{}');
    answers := coalesce(answers, '{}');
    rung := array_remove((v_told).rung, NULL);
    changed := coalesce(v_asked, '{}') || (v_told).changed;
END
$$;

-- Brings ended jobs back to life, in the given order, with what depends on them. Answers are
-- 'requeued' and 'refused'; unknown ids get none.
CREATE FUNCTION requeue(
    p_now double precision, p_actor text, p_reason text, p_ids text[], p_downstream boolean,
    p_payload bytea, p_interval double precision,
    OUT ids text[], OUT answers text[], OUT rung text[], OUT changed text[]
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_mergejoin = off
SET enable_nestloop = off
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    v_now double precision;
    v_job record;
    v_level bigint[];
    v_seen bigint[];
    v_next bigint[];
    v_through bigint[];
    v_fell boolean;
BEGIN
    PERFORM lock_graph();
    PERFORM lock_trail();
    PERFORM 1 FROM ended WHERE id = ANY (p_ids) ORDER BY id FOR UPDATE;
    v_now := moment(p_now);
    ids := '{}';
    answers := '{}';
    v_level := '{}';
    FOR v_job IN
        SELECT j.seq, j.id, j.state, j.queue, j.worker
        FROM unnest(p_ids) WITH ORDINALITY AS t (id, place)
        CROSS JOIN LATERAL (SELECT * FROM jobs AS x WHERE x.id = t.id OFFSET 0) AS j ORDER BY t.place
    LOOP
        ids := ids || v_job.id;
        IF v_job.state >= 6 AND revive(
            v_job.seq, v_now, v_now + cardinality(v_level) * p_interval
        ) THEN
            v_level := v_level || v_job.seq;
            answers := answers || 'requeued'::text;
            INSERT INTO events (at, kind, actor, job_id, queue, worker, details)
            VALUES (v_now, 'job_requeued', p_actor, v_job.id, v_job.queue, v_job.worker,
                    json_build_object('reason', p_reason)::text);
        ELSE
            answers := answers || 'refused'::text;
        END IF;
    END LOOP;
    IF p_payload IS NOT NULL THEN
        UPDATE live SET payload = p_payload WHERE seq = ANY (v_level);
    END IF;
    -- Those that come along, level by level. v_through are live ones, through which "downstream"
    -- goes on.
    v_seen := v_level;
    v_next := v_level;
    WHILE cardinality(v_next) > 0 LOOP
        v_through := '{}';
        FOR v_job IN
            SELECT j.seq, j.state, j.error_fold FROM (
                SELECT DISTINCT e.child FROM edges AS e WHERE e.parent = ANY (v_next)
            ) AS c CROSS JOIN LATERAL (SELECT * FROM jobs AS x WHERE x.seq = c.child OFFSET 0) AS j
            WHERE NOT j.seq = ANY (v_seen) ORDER BY j.seq
        LOOP
            v_seen := v_seen || v_job.seq;
            IF v_job.state >= 6 THEN
                v_fell := v_job.state = 8
                    AND starts_with(coalesce(v_job.error_fold, ''), 'parent_failed' || chr(31));
                IF (p_downstream OR v_fell) AND revive(v_job.seq, v_now, v_now) THEN
                    v_level := v_level || v_job.seq;
                    v_through := v_through || v_job.seq;
                END IF;
            ELSIF p_downstream THEN
                v_through := v_through || v_job.seq;
            END IF;
        END LOOP;
        v_next := v_through;
    END LOOP;
    IF cardinality(v_level) > 0 THEN
        SELECT s.rung, s.changed INTO rung, changed FROM settle_down(v_now, v_level) AS s;
    END IF;
    rung := coalesce(rung, '{}');
    changed := coalesce(changed, '{}');
END
$$;

-- Moves an ended job among the living, blocked for now. False if another job holds its key.
CREATE FUNCTION revive(p_seq bigint, p_now double precision, p_due double precision)
RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_job ended;
    v_before smallint;
BEGIN
    SELECT * INTO v_job FROM ended WHERE seq = p_seq FOR UPDATE;
    IF v_job.seq IS NULL THEN
        RETURN false;
    END IF;
    v_before := v_job.state;
    v_job.state := 0;
    v_job.failed := 0;
    v_job.lost := 0;
    v_job.waiting_for := 0;
    v_job.due_at := p_due;
    v_job.finished_at := NULL;
    v_job.result := NULL;
    v_job.error := NULL;
    v_job.error_fold := NULL;
    v_job.progress := NULL;
    v_job.note := NULL;
    v_job.cancel_requested := false;
    v_job.expires_at := p_now + v_job.expires;
    INSERT INTO live SELECT v_job.* ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF v_before = 6 THEN
        INSERT INTO attempts (
            job, epoch, attempt, nonce, worker, leased_at, started_at, finished_at, outcome)
        SELECT seq, epoch, attempt, nonce, worker, leased_at, started_at, finished_at, 'completed'
        FROM ended WHERE seq = p_seq;
    END IF;
    DELETE FROM ended WHERE seq = p_seq;
    INSERT INTO deltas (queue, priority, state, n)
    VALUES (v_job.queue, v_job.priority, v_before, -1), (v_job.queue, v_job.priority, 0, 1);
    RETURN true;
END
$$;

-- Gives revived jobs, all of them blocked so far, the states in which they wait.
CREATE FUNCTION settle_down(
    p_now double precision, p_seqs bigint[], OUT rung text[], OUT changed text[]
)
LANGUAGE plpgsql AS $$
DECLARE
    v_children bigint[];
    v_counts bigint[];
BEGIN
    -- Parents that live, among them the revived ones, may not end before this commits.
    PERFORM 1 FROM live AS j WHERE j.seq = ANY (ARRAY(
        SELECT DISTINCT e.parent FROM edges AS e WHERE e.child = ANY (p_seqs)))
    ORDER BY j.id || '' FOR UPDATE;
    -- Children that wait already wait for one more.
    SELECT array_agg(c.child), array_agg(c.n) INTO v_children, v_counts FROM (
        SELECT e.child, count(*) AS n FROM edges AS e WHERE e.parent = ANY (p_seqs) GROUP BY e.child
    ) AS c;
    UPDATE live AS j SET waiting_for = j.waiting_for + c.n
    FROM unnest(v_children, v_counts) AS c (seq, n)
    WHERE j.seq = c.seq AND j.seq = ANY (v_children) AND j.state = 0 AND NOT j.seq = ANY (p_seqs);
    UPDATE live AS j SET waiting_for = (
        SELECT count(*) FROM edges AS e
        CROSS JOIN LATERAL (SELECT 1 FROM live AS x WHERE x.seq = e.parent OFFSET 0) AS p
        WHERE e.child = j.seq)
    WHERE j.seq = ANY (p_seqs);
    WITH moved AS (
        UPDATE live AS j SET state = CASE WHEN j.due_at > p_now THEN 1 ELSE 2 END
        WHERE j.seq = ANY (p_seqs) AND j.waiting_for = 0
        RETURNING j.queue, j.priority, j.state
    ), booked AS (
        INSERT INTO deltas (queue, priority, state, n)
        SELECT queue, priority, 0, -count(*) FROM moved GROUP BY queue, priority
        UNION ALL
        SELECT queue, priority, state, count(*) FROM moved GROUP BY queue, priority, state
    )
    SELECT array_agg(DISTINCT queue) INTO rung FROM moved;
    changed := ARRAY(SELECT j.id FROM live AS j WHERE j.seq = ANY (p_seqs));
END
$$;

-- Jobs that ran past their deadline: whoever reaps decides by their retry policies, which are no
-- business of SQL, and hands his decisions to reap with the epochs seen here.
CREATE FUNCTION overdue(
    p_now double precision, p_grace double precision, p_limit integer,
    OUT id text, OUT epoch integer, OUT failed integer, OUT retry text
) RETURNS SETOF record
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET enable_seqscan = off
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    v_latest double precision := moment(p_now) - p_grace;
BEGIN
    RETURN QUERY SELECT j.id::text, j.epoch, j.failed, j.retry FROM live AS j
    WHERE j.state IN (3, 4) AND j.deadline_at < v_latest ORDER BY j.deadline_at LIMIT p_limit;
END
$$;

-- Takes back what was lost, and moves what time has moved. t_ are the decisions on overdue jobs.
CREATE FUNCTION reap(
    p_now double precision, p_actor text, p_sessions text[], p_grace double precision,
    p_limit integer, p_keep double precision, p_deadline_grace double precision, p_events bigint,
    t_ids text[], t_epochs bigint[], t_retries double precision[],
    OUT dead text[], OUT requeued text[], OUT buried text[], OUT promoted integer,
    OUT rung text[], OUT changed text[]
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_mergejoin = off
SET enable_nestloop = off
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    v_now double precision;
    v_taken bigint[] := '{}';
    v_seqs bigint[];
    v_ends ending[];
    v_fall record;
    v_due record;
    v_told news := ROW('{}', '{}')::news;
BEGIN
    PERFORM lock_graph();
    PERFORM lock_trail();
    PERFORM 1 FROM sessions WHERE id = ANY (p_sessions) ORDER BY id FOR NO KEY UPDATE;
    v_now := moment(p_now);
    -- A session that somebody holds beats or works right now: it is left to the next call, unless
    -- it was named.
    WITH silent AS MATERIALIZED (
        SELECT seq FROM sessions
        WHERE ended_at IS NULL AND (v_now - expires_at > p_grace OR id = ANY (p_sessions))
        FOR NO KEY UPDATE SKIP LOCKED
    ), gone AS (
        UPDATE sessions AS s SET state = 'dead', ended_at = v_now
        FROM silent WHERE s.seq = silent.seq
        RETURNING s.seq, s.id, s.name
    ), written AS (
        INSERT INTO events (at, kind, actor, worker, details)
        SELECT v_now, 'worker_died', p_actor, name, json_build_object('session', id)::text
        FROM gone ORDER BY seq
    )
    SELECT coalesce(array_agg(id ORDER BY seq), '{}') INTO dead FROM gone;

    v_seqs := ARRAY(
        SELECT j.seq FROM sessions AS s CROSS JOIN LATERAL (
            SELECT x.seq FROM live AS x WHERE x.session = s.seq AND x.state IN (3, 4) OFFSET 0) AS j
        WHERE s.ended_at >= v_now - p_keep AND s.state = 'dead' LIMIT p_limit);
    v_seqs := held_leased(v_seqs);
    IF cardinality(v_seqs) > 0 THEN
        v_taken := v_seqs;
        INSERT INTO events (at, kind, actor, job_id, queue, worker, details)
        SELECT v_now, 'job_lost', p_actor, j.id, j.queue, j.worker, '{"code":"worker_lost"}'
        FROM live AS j WHERE j.seq = ANY (v_seqs) ORDER BY j.seq;
        SELECT array_agg(ROW(s.seq, 'lost', fault('worker_lost'), fault_fold('worker_lost'),
                             'worker_lost', NULL, NULL, NULL)::ending)
        INTO v_ends FROM unnest(v_seqs) AS s (seq);
        v_told := joined(v_told, end_attempts(v_now, p_actor, v_ends));
    END IF;

    IF cardinality(t_ids) > 0 THEN
        v_seqs := held_leased(ARRAY(
            SELECT j.seq FROM unnest(t_ids, t_epochs) WITH ORDINALITY AS t (id, epoch, place)
            CROSS JOIN LATERAL (SELECT * FROM live AS x WHERE x.id = t.id OFFSET 0) AS j
            WHERE j.epoch = t.epoch AND j.state BETWEEN 3 AND 4 AND j.deadline_at < v_now - p_deadline_grace
            ORDER BY t.place LIMIT greatest(p_limit - cardinality(v_taken), 0)));
        SELECT array_agg(ROW(j.seq, 'timed_out', fault('timeout'), fault_fold('timeout'),
                             'timeout', t.retry_in, NULL, NULL)::ending), array_agg(j.seq)
        INTO v_ends, v_seqs
        FROM unnest(t_ids, t_epochs, t_retries) AS t (id, epoch, retry_in)
        CROSS JOIN LATERAL (SELECT * FROM live AS x WHERE x.id = t.id OFFSET 0) AS j
        WHERE j.epoch = t.epoch AND j.seq = ANY (v_seqs);
        IF v_ends IS NOT NULL THEN
            v_taken := v_taken || v_seqs;
            INSERT INTO events (at, kind, actor, job_id, queue, worker, details)
            SELECT v_now, 'job_lost', p_actor, j.id, j.queue, j.worker, '{"code":"timeout"}'
            FROM live AS j WHERE j.seq = ANY (v_seqs) ORDER BY j.seq;
            v_told := joined(v_told, end_attempts(v_now, p_actor, v_ends));
        END IF;
    END IF;

    v_seqs := ARRAY(
        SELECT j.seq FROM live AS j
        WHERE j.expires_at IS NOT NULL AND j.expires_at < v_now AND j.state IN (0, 1, 2, 5)
        ORDER BY j.expires_at LIMIT greatest(p_limit - cardinality(v_taken), 0)
        FOR UPDATE SKIP LOCKED);
    IF cardinality(v_seqs) > 0 THEN
        v_taken := v_taken || v_seqs;
        INSERT INTO events (at, kind, actor, job_id, queue, worker, details)
        SELECT v_now, 'job_dead', p_actor, j.id, j.queue, j.worker,
               json_build_object('code', 'expired', 'task', j.task)::text
        FROM live AS j WHERE j.seq = ANY (v_seqs) ORDER BY j.seq;
        INSERT INTO deltas (queue, minute, task, outcome, n)
        SELECT j.queue, minute_of(v_now), j.task, 'dead', count(*)
        FROM live AS j WHERE j.seq = ANY (v_seqs) GROUP BY j.queue, j.task;
        SELECT * INTO v_fall FROM end_waiting(v_now, v_seqs, 7, 'expired');
        v_told := joined(joined(v_told, v_fall.told), spoil(v_now, v_fall.parents));
    END IF;

    SELECT coalesce(array_agg(j.id) FILTER (WHERE j.state IN (0, 1, 2, 5)), '{}'),
           coalesce(array_agg(j.id) FILTER (WHERE j.state = 7), '{}')
    INTO requeued, buried
    FROM unnest(v_taken) AS t (seq)
    CROSS JOIN LATERAL (SELECT * FROM jobs AS x WHERE x.seq = t.seq OFFSET 0) AS j;

    SELECT * INTO v_due FROM promote(v_now, p_limit - cardinality(v_taken));
    promoted := v_due.promoted;
    v_told := joined(v_told, v_due.told);

    DELETE FROM sessions AS s WHERE s.ended_at < v_now - p_keep AND (SELECT count(*) FROM (
        SELECT 1 FROM live AS j WHERE j.session = s.seq AND j.state IN (3, 4) LIMIT 1) AS x) = 0;
    DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - p_events;
    PERFORM fold(v_now);
    rung := ARRAY(SELECT DISTINCT n FROM unnest((v_told).rung) AS n WHERE n IS NOT NULL);
    changed := ARRAY(SELECT DISTINCT n FROM unnest((v_told).changed) AS n WHERE n IS NOT NULL);
END
$$;

-- Those of some leased jobs that are still leased and that nobody else is settling, held.
CREATE FUNCTION held_leased(p_seqs bigint[]) RETURNS bigint[]
LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(
        SELECT j.seq FROM live AS j WHERE j.seq = ANY (p_seqs) AND j.state BETWEEN 3 AND 4
        ORDER BY j.id || '' FOR UPDATE SKIP LOCKED);
END
$$;

-- Deletes jobs that ended before a moment, and waiting jobs outside workflows if they are asked for,
-- with all that belongs to them.
CREATE FUNCTION purge(
    p_now double precision, p_actor text, p_ended text[], p_waiting text[],
    p_older_than double precision,
    OUT deleted integer, OUT rung text[], OUT changed text[]
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_mergejoin = off
SET enable_nestloop = off
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    v_now double precision;
    v_seqs bigint[];
    v_waiting bigint[];
    v_fall record;
    v_flows text[];
    v_told news := ROW('{}', '{}')::news;
BEGIN
    PERFORM lock_graph();
    PERFORM lock_trail();
    v_now := moment(p_now);
    v_waiting := ARRAY(
        SELECT j.seq FROM live AS j WHERE j.id = ANY (p_waiting) AND j.state IN (0, 1, 2, 5)
          AND j.workflow_id IS NULL
        ORDER BY j.id FOR UPDATE);
    IF cardinality(v_waiting) > 0 THEN
        SELECT * INTO v_fall FROM end_waiting(v_now, v_waiting, 8, NULL);
        v_told := joined(v_fall.told, spoil(v_now, v_fall.parents));
    END IF;
    v_seqs := v_waiting || ARRAY(
        SELECT j.seq FROM ended AS j
        WHERE j.id = ANY (p_ended) AND v_now - j.finished_at >= p_older_than
          AND (j.workflow_id IS NULL OR (SELECT count(*) FROM (
              SELECT 1 FROM live AS m WHERE m.workflow_id = j.workflow_id LIMIT 1) AS x) = 0)
        ORDER BY j.id FOR UPDATE OF j);
    DELETE FROM edges WHERE parent = ANY (v_seqs);
    DELETE FROM edges WHERE child = ANY (v_seqs);
    DELETE FROM attempts WHERE job = ANY (v_seqs);
    DELETE FROM logs WHERE job = ANY (v_seqs);
    WITH gone AS (
        DELETE FROM ended WHERE seq = ANY (v_seqs) RETURNING queue, priority, state, workflow_id
    ), booked AS (
        INSERT INTO deltas (queue, priority, state, n)
        SELECT queue, priority, state, -count(*) FROM gone GROUP BY queue, priority, state
    )
    SELECT count(*), array_agg(DISTINCT workflow_id) INTO deleted, v_flows FROM gone;
    DELETE FROM workflows AS w WHERE w.id = ANY (v_flows)
      AND (SELECT count(*) FROM (
          SELECT 1 FROM jobs AS j WHERE j.workflow_id = w.id LIMIT 1) AS x) = 0;
    IF deleted > 0 THEN
        INSERT INTO events (at, kind, actor, details)
        VALUES (v_now, 'jobs_purged', p_actor, json_build_object('count', deleted)::text);
        PERFORM fold(v_now);
    END IF;
    rung := array_remove((v_told).rung, NULL);
    changed := (v_told).changed;
END
$$;

CREATE FUNCTION set_queue(
    p_now double precision, p_actor text, p_name text, p_paused boolean, p_limit integer
) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    v_now double precision;
    v_queue queues;
BEGIN
    PERFORM lock_trail();
    INSERT INTO queues (name) VALUES (p_name) ON CONFLICT DO NOTHING;
    SELECT * INTO v_queue FROM queues WHERE name = p_name FOR UPDATE;
    v_now := moment(p_now);
    IF p_paused <> v_queue.paused THEN
        UPDATE queues SET paused = p_paused WHERE name = p_name;
        INSERT INTO events (at, kind, actor, queue) VALUES (
            v_now, CASE WHEN p_paused THEN 'queue_paused' ELSE 'queue_resumed' END, p_actor,
            p_name);
    END IF;
    IF p_limit IS NOT NULL AND nullif(p_limit, 0) IS DISTINCT FROM v_queue.lease_limit THEN
        UPDATE queues SET lease_limit = nullif(p_limit, 0) WHERE name = p_name;
        INSERT INTO events (at, kind, actor, queue, details) VALUES (
            v_now, 'queue_limited', p_actor, p_name,
            json_build_object('limit', nullif(p_limit, 0))::text);
    END IF;
END
$$;

-- Asks living sessions to drain or stop; gives those that were told.
CREATE FUNCTION set_session(
    p_now double precision, p_actor text, p_ids text[], p_command text
) RETURNS text[]
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    v_now double precision;
    v_told text[];
BEGIN
    PERFORM lock_trail();
    PERFORM 1 FROM sessions WHERE id = ANY (p_ids) ORDER BY id FOR NO KEY UPDATE;
    v_now := moment(p_now);
    WITH told AS (
        UPDATE sessions SET command = p_command WHERE id = ANY (p_ids) AND ended_at IS NULL
        RETURNING id, name
    ), written AS (
        INSERT INTO events (at, kind, actor, worker, details)
        SELECT v_now, 'worker_commanded', p_actor, name,
               json_build_object('session', id, 'command', p_command)::text
        FROM told ORDER BY array_position(p_ids, id::text)
    )
    SELECT array_agg(id) INTO v_told FROM told;
    RETURN coalesce(v_told, '{}');
END
$$;

-- Makes, changes and removes schedules; gives the names that were new, or that were not there.
CREATE FUNCTION put_schedules(
    p_now double precision, p_actor text, p_names text[], p_specs text[], p_paused boolean[],
    p_next double precision[], p_remove text[]
) RETURNS text[]
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    v_now double precision;
    v_before schedules;
    v_answer text[];
    v_i integer;
BEGIN
    PERFORM lock_trail();
    PERFORM pg_advisory_xact_lock(hashtext('stoker ' || current_schema), 4);
    v_now := moment(p_now);
    v_answer := ARRAY(
        SELECT n FROM unnest(p_names) WITH ORDINALITY AS t (n, place)
        WHERE NOT EXISTS (SELECT 1 FROM schedules WHERE name = n) ORDER BY place);
    FOR v_i IN 1 .. cardinality(p_names) LOOP
        SELECT * INTO v_before FROM schedules WHERE name = p_names[v_i] FOR UPDATE;
        INSERT INTO schedules AS s (name, spec, paused, next_at, created_at, updated_at)
        VALUES (p_names[v_i], p_specs[v_i], p_paused[v_i], p_next[v_i], v_now, v_now)
        ON CONFLICT (name) DO UPDATE SET
            spec = excluded.spec, paused = excluded.paused, next_at = excluded.next_at,
            updated_at = excluded.updated_at;
        IF v_before.name IS NULL
           OR (v_before.spec, v_before.next_at) IS DISTINCT FROM (p_specs[v_i], p_next[v_i]) THEN
            INSERT INTO events (at, kind, actor, details)
            VALUES (v_now, 'schedule_put', p_actor, json_build_object('name', p_names[v_i])::text);
        END IF;
        IF v_before.paused <> p_paused[v_i] THEN
            INSERT INTO events (at, kind, actor, details) VALUES (
                v_now, CASE WHEN p_paused[v_i] THEN 'schedule_paused' ELSE 'schedule_resumed' END,
                p_actor, json_build_object('name', p_names[v_i])::text);
        END IF;
    END LOOP;
    v_answer := v_answer || ARRAY(
        SELECT n FROM unnest(p_remove) WITH ORDINALITY AS t (n, place)
        WHERE NOT EXISTS (SELECT 1 FROM schedules WHERE name = n) ORDER BY place);
    WITH gone AS (DELETE FROM schedules WHERE name = ANY (p_remove) RETURNING name)
    INSERT INTO events (at, kind, actor, details)
    SELECT v_now, 'schedule_removed', p_actor, json_build_object('name', name)::text
    FROM gone ORDER BY array_position(p_remove, name::text);
    RETURN v_answer;
END
$$;

-- One firing of a schedule, if it still stands where the caller saw it. The job, if there is one,
-- is submitted in the same transaction; its arguments are those of submit.
CREATE FUNCTION fire(
    p_now double precision, p_actor text, p_name text, p_at double precision,
    p_expect double precision, p_next double precision, p_manual boolean, p_with_job boolean,
    p_kinds jsonb, p_ids text[], p_kind bigint[], p_payloads bytea[],
    p_edge_children bigint[], p_edge_parents text[],
    OUT obeyed boolean, OUT states smallint[], OUT places bigint[], OUT ids text[],
    OUT known smallint[], OUT rung text[], OUT changed text[]
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    v_now double precision;
    v_made boolean;
BEGIN
    IF cardinality(p_edge_children) > 0 THEN
        PERFORM lock_graph();
    END IF;
    PERFORM lock_trail();
    UPDATE schedules SET next_at = CASE WHEN p_manual THEN next_at ELSE p_next END
    WHERE name = p_name AND (
        p_manual OR (next_at IS NOT DISTINCT FROM p_expect AND NOT paused));
    obeyed := FOUND;
    IF NOT obeyed OR NOT p_with_job THEN
        RETURN;
    END IF;
    v_now := moment(p_now);
    SELECT s.states, s.places, s.ids, s.known, s.rung, s.changed
    INTO states, places, ids, known, rung, changed
    FROM submit(p_now, p_actor, NULL, NULL, p_kinds, p_ids, p_kind, p_payloads,
                p_edge_children, p_edge_parents) AS s;
    UPDATE schedules SET
        last_at = p_at, last_job_id = coalesce(ids[1], p_ids[1]), fired = fired + 1
    WHERE name = p_name;
    INSERT INTO events (at, kind, actor, job_id, queue, details)
    SELECT v_now, 'schedule_fired', p_actor, j.id, j.queue,
           json_build_object('name', p_name, 'at', p_at)::text
    FROM jobs AS j WHERE j.id = coalesce(ids[1], p_ids[1]);
END
$$;

-- Makes, revokes and stamps API keys; gives the ids that were made or revoked.
CREATE FUNCTION put_keys(
    p_now double precision, p_actor text, p_ids text[], p_names text[], p_logins text[],
    p_specs text[], p_lives double precision[], p_revoke text[], p_used text[]
) RETURNS text[]
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    v_now double precision;
    v_made text[];
    v_ended text[];
BEGIN
    PERFORM lock_trail();
    PERFORM 1 FROM keys WHERE id = ANY (p_revoke || p_used) ORDER BY id FOR UPDATE;
    v_now := moment(p_now);
    DELETE FROM keys WHERE login_of IS NOT NULL AND expires_at <= v_now;
    WITH made AS (
        INSERT INTO keys (id, login_of, name, spec, created_at, expires_at)
        SELECT id, login_of, name, spec, v_now, v_now + life
        FROM unnest(p_ids, p_names, p_logins, p_specs, p_lives)
            AS k (id, name, login_of, spec, life)
        ON CONFLICT DO NOTHING
        RETURNING id, login_of, name
    ), written AS (
        INSERT INTO events (at, kind, actor, details)
        SELECT v_now, CASE WHEN login_of IS NULL THEN 'key_created' ELSE 'logged_in' END, p_actor,
               json_build_object('key', coalesce(login_of, id), 'name', name)::text
        FROM made ORDER BY array_position(p_ids, id::text)
    )
    SELECT array_agg(id ORDER BY array_position(p_ids, id::text)) INTO v_made FROM made;
    WITH ended AS (
        UPDATE keys SET revoked_at = v_now
        WHERE id = ANY (p_revoke) AND revoked_at IS NULL
        RETURNING id, login_of, name
    ), written AS (
        INSERT INTO events (at, kind, actor, details)
        SELECT v_now, CASE WHEN login_of IS NULL THEN 'key_revoked' ELSE 'logged_out' END, p_actor,
               json_build_object('key', coalesce(login_of, id), 'name', name)::text
        FROM ended ORDER BY array_position(p_revoke, id::text)
    )
    SELECT array_agg(id ORDER BY array_position(p_revoke, id::text)) INTO v_ended FROM ended;
    DELETE FROM keys WHERE login_of IS NOT NULL AND (
        revoked_at IS NOT NULL OR login_of = ANY (v_ended));
    UPDATE keys SET last_used_at = v_now WHERE id = ANY (p_used);
    RETURN coalesce(v_made, '{}') || coalesce(v_ended, '{}');
END
$$;

CREATE FUNCTION elect(
    p_now double precision, p_name text, p_holder text, p_ttl double precision,
    OUT holder text, OUT elected_at double precision, OUT expires_at double precision
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    v_now double precision;
    v_term terms;
BEGIN
    PERFORM lock_trail();
    INSERT INTO terms (name, holder, elected_at, expires_at) VALUES (p_name, '', 0, 0)
    ON CONFLICT DO NOTHING;
    SELECT * INTO v_term FROM terms WHERE name = p_name FOR UPDATE;
    v_now := moment(p_now);
    IF v_term.expires_at > v_now THEN
        IF v_term.holder <> p_holder THEN
            RETURN;
        END IF;
    ELSE
        -- A term is its moment: should the clock stand still, two of them still differ.
        v_term.elected_at := greatest(v_now, v_term.elected_at + 1e-6);
        INSERT INTO events (at, kind, actor, details) VALUES (
            v_now, 'keeper_elected', 'keeper:' || p_holder,
            json_build_object('name', p_name, 'holder', p_holder)::text);
    END IF;
    holder := p_holder;
    elected_at := v_term.elected_at;
    expires_at := v_now + p_ttl;
    UPDATE terms AS t SET
        holder = p_holder, elected_at = v_term.elected_at, expires_at = v_now + p_ttl
    WHERE t.name = p_name;
END
$$;

CREATE FUNCTION resign(
    p_now double precision, p_name text, p_holder text, p_elected_at double precision
) RETURNS boolean
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM lock_trail();
    UPDATE terms SET holder = '', expires_at = 0
    WHERE name = p_name AND holder = p_holder AND elected_at = p_elected_at AND expires_at > 0;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO events (at, kind, actor, details) VALUES (
        moment(p_now), 'keeper_resigned', 'keeper:' || p_holder,
        json_build_object('name', p_name, 'holder', p_holder)::text);
    RETURN true;
END
$$;

CREATE FUNCTION record(
    p_now double precision, p_kinds text[], p_actors text[], p_jobs text[], p_queues text[],
    p_workers text[], p_details text[]
) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM lock_trail();
    INSERT INTO events (at, kind, actor, job_id, queue, worker, details)
    SELECT moment(p_now), e.kind, e.actor, e.job, e.queue, e.worker, e.details
    FROM unnest(p_kinds, p_actors, p_jobs, p_queues, p_workers, p_details)
        WITH ORDINALITY AS e (kind, actor, job, queue, worker, details, place)
    ORDER BY e.place;
END
$$;

-- Waits until every event that has a number is there or will never be: after this, a reader who
-- remembers the highest number he saw misses nothing.
CREATE FUNCTION settle_trail() RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('stoker ' || current_schema), 2);
END
$$;

-- down

DROP FUNCTION settle_trail;
DROP FUNCTION record;
DROP FUNCTION resign;
DROP FUNCTION elect;
DROP FUNCTION put_keys;
DROP FUNCTION fire;
DROP FUNCTION put_schedules;
DROP FUNCTION set_session;
DROP FUNCTION set_queue;
DROP FUNCTION purge;
DROP FUNCTION held_leased;
DROP FUNCTION reap;
DROP FUNCTION overdue;
DROP FUNCTION settle_down;
DROP FUNCTION revive;
DROP FUNCTION requeue;
DROP FUNCTION cancel;
DROP FUNCTION fold;

-- How jobs come in, are leased, told about and settled. One call of a function is one transaction
-- and one round trip.
--
-- What must hold everywhere:
-- * Locks are taken in one order: the graph, the trail, sessions, leased jobs, queues with a limit,
--   waiting jobs; several rows of one kind in the order of their ids. Leasing never waits for a row.
-- * Whoever moves jobs through a workflow other than by completing a parent holds the graph lock.
-- * Whoever makes somebody a parent, or counts his live parents, holds the rows of these parents.
-- * Plans do not depend on statistics. A table may grow from nothing to a million rows before anybody
--   analyzes it, and these functions keep the plans of their first calls; a planner who thinks that a
--   table is empty reads all of it. So a big table is looked into in two ways only, which leave him no
--   choice: by "= ANY (array)", also where a join says the same already, and by a LATERAL subquery
--   that OFFSET 0 or LIMIT keeps in its place. What came out of these is joined by hashing. A
--   condition on the state of rows that are found by id or seq is written as BETWEEN, which no
--   partial index matches. Rows that are not found by id are put in the order of "id || ''", which
--   no index has: to save himself the sorting he would read all of the table by its key.

-- up

-- The moment of a command: the server's clock, unless a test brings its own.
CREATE FUNCTION moment(p_now double precision) RETURNS double precision
LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(p_now, extract(epoch FROM clock_timestamp())::double precision)
$$;

CREATE FUNCTION minute_of(p_now double precision) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT (floor(p_now / 60) * 60)::bigint
$$;

-- The class that a duration falls into: how many bounds of stoker.core.spread are below it. Both are
-- turned round, because a bound belongs to the class below.
CREATE FUNCTION class_of(p_seconds double precision) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT 28 - width_bucket(-p_seconds,
        '{-134217.728,-67108.864,-33554.432,-16777.216,-8388.608,-4194.304,-2097.152,
         -1048.576,-524.288,-262.144,-131.072,-65.536,-32.768,-16.384,-8.192,-4.096,-2.048,
         -1.024,-0.512,-0.256,-0.128,-0.064,-0.032,-0.016,-0.008,-0.004,-0.002,-0.001}'::double precision[])
$$;

-- Serializes the commands that move jobs through workflows.
CREATE FUNCTION lock_graph() RETURNS void
LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock(hashtext('stoker ' || current_schema), 1)
$$;

-- Whoever writes events holds this together with all others that do; whoever reads after a number
-- holds it alone, and so never steps over an event whose transaction is still under way.
CREATE FUNCTION lock_trail() RETURNS void
LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock_shared(hashtext('stoker ' || current_schema), 2)
$$;

-- The errors that the store itself gives, as JSON.
CREATE FUNCTION fault(p_code text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT format('{"code":"%s","message":"%s"}', p_code, CASE p_code
        WHEN 'expired' THEN 'nobody started the job before it expired'
        WHEN 'parent_failed' THEN 'a parent did not complete, and this job depends on it'
        WHEN 'timeout' THEN 'the job ran past its deadline and its worker did not stop it'
        WHEN 'worker_lost' THEN 'the worker that ran the job died or lost its lease'
    END)
$$;

CREATE FUNCTION fault_fold(p_code text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT lower(p_code || chr(31) || chr(31) || (fault(p_code)::json ->> 'message'))
$$;

-- The state to which the end of an attempt leads: the rules of stoker.core.rules, cell by cell.
CREATE FUNCTION state_after(
    p_outcome text, p_failed integer, p_lost integer, p_max_retries integer, p_max_lost integer,
    p_retry_in double precision, p_cancel_requested boolean
) RETURNS smallint
LANGUAGE sql IMMUTABLE AS $$
    SELECT (CASE
        WHEN p_outcome = 'completed' THEN 6
        WHEN p_outcome = 'cancelled' OR p_cancel_requested THEN 8
        WHEN p_outcome IN ('failed', 'timed_out') THEN
            CASE WHEN p_retry_in IS NOT NULL AND p_failed <= p_max_retries THEN 5 ELSE 7 END
        WHEN p_outcome IN ('crashed', 'lost') THEN CASE WHEN p_lost >= p_max_lost THEN 7 ELSE 2 END
        WHEN p_outcome = 'snoozed' THEN 1
        ELSE 2
    END)::smallint
$$;

CREATE FUNCTION joined(a news, b news) RETURNS news
LANGUAGE sql IMMUTABLE AS $$
    SELECT ROW((a).rung || (b).rung, (a).changed || (b).changed)::news
$$;

-- Ends waiting jobs, whose rows the caller holds. Gives those that have children.
CREATE FUNCTION end_waiting(
    p_now double precision, p_seqs bigint[], p_state integer, p_code text,
    OUT parents bigint[], OUT told news
)
LANGUAGE plpgsql AS $$
DECLARE
    v_ids text[];
BEGIN
    WITH before AS MATERIALIZED (
        SELECT seq, state FROM live WHERE seq = ANY (p_seqs)
    ), moved AS (
        UPDATE live AS j SET
            state = p_state, finished_at = p_now, waiting_for = 0,
            error = coalesce(fault(p_code), j.error),
            error_fold = coalesce(fault_fold(p_code), j.error_fold)
        FROM before AS b WHERE j.seq = b.seq AND j.seq = ANY (p_seqs)
        RETURNING j.seq, j.id, j.queue, j.priority, j.links, b.state AS before
    ), booked AS (
        INSERT INTO deltas (queue, priority, state, n)
        SELECT queue, priority, before, -count(*) FROM moved GROUP BY queue, priority, before
        UNION ALL
        SELECT queue, priority, p_state, count(*) FROM moved GROUP BY queue, priority
    )
    SELECT array_agg(seq) FILTER (WHERE links & 2 <> 0), array_agg(id)
    INTO parents, v_ids FROM moved;
    told := ROW('{}', v_ids)::news;
    WITH gone AS (DELETE FROM live WHERE seq = ANY (p_seqs) RETURNING *)
    INSERT INTO ended SELECT * FROM gone;
END
$$;

-- Tells the children of ended jobs: they become ready, or are cancelled with theirs.
CREATE FUNCTION cascade(p_now double precision, p_parents bigint[], p_spoiled boolean[])
RETURNS news
LANGUAGE plpgsql AS $$
DECLARE
    v_told news := ROW('{}', '{}')::news;
    v_fall record;
    v_queues text[];
    v_ids text[];
    v_doomed bigint[];
    v_ready bigint[];
    v_waiting bigint[];
    v_counts integer[];
    v_fallen bigint[];
BEGIN
    WHILE cardinality(p_parents) > 0 LOOP
        WITH met AS MATERIALIZED (
            SELECT e.child, count(*)::integer AS n, bool_or(p.spoiled) AS spoiled
            FROM unnest(p_parents, p_spoiled) AS p (seq, spoiled)
            CROSS JOIN LATERAL (SELECT x.child FROM edges AS x WHERE x.parent = p.seq OFFSET 0) AS e
            GROUP BY e.child
        ), held AS MATERIALIZED (
            SELECT c.seq, c.waiting_for, c.run_anyway FROM live AS c
            WHERE c.seq = ANY (ARRAY(SELECT child FROM met)) AND c.state BETWEEN 0 AND 0
            ORDER BY c.id FOR UPDATE
        ), judged AS (
            SELECT h.seq, m.n, m.spoiled AND NOT h.run_anyway AS doomed, h.waiting_for <= m.n AS ready
            FROM held AS h JOIN met AS m ON m.child = h.seq
        )
        SELECT array_agg(seq) FILTER (WHERE doomed),
               array_agg(seq) FILTER (WHERE NOT doomed AND ready),
               array_agg(seq) FILTER (WHERE NOT doomed AND NOT ready),
               array_agg(n) FILTER (WHERE NOT doomed AND NOT ready)
        INTO v_doomed, v_ready, v_waiting, v_counts FROM judged;
        IF v_waiting IS NOT NULL THEN
            UPDATE live AS j SET waiting_for = j.waiting_for - c.n
            FROM unnest(v_waiting, v_counts) AS c (seq, n)
            WHERE j.seq = c.seq AND j.seq = ANY (v_waiting);
        END IF;
        IF v_ready IS NOT NULL THEN
            -- A parent that failed in an earlier life of its workflow, and was not revived with
            -- the others, still spoils its child.
            SELECT array_agg(c.seq) INTO v_fallen FROM live AS c
            WHERE c.seq = ANY (v_ready) AND NOT c.run_anyway AND (
                SELECT count(*) FROM edges AS e
                CROSS JOIN LATERAL (SELECT x.state FROM ended AS x WHERE x.seq = e.parent OFFSET 0) AS p
                WHERE e.child = c.seq AND p.state IN (7, 8)) > 0;
            v_doomed := v_doomed || v_fallen;
            WITH moved AS (
                UPDATE live AS j SET
                    state = CASE WHEN j.due_at > p_now THEN 1 ELSE 2 END,
                    due_at = greatest(j.due_at, p_now), waiting_for = 0
                WHERE j.seq = ANY (v_ready) AND NOT j.seq = ANY (coalesce(v_fallen, '{}'))
                RETURNING j.id, j.queue, j.priority, j.state
            ), booked AS (
                INSERT INTO deltas (queue, priority, state, n)
                SELECT queue, priority, 0, -count(*) FROM moved GROUP BY queue, priority
                UNION ALL
                SELECT queue, priority, state, count(*) FROM moved GROUP BY queue, priority, state
            )
            SELECT array_agg(DISTINCT queue), array_agg(id) INTO v_queues, v_ids FROM moved;
            v_told := joined(v_told, ROW(v_queues, v_ids)::news);
        END IF;
        p_parents := '{}';
        IF v_doomed IS NOT NULL THEN
            SELECT * INTO v_fall FROM end_waiting(p_now, v_doomed, 8, 'parent_failed');
            p_parents := v_fall.parents;
            v_told := joined(v_told, v_fall.told);
            p_spoiled := array_fill(true, ARRAY[coalesce(cardinality(p_parents), 0)]);
        END IF;
    END LOOP;
    RETURN v_told;
END
$$;

-- The same for parents all of which ended otherwise than well.
CREATE FUNCTION spoil(p_now double precision, p_parents bigint[]) RETURNS news
LANGUAGE sql VOLATILE AS $$
    SELECT cascade(
        p_now, p_parents, array_fill(true, ARRAY[coalesce(cardinality(p_parents), 0)]))
$$;

-- Writes the ends of attempts, with everything that follows from them. The caller holds the rows
-- of their jobs, which are leased, and has checked the fences.
CREATE FUNCTION end_attempts(p_now double precision, p_actor text, p_ends ending[]) RETURNS news
LANGUAGE plpgsql AS $$
DECLARE
    v_told news;
    v_queues text[];
    v_ids text[];
    v_seqs bigint[] := ARRAY(SELECT e.seq FROM unnest(p_ends) AS e);
    v_done bigint[];
    v_parents bigint[];
    v_spoiled boolean[];
    v_freed text[];
BEGIN
    INSERT INTO attempts (
        job, epoch, attempt, nonce, worker, leased_at, started_at, finished_at, outcome, error)
    SELECT j.seq, j.epoch, j.attempt, j.nonce, j.worker, j.leased_at,
           coalesce(j.started_at, p_now - e.ran_for), p_now, e.outcome, e.error
    FROM unnest(p_ends) AS e JOIN live AS j ON j.seq = e.seq
    WHERE e.outcome <> 'completed' AND j.seq = ANY (v_seqs);
    WITH ends AS MATERIALIZED (
        SELECT e.*, j.due_at,
               j.failed + (e.outcome IN ('failed', 'timed_out'))::integer AS failed,
               j.lost + (e.outcome IN ('crashed', 'lost'))::integer AS lost,
               j.max_retries, j.max_lost, j.cancel_requested
        FROM unnest(p_ends) AS e JOIN live AS j ON j.seq = e.seq
        WHERE j.seq = ANY (v_seqs)
    ), decided AS MATERIALIZED (
        SELECT e.*, state_after(e.outcome, e.failed, e.lost, e.max_retries, e.max_lost,
                                e.retry_in, e.cancel_requested) AS after
        FROM ends AS e
    ), moved AS (
        UPDATE live AS j SET
            state = e.after, failed = e.failed, lost = e.lost, deadline_at = NULL,
            attempt = j.attempt - (e.outcome IN ('snoozed', 'released'))::integer,
            due_at = CASE WHEN e.after IN (1, 5) THEN p_now + greatest(0, coalesce(e.retry_in, 0))
                          ELSE j.due_at END,
            started_at = coalesce(j.started_at, p_now - e.ran_for),
            finished_at = CASE WHEN e.after >= 6 THEN p_now END,
            result = CASE WHEN e.outcome = 'completed' THEN e.result ELSE j.result END,
            error = CASE WHEN e.outcome IN ('failed', 'crashed', 'lost', 'timed_out') THEN e.error
                         ELSE j.error END,
            error_fold = CASE WHEN e.outcome IN ('failed', 'crashed', 'lost', 'timed_out')
                              THEN e.error_fold ELSE j.error_fold END
        FROM decided AS e WHERE j.seq = e.seq AND j.seq = ANY (v_seqs)
        RETURNING j.seq, j.id, j.queue, j.priority, j.task, j.links, j.worker, j.state,
                  e.outcome, e.code, j.leased_at - e.due_at AS waited,
                  p_now - j.started_at AS ran, class_of(j.leased_at - e.due_at) AS wait_class,
                  class_of(p_now - j.started_at) AS ran_class
    ), booked AS (
        INSERT INTO deltas (queue, priority, state, minute, task, outcome, n, waited, ran,
                            wait_class, ran_class)
        SELECT queue, priority, 3, NULL::bigint, NULL, NULL, -count(*), 0, 0,
               NULL::integer, NULL::integer
        FROM moved GROUP BY queue, priority
        UNION ALL
        SELECT queue, priority, state, NULL, NULL, NULL, count(*), 0, 0, NULL, NULL
        FROM moved GROUP BY queue, priority, state
        UNION ALL
        SELECT queue, NULL, NULL, minute_of(p_now), task, outcome, count(*), sum(waited),
               coalesce(sum(ran), 0), wait_class, ran_class
        FROM moved GROUP BY queue, task, outcome, wait_class, ran_class
        UNION ALL
        SELECT queue, NULL, NULL, minute_of(p_now), task, 'dead', count(*), 0, 0, NULL, NULL
        FROM moved WHERE state = 7 GROUP BY queue, task
    ), written AS (
        INSERT INTO events (at, kind, actor, job_id, queue, worker, details)
        SELECT p_now, 'job_dead', p_actor, id, queue, worker,
               json_build_object('code', code, 'task', task)::text
        FROM moved WHERE state = 7 ORDER BY seq
    )
    SELECT array_agg(seq) FILTER (WHERE state >= 6),
           array_agg(seq) FILTER (WHERE state >= 6 AND links & 2 <> 0),
           array_agg(state <> 6) FILTER (WHERE state >= 6 AND links & 2 <> 0),
           array_agg(DISTINCT queue), array_agg(DISTINCT queue) FILTER (WHERE state < 6),
           array_agg(id)
    INTO v_done, v_parents, v_spoiled, v_freed, v_queues, v_ids FROM moved;
    v_told := ROW(v_queues, v_ids)::news;
    IF v_done IS NOT NULL THEN
        WITH gone AS (DELETE FROM live WHERE seq = ANY (v_done) RETURNING *)
        INSERT INTO ended SELECT * FROM gone;
    END IF;
    IF v_parents IS NOT NULL THEN
        v_told := joined(v_told, cascade(p_now, v_parents, v_spoiled));
    END IF;
    RETURN joined(v_told, freed(v_freed));
END
$$;

-- Queues in which one more job may be leased now because a lease ended there.
CREATE FUNCTION freed(p_queues text[]) RETURNS news
LANGUAGE sql STABLE AS $$
    SELECT ROW(array_agg(name::text), '{}')::news FROM queues
    WHERE lease_limit IS NOT NULL AND name = ANY (p_queues)
$$;

-- Makes the jobs whose moment has come leasable.
CREATE FUNCTION promote(
    p_now double precision, p_limit integer, OUT promoted integer, OUT told news
)
LANGUAGE plpgsql AS $$
DECLARE
    v_queues text[];
    v_ids text[];
BEGIN
    WITH due AS MATERIALIZED (
        SELECT seq, state FROM live WHERE state IN (1, 5) AND due_at <= p_now
        ORDER BY due_at LIMIT greatest(p_limit, 0) FOR UPDATE SKIP LOCKED
    ), moved AS (
        UPDATE live AS j SET state = 2 FROM due AS d
        WHERE j.seq = d.seq AND j.seq = ANY (ARRAY(SELECT seq FROM due))
        RETURNING j.id, j.queue, j.priority, d.state AS before
    ), booked AS (
        INSERT INTO deltas (queue, priority, state, n)
        SELECT queue, priority, before, -count(*) FROM moved GROUP BY queue, priority, before
        UNION ALL
        SELECT queue, priority, 2, count(*) FROM moved GROUP BY queue, priority
    )
    SELECT count(*), array_agg(DISTINCT queue), array_agg(id)
    INTO promoted, v_queues, v_ids FROM moved;
    told := ROW(v_queues, v_ids)::news;
END
$$;

-- Keeps what was told about jobs, whose rows the caller holds. Lines told before are not kept twice.
CREATE FUNCTION keep_reports(
    p_seqs bigint[], p_progress double precision[], p_notes text[],
    p_line_jobs bigint[], p_line_at double precision[], p_line_attempts bigint[],
    p_line_messages text[]
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE live AS j SET
        progress = coalesce(t.progress, j.progress), note = coalesce(t.note, j.note)
    FROM unnest(p_seqs, p_progress, p_notes) AS t (seq, progress, note)
    WHERE j.seq = t.seq AND j.seq = ANY (p_seqs)
      AND (t.progress IS NOT NULL OR t.note IS NOT NULL);
    IF cardinality(p_line_jobs) > 0 THEN
        INSERT INTO logs (job, n, at, attempt, message)
        SELECT l.job,
               coalesce((SELECT max(k.n) FROM logs AS k WHERE k.job = l.job), 0)
                   + row_number() OVER (PARTITION BY l.job ORDER BY l.place),
               l.at, l.attempt, l.message
        FROM (
            SELECT job, at, attempt, message, min(place) AS place
            FROM unnest(p_line_jobs, p_line_at, p_line_attempts, p_line_messages)
                WITH ORDINALITY AS t (job, at, attempt, message, place)
            WHERE job IS NOT NULL
            GROUP BY job, at, attempt, message
        ) AS l
        WHERE (
            SELECT count(*) FROM logs AS k
            WHERE k.job = l.job AND (k.at, k.attempt, k.message) = (l.at, l.attempt, l.message)) = 0;
        DELETE FROM logs AS l
        USING (SELECT DISTINCT job FROM unnest(p_line_jobs) AS t (job)) AS t
        WHERE l.job = t.job AND l.job = ANY (p_line_jobs) AND l.n <= (SELECT max(k.n) FROM logs AS k WHERE k.job = t.job) - 1000;
    END IF;
END
$$;

-- Accepts jobs. Kinds are the options that jobs share, so that a big batch of like jobs is little
-- more than their ids and payloads. With parents, p_edge_children are places in the batch.
--
-- Raises STK01 with [[place, parent], ...] when a parent is unknown, and STK02 with
-- [[place, holder], ...] when a key of a workflow is taken: nothing was written then.
--
-- p_foreign: the transaction is somebody else's and may stay open for long, so no row is written
-- that others could wait for. A new queue gets its row when the books are folded.
CREATE FUNCTION submit(
    p_now double precision, p_actor text, p_flow text, p_flow_name text,
    p_kinds jsonb, p_ids text[], p_kind bigint[], p_payloads bytea[],
    p_edge_children bigint[], p_edge_parents text[], p_foreign boolean DEFAULT false,
    OUT states smallint[], OUT places bigint[], OUT ids text[], OUT known smallint[],
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
    v_ended text[];
    v_seqs bigint[];
    v_made bigint[];
    v_queues text[];
    v_place bigint;
    v_id text;
    v_state smallint;
    v_kind jsonb;
    v_taken jsonb := '[]';
    v_n integer;
BEGIN
    places := '{}';
    ids := '{}';
    known := '{}';
    changed := '{}';
    IF cardinality(p_edge_children) > 0 THEN
        PERFORM lock_graph();
    END IF;
    IF p_flow IS NOT NULL THEN
        PERFORM lock_trail();
    END IF;
    IF cardinality(p_edge_children) > 0 THEN
        PERFORM 1 FROM live WHERE id = ANY (p_edge_parents) ORDER BY id FOR UPDATE;
    END IF;
    v_now := moment(p_now);
    v_ended := ARRAY(SELECT id FROM ended WHERE id = ANY (p_ids));
    WITH kinds AS MATERIALIZED (
        SELECT * FROM ROWS FROM (jsonb_to_recordset(p_kinds) AS (
            queue text, priority smallint, task text, delay double precision,
            run_at double precision, timeout double precision, soft_timeout double precision,
            expires double precision, max_retries integer, max_lost integer, retry text,
            run_anyway boolean, workflow_id text, node text, tenant text, unique_key text,
            schedule text, headers text, parents text[]
        )) WITH ORDINALITY AS k (
            queue, priority, task, delay, run_at, timeout, soft_timeout, expires, max_retries,
            max_lost, retry, run_anyway, workflow_id, node, tenant, unique_key, schedule, headers,
            parents, kind)
    ), given AS MATERIALIZED (
        SELECT *, nextval('job_seq') AS seq FROM unnest(p_ids, p_kind, p_payloads)
            WITH ORDINALITY AS g (id, kind, payload, place)
    ), made AS (
        -- A row that conflicts waits for the transaction that made the other one: the order of the
        -- numbers is that of submission, the order of the writing that of keys, then of ids.
        INSERT INTO live (
            seq, id, state, queue, priority, due_at, task, submitted_at, payload, timeout,
            soft_timeout, expires_at, expires, max_retries, max_lost, retry, run_anyway,
            workflow_id, node, tenant, unique_key, schedule, headers, parents, links)
        SELECT g.seq, g.id,
               CASE WHEN k.parents IS NOT NULL THEN 0
                    WHEN greatest(v_now + k.delay, k.run_at) > v_now THEN 1 ELSE 2 END,
               k.queue, k.priority, greatest(v_now + k.delay, k.run_at), k.task, v_now, g.payload,
               k.timeout, k.soft_timeout, v_now + k.expires, k.expires, k.max_retries, k.max_lost,
               k.retry, k.run_anyway, k.workflow_id, k.node, k.tenant, k.unique_key, k.schedule,
               k.headers, k.parents, CASE WHEN k.parents IS NULL THEN 0 ELSE 1 END
        FROM given AS g JOIN kinds AS k ON k.kind = g.kind
        WHERE NOT g.id = ANY (v_ended)
        ORDER BY k.unique_key, k.task, k.tenant,
                 CASE WHEN k.unique_key IS NULL THEN g.id END, g.place
        ON CONFLICT DO NOTHING
        RETURNING seq, id, state, queue, priority, task
    ), booked AS (
        INSERT INTO deltas (queue, priority, state, minute, task, outcome, n)
        SELECT queue, priority, state, NULL::bigint, NULL, NULL, count(*)
        FROM made GROUP BY queue, priority, state
        UNION ALL
        SELECT queue, NULL, NULL, minute_of(v_now), task, 'submitted', count(*)
        FROM made GROUP BY queue, task
    )
    SELECT array_agg(m.seq ORDER BY g.place), array_agg(m.state ORDER BY g.place),
           array_agg(DISTINCT m.queue), array_agg(DISTINCT m.queue) FILTER (WHERE m.state > 0),
           count(m.seq)
    INTO v_seqs, states, v_queues, rung, v_n
    FROM given AS g LEFT JOIN made AS m ON m.id = g.id;
    v_made := array_remove(v_seqs, NULL);
    -- One that was there, ended, and left the table of the living while this one came in.
    IF v_n > 0 AND EXISTS (SELECT 1 FROM ended AS e JOIN live AS j ON j.id = e.id
                           WHERE e.id = ANY (p_ids)) THEN
        RAISE EXCEPTION 'a job ended while it was submitted again' USING ERRCODE = '40001';
    END IF;
    IF v_n > 0 AND NOT p_foreign THEN
        INSERT INTO queues (name)
        SELECT q FROM unnest(v_queues) AS q
        WHERE q IS NOT NULL AND NOT EXISTS (SELECT 1 FROM queues WHERE name = q)
        ORDER BY q ON CONFLICT DO NOTHING;
    END IF;
    IF v_n < cardinality(p_ids) THEN
        FOR v_place IN SELECT place FROM unnest(v_seqs) WITH ORDINALITY AS s (seq, place)
                       WHERE seq IS NULL LOOP
            SELECT id, state INTO v_id, v_state FROM jobs WHERE id = p_ids[v_place];
            IF v_id IS NULL THEN
                v_kind := p_kinds -> (p_kind[v_place] - 1)::integer;
                SELECT id, state INTO v_id, v_state FROM live
                WHERE unique_key = v_kind ->> 'unique_key' AND task = v_kind ->> 'task'
                  AND coalesce('=' || tenant, '') = coalesce('=' || (v_kind ->> 'tenant'), '');
                IF v_id IS NULL THEN
                    RAISE EXCEPTION 'a key became free while it was asked for'
                        USING ERRCODE = '40001';
                END IF;
                v_taken := v_taken || jsonb_build_array(jsonb_build_array(v_place, v_id));
            END IF;
            places := places || v_place;
            ids := ids || v_id;
            known := known || v_state;
        END LOOP;
        IF p_flow IS NOT NULL AND v_taken <> '[]' THEN
            RAISE EXCEPTION 'unique keys are taken' USING ERRCODE = 'STK02', DETAIL = v_taken;
        END IF;
    END IF;
    IF p_flow IS NOT NULL AND v_n > 0 THEN
        INSERT INTO workflows (id, name, submitted_at) VALUES (p_flow, p_flow_name, v_now)
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            INSERT INTO events (at, kind, actor, details)
            VALUES (v_now, 'workflow_submitted', p_actor, json_build_object(
                'workflow', p_flow, 'name', p_flow_name::json, 'jobs', v_n)::text);
        END IF;
    END IF;
    IF cardinality(p_edge_children) > 0 AND v_n > 0 THEN
        SELECT l.states, coalesce(rung, '{}') || l.rung, l.changed INTO states, rung, changed
        FROM link(v_now, v_seqs, p_edge_children, p_edge_parents, p_flow IS NOT NULL) AS l;
    END IF;
    rung := array_remove(coalesce(rung, '{}'), NULL);
END
$$;

-- Ties new jobs, all of them blocked so far, to their parents, and lets go those that are free.
CREATE FUNCTION link(
    p_now double precision, p_seqs bigint[], p_children bigint[], p_parents text[],
    p_anywhere boolean,
    OUT states smallint[], OUT rung text[], OUT changed text[]
)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_ids text[];
    v_known bigint[];
    v_states smallint[];
    v_missing jsonb;
    v_spoiled bigint[];
    v_told news := ROW('{}', '{}')::news;
    v_fall record;
BEGIN
    SELECT array_agg(id), array_agg(seq), array_agg(state) INTO v_ids, v_known, v_states
    FROM jobs WHERE id = ANY (ARRAY(SELECT DISTINCT p FROM unnest(p_parents) AS p));
    WITH given AS (
        SELECT DISTINCT e.place, p_seqs[e.place] AS child, e.parent
        FROM unnest(p_children, p_parents) AS e (place, parent)
        WHERE p_seqs[e.place] IS NOT NULL
    )
    SELECT jsonb_agg(jsonb_build_array(g.place, g.parent) ORDER BY g.place) INTO v_missing
    FROM given AS g LEFT JOIN unnest(v_ids, v_known) AS p (id, seq)
      ON p.id = g.parent AND (p_anywhere OR p.seq < g.child)
    WHERE p.seq IS NULL;
    IF v_missing IS NOT NULL THEN
        RAISE EXCEPTION 'parents are unknown' USING ERRCODE = 'STK01', DETAIL = v_missing;
    END IF;
    INSERT INTO edges (child, parent)
    SELECT DISTINCT p_seqs[e.place], p.seq
    FROM unnest(p_children, p_parents) AS e (place, parent)
    JOIN unnest(v_ids, v_known) AS p (id, seq) ON p.id = e.parent
    WHERE p_seqs[e.place] IS NOT NULL;
    UPDATE live SET links = links | 2 WHERE seq = ANY (v_known) AND links & 2 = 0;
    UPDATE ended SET links = links | 2 WHERE seq = ANY (v_known) AND links & 2 = 0;
    WITH waits AS (
        SELECT e.child, count(*) AS n
        FROM (SELECT * FROM edges WHERE child = ANY (p_seqs) OFFSET 0) AS e
        JOIN unnest(v_known, v_states) AS p (seq, state) ON p.seq = e.parent
        WHERE p.state < 6 GROUP BY e.child
    )
    UPDATE live AS j SET waiting_for = w.n FROM waits AS w
    WHERE j.seq = w.child AND j.seq = ANY (p_seqs);
    SELECT array_agg(DISTINCT j.seq) INTO v_spoiled
    FROM (SELECT * FROM edges WHERE child = ANY (p_seqs) OFFSET 0) AS e
    JOIN unnest(v_known, v_states) AS p (seq, state) ON p.seq = e.parent
    JOIN live AS j ON j.seq = e.child
    WHERE j.seq = ANY (p_seqs) AND p.state IN (7, 8) AND NOT j.run_anyway;
    IF v_spoiled IS NOT NULL THEN
        SELECT * INTO v_fall FROM end_waiting(p_now, v_spoiled, 8, 'parent_failed');
        v_told := joined(v_fall.told, spoil(p_now, v_fall.parents));
    END IF;
    WITH moved AS (
        UPDATE live AS j SET state = CASE WHEN j.due_at > p_now THEN 1 ELSE 2 END
        WHERE j.seq = ANY (p_seqs) AND j.state = 0 AND j.waiting_for = 0
        RETURNING j.queue, j.priority, j.state
    ), booked AS (
        INSERT INTO deltas (queue, priority, state, n)
        SELECT queue, priority, 0, -count(*) FROM moved GROUP BY queue, priority
        UNION ALL
        SELECT queue, priority, state, count(*) FROM moved GROUP BY queue, priority, state
    )
    SELECT array_agg(DISTINCT queue) INTO rung FROM moved;
    rung := coalesce(rung, '{}') || (v_told).rung;
    changed := (v_told).changed;
    SELECT array_agg(j.state ORDER BY s.place) INTO states
    FROM unnest(p_seqs) WITH ORDINALITY AS s (seq, place)
    LEFT JOIN LATERAL (SELECT state FROM jobs WHERE seq = s.seq OFFSET 0) AS j ON true;
END
$$;

-- What an exchange gives, as rows of four kinds:
-- 0 once: names the session's state in id, what rang in names, what changed in others
-- 1 a leased job, in order
-- 2 a parent of a leased job: id is the child's, task the parent's, queue its node, payload its
--   result, flag whether it completed
-- 3 a settlement that was not obeyed: attempt is its list (1 or 2), epoch its place, flag whether
--   the same was obeyed before
CREATE TYPE handed AS (
    kind         smallint,
    id           text,
    task         text,
    payload      bytea,
    queue        text,
    attempt      integer,
    epoch        integer,
    timeout      double precision,
    soft_timeout double precision,
    failed       integer,
    lost         integer,
    retry        text,
    tenant       text,
    workflow_id  text,
    headers      text,
    flag         boolean,
    linked       boolean,
    names        text[],
    others       text[]
);

-- The hot path: promotes, settles and leases.
--
-- Settlements come in two lists: c_, attempts that completed without a word, each job once, in the
-- order of the ids; and s_, all others, whose reports are l_. p_repeated says that the nonce is
-- known to have found nothing.
CREATE FUNCTION exchange(
    p_now double precision, p_session text, p_nonce text, p_repeated boolean, p_want integer,
    p_aged integer, p_queues text[], p_caps bigint[], p_ids text[],
    c_ids text[], c_epochs bigint[], c_nonces text[], c_results bytea[],
    c_rans double precision[],
    s_ids text[], s_epochs bigint[], s_nonces text[], s_outcomes text[], s_results bytea[],
    s_rans double precision[], s_retries double precision[], s_errors text[], s_folds text[],
    s_codes text[], s_progress double precision[], s_notes text[],
    l_places bigint[], l_at double precision[], l_attempts bigint[], l_messages text[]
) RETURNS SETOF handed
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_mergejoin = off
SET enable_nestloop = off
SET enable_sort = off
SET jit = off
AS $$
DECLARE
    v_now double precision;
    v_session record;
    v_told news := ROW('{}', '{}')::news;
    v_ok bigint[];
    v_parents bigint[];
    v_freed text[];
    v_ends ending[];
    v_seqs bigint[];
BEGIN
    IF cardinality(s_ids) > 0 THEN
        IF EXISTS (SELECT 1 FROM live AS j WHERE j.id = ANY (s_ids) AND j.links & 2 <> 0) THEN
            PERFORM lock_graph();
        END IF;
        PERFORM lock_trail();
    ELSIF cardinality(c_ids) = 0 THEN
        -- Somebody idle looks: that must cost no write.
        SELECT s.seq, s.name, s.state, s.nonce INTO v_session
        FROM sessions AS s WHERE s.id = p_session;
        IF v_session.state IS NULL OR v_session.state NOT IN ('alive', 'draining')
           OR (v_session.nonce IS DISTINCT FROM p_nonce AND NOT something_to_do(
                   moment(p_now),
                   CASE WHEN p_want > 0 AND NOT p_repeated THEN p_queues ELSE '{}' END)) THEN
            RETURN QUERY SELECT * FROM header(v_session.state, v_told);
            RETURN;
        END IF;
    END IF;
    SELECT s.seq, s.name, s.state, s.nonce INTO v_session
    FROM sessions AS s WHERE s.id = p_session FOR NO KEY UPDATE;
    IF v_session.state IS NULL OR v_session.state NOT IN ('alive', 'draining') THEN
        RETURN QUERY SELECT * FROM header(v_session.state, v_told);
        RETURN;
    END IF;
    v_now := moment(p_now);
    IF EXISTS (SELECT 1 FROM live AS j WHERE j.state IN (1, 5) AND j.due_at <= v_now) THEN
        v_told := (promote(v_now, 1000)).told;
    END IF;

    IF cardinality(c_ids) > 0 THEN
        -- I3: the fence is checked in the statement that writes.
        WITH told AS MATERIALIZED (
            SELECT f.seq, t.epoch, t.nonce, t.result, t.ran, t.place
            FROM unnest(c_ids, c_epochs, c_nonces, c_results, c_rans)
                WITH ORDINALITY AS t (id, epoch, nonce, result, ran, place)
            CROSS JOIN LATERAL (SELECT j.seq FROM live AS j WHERE j.id = t.id OFFSET 0) AS f
        ), gone AS (
            DELETE FROM live AS j USING told AS t
            WHERE j.seq = t.seq AND j.seq = ANY (ARRAY(SELECT seq FROM told))
              AND j.epoch = t.epoch AND j.nonce = t.nonce AND j.state BETWEEN 3 AND 4
            RETURNING j.*, t.result AS told_result, t.place,
                      coalesce(j.started_at, v_now - t.ran) AS began,
                      class_of(j.leased_at - j.due_at) AS wait_class,
                      class_of(v_now - coalesce(j.started_at, v_now - t.ran)) AS ran_class
        ), made AS (
            INSERT INTO ended (
                seq, session, due_at, submitted_at, leased_at, started_at, deadline_at,
                finished_at, timeout, soft_timeout, expires_at, expires, progress, attempt, epoch,
                failed, lost, waiting_for, max_retries, max_lost, state, priority, links,
                cancel_requested, run_anyway, id, queue, task, nonce, worker, retry, workflow_id,
                node, tenant, unique_key, schedule, headers, note, error, error_fold, parents,
                payload, result)
            SELECT seq, session, due_at, submitted_at, leased_at, began, NULL,
                v_now, timeout, soft_timeout, expires_at, expires, progress, attempt, epoch,
                failed, lost, 0, max_retries, max_lost, 6, priority, links,
                cancel_requested, run_anyway, id, queue, task, nonce, worker, retry, workflow_id,
                node, tenant, unique_key, schedule, headers, note, error, error_fold, parents,
                payload, told_result
            FROM gone
        ), booked AS (
            INSERT INTO deltas (queue, priority, state, minute, task, outcome, n, waited, ran,
                                wait_class, ran_class)
            SELECT queue, priority, s.state, NULL::bigint, NULL, NULL, s.sign * count(*), 0, 0,
                   NULL::integer, NULL::integer
            FROM gone, (VALUES (3, -1), (6, 1)) AS s (state, sign)
            GROUP BY queue, priority, s.state, s.sign
            UNION ALL
            SELECT queue, NULL, NULL, minute_of(v_now), task, 'completed', count(*),
                   sum(leased_at - due_at), coalesce(sum(v_now - began), 0), wait_class, ran_class
            FROM gone GROUP BY queue, task, wait_class, ran_class
        )
        SELECT array_agg(place), array_agg(seq) FILTER (WHERE links & 2 <> 0),
               array_agg(DISTINCT queue)
        INTO v_ok, v_parents, v_freed FROM gone;
        IF v_parents IS NOT NULL THEN
            v_told := joined(v_told, cascade(
                v_now, v_parents, array_fill(false, ARRAY[cardinality(v_parents)])));
        END IF;
        v_told := joined(v_told, freed(v_freed));
        IF coalesce(cardinality(v_ok), 0) < cardinality(c_ids) THEN
            RETURN QUERY SELECT * FROM not_obeyed(
                1, v_ok, c_ids, c_epochs, c_nonces,
                array_fill('completed'::text, ARRAY[cardinality(c_ids)]));
        END IF;
    END IF;

    IF cardinality(s_ids) > 0 THEN
        PERFORM 1 FROM live AS j WHERE j.id = ANY (s_ids) AND j.state BETWEEN 3 AND 4
        ORDER BY j.id FOR UPDATE;
        SELECT array_agg(m.e ORDER BY m.place), array_agg(m.place ORDER BY m.place),
               array_agg(m.seq ORDER BY m.place)
        INTO v_ends, v_ok, v_seqs
        FROM (
            SELECT DISTINCT ON (j.seq) j.seq, t.place, ROW(
                j.seq, t.outcome, t.error, t.fold, t.code, t.retry_in, t.ran, t.result
            )::ending AS e
            FROM unnest(s_ids, s_epochs, s_nonces, s_outcomes, s_errors, s_folds, s_codes,
                        s_retries, s_rans, s_results) WITH ORDINALITY
                AS t (id, epoch, nonce, outcome, error, fold, code, retry_in, ran, result, place)
            CROSS JOIN LATERAL (SELECT * FROM live AS x WHERE x.id = t.id OFFSET 0) AS j
            WHERE j.epoch = t.epoch AND j.nonce = t.nonce AND j.state BETWEEN 3 AND 4
            ORDER BY j.seq, t.place
        ) AS m;
        IF v_ok IS NOT NULL THEN
            PERFORM keep_reports(
                v_seqs,
                ARRAY(SELECT s_progress[p] FROM unnest(v_ok) AS p),
                ARRAY(SELECT s_notes[p] FROM unnest(v_ok) AS p),
                ARRAY(SELECT v_seqs[array_position(v_ok, p)] FROM unnest(l_places) AS p),
                l_at, l_attempts, l_messages);
            v_told := joined(v_told, end_attempts(v_now, 'worker:' || v_session.name, v_ends));
        END IF;
        IF coalesce(cardinality(v_ok), 0) < cardinality(s_ids) THEN
            RETURN QUERY SELECT * FROM not_obeyed(
                2, v_ok, s_ids, s_epochs, s_nonces, s_outcomes);
        END IF;
    END IF;

    IF p_repeated OR v_session.nonce = p_nonce THEN
        v_seqs := ARRAY(
            SELECT j.seq FROM live AS j
            WHERE j.session = v_session.seq AND j.nonce = p_nonce AND j.state IN (3, 4)
            ORDER BY j.priority, j.due_at, j.seq);
        RETURN QUERY SELECT l.* FROM live AS j CROSS JOIN LATERAL leased(j.*) AS l
        WHERE j.seq = ANY (v_seqs) ORDER BY array_position(v_seqs, j.seq);
    ELSIF p_want > 0 THEN
        v_seqs := picks(v_now, p_want, p_aged, p_queues, p_caps, p_ids);
        IF cardinality(v_seqs) > 0 THEN
            UPDATE sessions SET nonce = p_nonce WHERE seq = v_session.seq;
            RETURN QUERY
            WITH taken AS (
                UPDATE live AS j SET
                    state = 3, attempt = j.attempt + 1, epoch = j.epoch + 1, nonce = p_nonce,
                    session = v_session.seq, worker = v_session.name, leased_at = v_now,
                    started_at = NULL, deadline_at = v_now + j.timeout
                WHERE j.seq = ANY (v_seqs)
                RETURNING j.seq, j.id, j.task, j.payload, j.queue, j.attempt, j.epoch, j.timeout,
                          j.soft_timeout, j.failed, j.lost, j.retry, j.tenant, j.workflow_id,
                          j.headers, j.cancel_requested, j.links, j.priority
            ), booked AS (
                INSERT INTO deltas (queue, priority, state, n)
                SELECT t.queue, t.priority, s.state, s.sign * count(*)
                FROM taken AS t, (VALUES (2, -1), (3, 1)) AS s (state, sign)
                GROUP BY t.queue, t.priority, s.state, s.sign
            )
            SELECT 1::smallint, t.id, t.task, t.payload, t.queue, t.attempt, t.epoch, t.timeout,
                   t.soft_timeout, t.failed, t.lost, t.retry, t.tenant, t.workflow_id, t.headers,
                   t.cancel_requested, t.links & 1 <> 0, NULL::text[], NULL::text[]
            FROM taken AS t ORDER BY array_position(v_seqs, t.seq);
        END IF;
    END IF;
    IF cardinality(v_seqs) > 0 AND EXISTS (SELECT 1 FROM edges) THEN
        RETURN QUERY SELECT * FROM families(v_seqs);
    END IF;
    RETURN QUERY SELECT * FROM header(v_session.state, v_told);
END
$$;

-- Whether an exchange would find anything to promote or to lease.
CREATE FUNCTION something_to_do(p_now double precision, p_queues text[]) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT 1 FROM live WHERE state IN (1, 5) AND due_at <= p_now)
        OR EXISTS (SELECT 1 FROM unnest(p_queues) AS q (name) CROSS JOIN LATERAL (
                       SELECT 1 FROM live WHERE state = 2 AND queue = q.name LIMIT 1) AS j);
END
$$;

CREATE FUNCTION header(p_state text, p_told news) RETURNS SETOF handed
LANGUAGE plpgsql AS $$
DECLARE
    v_row handed;
BEGIN
    v_row.kind := 0;
    v_row.id := p_state;
    v_row.names := ARRAY(SELECT DISTINCT n FROM unnest((p_told).rung) AS n WHERE n IS NOT NULL);
    v_row.others := ARRAY(SELECT DISTINCT n FROM unnest((p_told).changed) AS n WHERE n IS NOT NULL);
    RETURN NEXT v_row;
END
$$;

CREATE FUNCTION leased(j live) RETURNS handed
LANGUAGE sql IMMUTABLE AS $$
    SELECT 1::smallint, j.id, j.task, j.payload, j.queue, j.attempt, j.epoch, j.timeout,
           j.soft_timeout, j.failed, j.lost, j.retry, j.tenant, j.workflow_id, j.headers,
           j.cancel_requested, j.links & 1 <> 0, NULL::text[], NULL::text[]
$$;

-- The parents of leased jobs.
CREATE FUNCTION families(p_seqs bigint[]) RETURNS SETOF handed
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
    SELECT 2::smallint, c.id, p.id, CASE WHEN p.state = 6 THEN p.result END, p.node, 0, 0,
           NULL::double precision, NULL::double precision, 0, 0, NULL::text, NULL::text, NULL::text,
           NULL::text, p.state = 6, true, NULL::text[], NULL::text[]
    FROM live AS c CROSS JOIN LATERAL unnest(c.parents) AS x (id)
    CROSS JOIN LATERAL (SELECT * FROM jobs AS j WHERE j.id = x.id OFFSET 0) AS p
    WHERE c.seq = ANY (p_seqs) AND c.links & 1 <> 0;
END
$$;

-- The settlements that were not obeyed, each with whether the same one was obeyed before.
CREATE FUNCTION not_obeyed(
    p_list integer, p_ok bigint[], p_ids text[], p_epochs bigint[], p_nonces text[],
    p_outcomes text[]
) RETURNS SETOF handed
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_row handed;
    v_place integer;
    v_job record;
BEGIN
    v_row.kind := 3;
    v_row.attempt := p_list;
    FOR v_place IN SELECT p FROM generate_series(1, cardinality(p_ids)) AS p
                   WHERE NOT p = ANY (coalesce(p_ok, '{}')) LOOP
        SELECT j.seq, j.state, j.epoch, j.nonce INTO v_job FROM jobs AS j
        WHERE j.id = p_ids[v_place];
        v_row.epoch := v_place;
        v_row.flag := coalesce(
            v_job.state = 6 AND v_job.epoch = p_epochs[v_place] AND v_job.nonce = p_nonces[v_place]
                AND p_outcomes[v_place] = 'completed', false)
            OR EXISTS (
                SELECT 1 FROM attempts AS a
                WHERE a.job = v_job.seq AND a.epoch = p_epochs[v_place]
                  AND a.nonce = p_nonces[v_place] AND a.outcome = p_outcomes[v_place]);
        RETURN NEXT v_row;
    END LOOP;
END
$$;

-- Chooses and locks the jobs that come next: those that were named, the oldest, the best.
CREATE FUNCTION picks(
    p_now double precision, p_want integer, p_aged integer, p_queues text[], p_caps bigint[],
    p_ids text[]
) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    v_room bigint[] := p_caps;
    v_picks bigint[] := '{}';
    v_aged integer;
BEGIN
    IF EXISTS (SELECT 1 FROM queues AS q WHERE q.name = ANY (p_queues)
               AND (q.paused OR q.lease_limit IS NOT NULL)) THEN
        -- Whoever leases from a queue with a limit waits for the others that do.
        PERFORM 1 FROM queues AS q WHERE q.name = ANY (p_queues) AND q.lease_limit IS NOT NULL
        ORDER BY q.name FOR NO KEY UPDATE;
        v_room := ARRAY(
            SELECT CASE
                WHEN q.paused THEN 0
                WHEN q.lease_limit IS NULL THEN r.room
                ELSE least(r.room, q.lease_limit - (
                    SELECT count(*) FROM live AS j WHERE j.state IN (3, 4) AND j.queue = q.name))
            END
            FROM unnest(p_queues, p_caps) WITH ORDINALITY AS r (name, room, place)
            LEFT JOIN queues AS q ON q.name = r.name ORDER BY r.place);
    END IF;
    IF cardinality(p_ids) > 0 THEN
        v_picks := held(p_now, ARRAY(
            SELECT c.seq FROM (
                SELECT j.seq, t.place, r.room,
                       row_number() OVER (PARTITION BY j.queue ORDER BY t.place) AS n
                FROM unnest(p_ids) WITH ORDINALITY AS t (id, place)
                CROSS JOIN LATERAL (SELECT * FROM live AS x WHERE x.id = t.id OFFSET 0) AS j
                JOIN unnest(p_queues, v_room) AS r (name, room) ON r.name = j.queue
                WHERE j.state BETWEEN 2 AND 2 AND (j.expires_at IS NULL OR j.expires_at >= p_now)
            ) AS c WHERE c.n <= c.room ORDER BY c.place LIMIT p_want));
        v_room := room_left(p_queues, v_room, v_picks);
    END IF;
    v_aged := least(p_aged, p_want - cardinality(v_picks));
    IF v_aged > 0 THEN
        v_picks := v_picks || held(p_now, ARRAY(
            SELECT c.seq FROM (
                SELECT o.seq, o.due_at, r.room,
                       row_number() OVER (PARTITION BY r.name ORDER BY o.due_at, o.seq) AS n
                FROM unnest(p_queues, v_room) AS r (name, room)
                CROSS JOIN generate_series(0, 2) AS p (rank)
                CROSS JOIN LATERAL (
                    SELECT j.seq, j.due_at FROM live AS j
                    WHERE j.state = 2 AND j.queue = r.name AND j.priority = p.rank
                      AND (j.expires_at IS NULL OR j.expires_at >= p_now)
                      AND NOT j.seq = ANY (v_picks)
                    ORDER BY j.queue, j.priority, j.due_at, j.seq
                    LIMIT least(v_aged, greatest(r.room, 0))
                ) AS o
            ) AS c WHERE c.n <= c.room ORDER BY c.due_at, c.seq LIMIT v_aged));
        v_room := room_left(p_queues, v_room, v_picks);
    END IF;
    RETURN v_picks || ARRAY(
        SELECT b.seq FROM unnest(p_queues, v_room) AS r (name, room)
        CROSS JOIN LATERAL (
            SELECT j.seq FROM live AS j
            WHERE j.state = 2 AND j.queue = r.name
              AND (j.expires_at IS NULL OR j.expires_at >= p_now)
              AND NOT j.seq = ANY (v_picks)
            ORDER BY j.queue, j.priority, j.due_at, j.seq
            LIMIT greatest(r.room, 0) FOR UPDATE SKIP LOCKED
        ) AS b
        LIMIT p_want - cardinality(v_picks));
END
$$;

-- Those of some queued jobs that nobody else holds, held.
CREATE FUNCTION held(p_now double precision, p_seqs bigint[]) RETURNS bigint[]
LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(
        SELECT h.seq FROM (
            SELECT j.seq FROM live AS j WHERE j.seq = ANY (p_seqs) AND j.state BETWEEN 2 AND 2
            FOR UPDATE SKIP LOCKED
        ) AS h ORDER BY array_position(p_seqs, h.seq));
END
$$;

CREATE FUNCTION room_left(p_queues text[], p_room bigint[], p_picks bigint[]) RETURNS bigint[]
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN ARRAY(
        SELECT r.room - coalesce(c.n, 0)
        FROM unnest(p_queues, p_room) WITH ORDINALITY AS r (name, room, place)
        LEFT JOIN (SELECT j.queue, count(*) AS n FROM live AS j WHERE j.seq = ANY (p_picks)
                   GROUP BY j.queue OFFSET 0) AS c ON c.queue = r.name
        ORDER BY r.place);
END
$$;

-- Keeps a session alive and takes its reports, which come in the order of the jobs' ids.
CREATE FUNCTION beat(
    p_now double precision, p_id text, p_name text, p_state text, p_spec text, p_host text,
    p_pid bigint, p_ttl double precision, p_share double precision,
    h_ids text[], h_epochs bigint[], h_nonces text[], h_rans double precision[],
    h_progress double precision[], h_notes text[],
    l_places bigint[], l_at double precision[], l_attempts bigint[], l_messages text[],
    OUT alive boolean, OUT command text, OUT cancelled text[], OUT owned text[],
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
    v_session record;
    v_before double precision;
    v_mine bigint[];
    v_places bigint[];
    v_begun text[];
    v_ends ending[];
    v_told news := ROW('{}', '{}')::news;
    v_actor text := 'worker:' || p_name;
BEGIN
    IF p_state = 'left' THEN
        PERFORM lock_graph();
    END IF;
    PERFORM lock_trail();
    SELECT seq, state, command, seen_at INTO v_session FROM sessions WHERE id = p_id FOR NO KEY UPDATE;
    v_now := moment(p_now);
    IF v_session.seq IS NULL THEN
        INSERT INTO sessions (id, name, state, started_at, seen_at, expires_at, spec)
        VALUES (p_id, p_name, 'alive', v_now, v_now, v_now + p_ttl, p_spec)
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            INSERT INTO events (at, kind, actor, worker, details)
            VALUES (v_now, 'worker_joined', v_actor, p_name,
                    json_build_object('session', p_id, 'host', p_host, 'pid', p_pid)::text);
        END IF;
        SELECT seq, state, command, seen_at INTO v_session FROM sessions WHERE id = p_id
        FOR NO KEY UPDATE;
    END IF;
    owned := '{}';
    cancelled := '{}';
    rung := '{}';
    changed := '{}';
    command := v_session.command;
    IF v_session.state NOT IN ('alive', 'draining') THEN
        alive := p_state = 'left' AND v_session.state = 'left';
        RETURN;
    END IF;
    alive := true;
    PERFORM 1 FROM live AS j
    WHERE j.id = ANY (h_ids) AND j.session = v_session.seq AND j.state BETWEEN 3 AND 4
    ORDER BY j.id FOR UPDATE;
    SELECT array_agg(j.seq), array_agg(t.place), coalesce(array_agg(j.id), '{}'),
           coalesce(array_agg(j.id) FILTER (WHERE j.cancel_requested), '{}')
    INTO v_mine, v_places, owned, cancelled
    FROM unnest(h_ids, h_epochs, h_nonces) WITH ORDINALITY AS t (id, epoch, nonce, place)
    CROSS JOIN LATERAL (SELECT * FROM live AS x WHERE x.id = t.id OFFSET 0) AS j
    WHERE j.epoch = t.epoch AND j.nonce = t.nonce AND j.session = v_session.seq
      AND j.state BETWEEN 3 AND 4;
    IF v_mine IS NOT NULL THEN
        WITH begun AS (
            UPDATE live AS j SET state = 4, started_at = coalesce(j.started_at, v_now - t.ran)
            FROM (SELECT m.seq, h_rans[m.place] AS ran
                  FROM unnest(v_mine, v_places) AS m (seq, place)) AS t
            WHERE j.seq = t.seq AND j.seq = ANY (v_mine) AND t.ran IS NOT NULL AND j.state = 3
            RETURNING j.id
        )
        SELECT array_agg(id) INTO v_begun FROM begun;
        changed := coalesce(v_begun, '{}') || ARRAY(
            SELECT h_ids[p] FROM unnest(v_places) AS p
            WHERE h_progress[p] IS NOT NULL OR h_notes[p] IS NOT NULL OR p = ANY (l_places));
        PERFORM keep_reports(
            v_mine,
            ARRAY(SELECT h_progress[p] FROM unnest(v_places) AS p),
            ARRAY(SELECT h_notes[p] FROM unnest(v_places) AS p),
            ARRAY(SELECT v_mine[array_position(v_places, p)] FROM unnest(l_places) AS p),
            l_at, l_attempts, l_messages);
    END IF;
    -- Leases whose answer never arrived go back, uncounted.
    v_before := least(v_session.seen_at, v_now - p_ttl * p_share);
    IF EXISTS (SELECT 1 FROM live AS j WHERE j.session = v_session.seq AND j.state IN (3, 4)
               AND j.leased_at < v_before AND NOT j.id = ANY (h_ids)) THEN
        PERFORM 1 FROM live AS j WHERE j.session = v_session.seq AND j.state IN (3, 4)
        ORDER BY j.id || '' FOR UPDATE;
        SELECT array_agg(ROW(j.seq, 'released', NULL, NULL, NULL, NULL, NULL, NULL)::ending)
        INTO v_ends FROM live AS j
        WHERE j.session = v_session.seq AND j.state IN (3, 4)
          AND j.leased_at < v_before AND NOT j.id = ANY (h_ids);
        IF v_ends IS NOT NULL THEN
            v_told := joined(v_told, end_attempts(v_now, v_actor, v_ends));
        END IF;
    END IF;
    UPDATE sessions SET
        name = p_name, seen_at = v_now, expires_at = v_now + p_ttl, spec = p_spec, state = p_state,
        ended_at = CASE WHEN p_state = 'left' THEN v_now END
    WHERE seq = v_session.seq;
    IF p_state = 'draining' AND v_session.state <> 'draining' THEN
        INSERT INTO events (at, kind, actor, worker, details)
        VALUES (v_now, 'worker_draining', v_actor, p_name,
                json_build_object('session', p_id)::text);
    END IF;
    IF p_state = 'left' THEN
        v_told := joined(v_told, lose(v_now, v_actor, v_session.seq, 2147483647));
        INSERT INTO events (at, kind, actor, worker, details)
        VALUES (v_now, 'worker_left', v_actor, p_name, json_build_object('session', p_id)::text);
    END IF;
    rung := ARRAY(SELECT DISTINCT n FROM unnest((v_told).rung) AS n WHERE n IS NOT NULL);
    changed := changed || ARRAY(
        SELECT DISTINCT n FROM unnest((v_told).changed) AS n WHERE n IS NOT NULL);
END
$$;

-- What a waiter looks at: whether one of his queues has a job to be leased, when the next job is due,
-- and what there is to be seen of his jobs.
CREATE FUNCTION look(
    p_now double precision, p_queues text[], p_ids text[],
    OUT ready boolean, OUT next_due_at double precision, OUT now double precision,
    OUT changes text, OUT all_ended boolean
)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_mergejoin = off
SET enable_nestloop = off
SET jit = off
AS $$
DECLARE
    v_now double precision := moment(p_now);
BEGIN
    now := v_now;
    ready := EXISTS (
        SELECT 1 FROM unnest(p_queues) AS q (name)
        LEFT JOIN LATERAL (SELECT * FROM queues AS x WHERE x.name = q.name) AS r ON true
        WHERE NOT coalesce(r.paused, false)
          AND (SELECT count(*) FROM (
              SELECT 1 FROM live AS j WHERE j.state = 2 AND j.queue = q.name
                AND (j.expires_at IS NULL OR j.expires_at >= v_now) LIMIT 1) AS x) > 0
          AND (r.lease_limit IS NULL OR r.lease_limit > (
              SELECT count(*) FROM live AS j WHERE j.state IN (3, 4) AND j.queue = q.name)));
    next_due_at := (SELECT min(j.due_at) FROM live AS j WHERE j.state IN (1, 5));
    all_ended := false;
    IF cardinality(p_ids) > 0 THEN
        changes := (
            SELECT string_agg(concat_ws(
                '|', j.id, j.state, j.epoch, j.cancel_requested, j.progress, j.note,
                (SELECT max(l.n) FROM logs AS l WHERE l.job = j.seq)), ',' ORDER BY j.id)
            FROM jobs AS j WHERE j.id = ANY (p_ids));
        all_ended := cardinality(p_ids) = (
            SELECT count(*) FROM ended AS j WHERE j.id = ANY (p_ids));
    END IF;
END
$$;

-- Takes jobs back from a session that is gone.
CREATE FUNCTION lose(
    p_now double precision, p_actor text, p_session bigint, p_limit integer
) RETURNS news
LANGUAGE plpgsql AS $$
DECLARE
    v_seqs bigint[];
    v_ends ending[];
BEGIN
    v_seqs := ARRAY(
        SELECT j.seq FROM live AS j WHERE j.session = p_session AND j.state IN (3, 4)
        ORDER BY j.id || '' LIMIT p_limit FOR UPDATE);
    IF cardinality(v_seqs) = 0 THEN
        RETURN ROW('{}', '{}')::news;
    END IF;
    INSERT INTO events (at, kind, actor, job_id, queue, worker, details)
    SELECT p_now, 'job_lost', p_actor, j.id, j.queue, j.worker, '{"code":"worker_lost"}'
    FROM live AS j WHERE j.seq = ANY (v_seqs) ORDER BY j.seq;
    SELECT array_agg(ROW(s.seq, 'lost', fault('worker_lost'), fault_fold('worker_lost'),
                         'worker_lost', NULL, NULL, NULL)::ending)
    INTO v_ends FROM unnest(v_seqs) AS s (seq);
    RETURN end_attempts(p_now, p_actor, v_ends);
END
$$;

-- down

DROP FUNCTION lose;
DROP FUNCTION look;
DROP FUNCTION beat;
DROP FUNCTION room_left;
DROP FUNCTION held;
DROP FUNCTION picks;
DROP FUNCTION not_obeyed;
DROP FUNCTION families;
DROP FUNCTION leased;
DROP FUNCTION header;
DROP FUNCTION something_to_do;
DROP FUNCTION exchange;
DROP TYPE handed;
DROP FUNCTION link;
DROP FUNCTION submit;
DROP FUNCTION keep_reports;
DROP FUNCTION promote;
DROP FUNCTION freed;
DROP FUNCTION end_attempts;
DROP FUNCTION spoil;
DROP FUNCTION cascade;
DROP FUNCTION end_waiting;
DROP FUNCTION joined;
DROP FUNCTION state_after;
DROP FUNCTION fault_fold;
DROP FUNCTION fault;
DROP FUNCTION lock_trail;
DROP FUNCTION lock_graph;
DROP FUNCTION class_of;
DROP FUNCTION minute_of;
DROP FUNCTION moment;

-- Commands inside a transaction that is the caller's, on a connection of any driver: one text goes
-- in and one text comes out, since each driver has its own idea of arrays and bytes.

-- up

-- Accepts jobs like submit: its arguments as one JSON object, its answer as another.
CREATE FUNCTION submit_foreign(p_request text) RETURNS text
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    v_tries integer := 20;
BEGIN
    IF strpos(p_request, '"unique_key":"') = 0 THEN
        RETURN taken_in(p_request::json);
    END IF;
    -- A key may become free, or a job end, in the very moment; elsewhere the whole command is
    -- repeated then, and here only what is ours. A transaction that sees one moment only cannot.
    LOOP
        BEGIN
            RETURN taken_in(p_request::json);
        EXCEPTION WHEN serialization_failure THEN
            v_tries := v_tries - 1;
            IF v_tries = 0 OR current_setting('transaction_isolation') <> 'read committed' THEN
                RAISE;
            END IF;
        END;
    END LOOP;
END
$$;

CREATE FUNCTION taken_in(p_request json) RETURNS text
LANGUAGE sql VOLATILE AS $$
    SELECT json_build_object('states', s.states, 'places', s.places, 'ids', s.ids,
                             'known', s.known)::text
    FROM submit(
        (p_request ->> 'now')::double precision, p_request ->> 'actor', NULL, NULL,
        (p_request -> 'kinds')::jsonb,
        ARRAY(SELECT json_array_elements_text(p_request -> 'ids')),
        ARRAY(SELECT json_array_elements_text(p_request -> 'kind')::bigint),
        ARRAY(SELECT convert_to(t, 'UTF8')
              FROM json_array_elements_text(p_request -> 'payloads') AS t),
        '{}', '{}', true) AS s
$$;

-- Completes a job whose task wrote rows of its own in the same transaction: an exchange with one
-- settlement. Gives null if the lease is lost.
CREATE FUNCTION complete_foreign(
    p_now double precision, p_id text, p_epoch bigint, p_nonce text, p_result bytea,
    p_ran double precision
) RETURNS text
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    v_session text;
    v_row record;
    v_answer text;
BEGIN
    SELECT s.id INTO v_session FROM live AS j JOIN sessions AS s ON s.seq = j.session
    WHERE j.id = p_id AND j.state BETWEEN 3 AND 4;
    FOR v_row IN SELECT * FROM exchange(
        p_now, v_session, '', false, 0, 0, '{}', '{}', '{}',
        ARRAY[p_id], ARRAY[p_epoch], ARRAY[p_nonce], ARRAY[p_result], ARRAY[p_ran],
        '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}',
        '{}', '{}', '{}', '{}')
    LOOP
        IF v_row.kind = 3 THEN
            RETURN NULL;
        END IF;
        IF v_row.id IN ('alive', 'draining') THEN
            v_answer := json_build_array(v_row.names, v_row.others)::text;
        END IF;
    END LOOP;
    RETURN v_answer;
END
$$;

-- down

DROP FUNCTION complete_foreign;
DROP FUNCTION taken_in;
DROP FUNCTION submit_foreign;

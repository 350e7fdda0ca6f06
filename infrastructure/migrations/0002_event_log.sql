-- The event log: one append-only table, one row per commit batch that chains its bytes, one
-- function that appends, one that loads streams. Runs as link_owner.
--
-- The function is the only writer, so it keeps the rules itself: a CHECK would be parsed anew
-- for every batch, inside the lock.

CREATE TABLE events (
    position       bigint      NOT NULL,
    tenant_id      uuid        NOT NULL,
    stream_id      uuid        NOT NULL,
    stream_version bigint      NOT NULL,
    recorded_at    timestamptz NOT NULL,
    command_id     uuid        NOT NULL,
    correlation_id uuid        NOT NULL,
    name           text        NOT NULL,
    actor          text        NOT NULL,
    -- bytea, not json: the bytes that were hashed are the bytes that are kept, whatever the
    -- client's encoding. readable_events shows them as text.
    payload        bytea       NOT NULL,
    PRIMARY KEY (stream_id, stream_version)
);
CREATE UNIQUE INDEX events_position ON events (position);
CREATE INDEX events_tenant_position ON events (tenant_id, position);

CREATE TABLE event_blocks (
    block_no       bigint      PRIMARY KEY,
    first_position bigint      NOT NULL UNIQUE,
    last_position  bigint      NOT NULL UNIQUE,
    prev_hash      bytea       NOT NULL,
    hash           bytea       NOT NULL,
    recorded_at    timestamptz NOT NULL
);

-- Append-only, also for the owner and under session_replication_role = replica.

CREATE FUNCTION refuse_rewrite() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% of % refused: the event log is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON event_blocks
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite();
ALTER TABLE events ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE event_blocks ENABLE ALWAYS TRIGGER append_only;

-- The second wall between tenants. No setting, or an empty one, sees nothing and is no error.

ALTER TABLE events ENABLE ROW LEVEL SECURITY;
ALTER TABLE events FORCE ROW LEVEL SECURITY;
CREATE POLICY events_of_the_tenant ON events FOR SELECT TO link_app
    USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
CREATE POLICY events_of_all_tenants ON events FOR SELECT TO link_projector USING (true);
CREATE POLICY events_of_the_log ON events TO link_owner USING (true) WITH CHECK (true);

CREATE VIEW readable_events WITH (security_invoker = true) AS
    SELECT position, recorded_at, tenant_id, stream_id, stream_version, name,
           convert_from(payload, 'UTF8') AS payload, actor, command_id, correlation_id
    FROM events;

REVOKE ALL ON events, event_blocks, readable_events FROM PUBLIC;
GRANT SELECT ON events, readable_events TO link_app, link_projector;
GRANT SELECT ON event_blocks TO link_projector;

-- Appends a batch of submissions, one array element per event. Events of one submission have
-- the same number in `submissions` and stand together; a stream is in one submission only.
-- Ours start their streams at version 1; the event-sourcing library starts some of its at 0.
--
-- Answers with one row whose `submission` is null and whose positions span what was accepted
-- (null when nothing was): accepted submissions follow each other in the order given. Then
-- one row for each submission that was not accepted: `stale` names its refused streams, or is
-- null when the submission is already in the log, at the positions given.
--
-- A block's hash covers the hash before it and every column of its events, each in the binary
-- form of the wire protocol (infrastructure/event_log/blocks.py reads it back).

CREATE FUNCTION append_events(
    submissions int[], tenants uuid[], streams uuid[], versions bigint[], commands uuid[],
    correlations uuid[], names text[], actors text[], payloads bytea[]
) RETURNS TABLE (submission int, first_position bigint, last_position bigint, stale uuid[])
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    size       int := cardinality(submissions);
    dimensions text := '[1:' || size || ']';
    head       event_blocks;
    refused    int[];
    batch_time timestamptz;
BEGIN
    IF (array_dims(submissions) = dimensions AND array_dims(tenants) = dimensions
        AND array_dims(streams) = dimensions AND array_dims(versions) = dimensions
        AND array_dims(commands) = dimensions AND array_dims(correlations) = dimensions
        AND array_dims(names) = dimensions AND array_dims(actors) = dimensions
        AND array_dims(payloads) = dimensions) IS NOT TRUE THEN
        RAISE EXCEPTION 'a batch is nine arrays of one length'
            USING ERRCODE = 'array_subscript_error';
    END IF;
    IF pg_client_encoding() <> 'UTF8' THEN
        RAISE EXCEPTION 'client_encoding must be UTF8, since hashed text is in it'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    IF 0 = ANY (versions) AND NOT submissions[1] = ALL (submissions) THEN
        RAISE EXCEPTION 'a stream that starts at version 0 is appended alone'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    PERFORM pg_advisory_xact_lock(7310580);
    -- A statement that starts after the lock is granted sees all that its last holder committed.
    SELECT * INTO head FROM event_blocks b ORDER BY b.block_no DESC LIMIT 1;
    IF NOT FOUND THEN
        head := (0, 0, 0, '\x', decode(repeat('00', 32), 'hex'), '-infinity');
    END IF;

    -- An event continues its stream exactly: no version twice, none left out, one tenant.
    IF submissions[size] - submissions[1] + 1 = size THEN
        -- One event each, so each stands alone.
        SELECT array_agg(s.submission) INTO refused
        FROM unnest(submissions, tenants, streams, versions)
            AS s (submission, tenant, stream, version)
        LEFT JOIN LATERAL (
            SELECT l.stream_version, l.tenant_id FROM events l
            WHERE l.stream_id = s.stream ORDER BY l.stream_version DESC LIMIT 1
        ) AS stored ON true
        WHERE CASE WHEN stored.tenant_id IS NULL THEN s.version NOT IN (1, 0)
                   ELSE s.version <> stored.stream_version + 1
                        OR s.tenant <> stored.tenant_id END;
    ELSE
        SELECT array_agg(DISTINCT s.submission) INTO refused
        FROM (
            SELECT e.submission, e.tenant, e.stream,
                   e.version - row_number() OVER same_stream AS expected,
                   first_value(e.tenant) OVER same_stream AS stream_tenant
            FROM unnest(submissions, tenants, streams, versions)
                WITH ORDINALITY AS e (submission, tenant, stream, version, ordinal)
            WINDOW same_stream AS (PARTITION BY e.submission, e.stream ORDER BY e.ordinal)
        ) AS s
        LEFT JOIN LATERAL (
            SELECT l.stream_version, l.tenant_id FROM events l
            WHERE l.stream_id = s.stream ORDER BY l.stream_version DESC LIMIT 1
        ) AS stored ON true
        WHERE CASE WHEN stored.tenant_id IS NULL
                   THEN s.expected NOT IN (0, -1) OR s.tenant <> s.stream_tenant
                   ELSE s.expected <> stored.stream_version OR s.tenant <> stored.tenant_id END;
    END IF;

    IF refused IS NOT NULL THEN
        -- The answer to a submission may have been lost on its way: then its events are there,
        -- under its own command.
        RETURN QUERY
        SELECT r.submission, CASE WHEN r.all_there THEN r.lowest END,
               CASE WHEN r.all_there THEN r.highest END,
               CASE WHEN NOT r.all_there THEN r.stale_streams END
        FROM (
            SELECT e.submission, bool_and(own.position IS NOT NULL) AS all_there,
                   min(own.position) AS lowest, max(own.position) AS highest,
                   array_agg(DISTINCT e.stream) FILTER (
                       WHERE CASE WHEN stored.tenant_id IS NULL
                                  THEN e.expected NOT IN (0, -1) OR e.tenant <> e.stream_tenant
                                  ELSE e.expected <> stored.stream_version
                                       OR e.tenant <> stored.tenant_id END
                   ) AS stale_streams
            FROM (
                SELECT t.*, t.version - row_number() OVER same_stream AS expected,
                       first_value(t.tenant) OVER same_stream AS stream_tenant
                FROM unnest(submissions, tenants, streams, versions, commands)
                    WITH ORDINALITY AS t (submission, tenant, stream, version, command, ordinal)
                WHERE t.submission = ANY (refused)
                WINDOW same_stream AS (PARTITION BY t.submission, t.stream ORDER BY t.ordinal)
            ) AS e
            -- LIMIT keeps this one index probe per event, however small the table was when the
            -- plan was made.
            LEFT JOIN LATERAL (
                SELECT o.position FROM events o
                WHERE o.stream_id = e.stream AND o.stream_version = e.version
                  AND o.tenant_id = e.tenant AND o.command_id = e.command LIMIT 1
            ) AS own ON true
            LEFT JOIN LATERAL (
                SELECT l.stream_version, l.tenant_id FROM events l
                WHERE l.stream_id = e.stream ORDER BY l.stream_version DESC LIMIT 1
            ) AS stored ON true
            GROUP BY e.submission
        ) AS r;

        SELECT array_agg(e.tenant ORDER BY e.ordinal), array_agg(e.stream ORDER BY e.ordinal),
               array_agg(e.version ORDER BY e.ordinal), array_agg(e.command ORDER BY e.ordinal),
               array_agg(e.correlation ORDER BY e.ordinal), array_agg(e.name ORDER BY e.ordinal),
               array_agg(e.actor ORDER BY e.ordinal), array_agg(e.payload ORDER BY e.ordinal),
               count(*)
        INTO tenants, streams, versions, commands, correlations, names, actors, payloads, size
        FROM unnest(submissions, tenants, streams, versions, commands, correlations, names,
                    actors, payloads)
            WITH ORDINALITY AS e (submission, tenant, stream, version, command, correlation,
                                  name, actor, payload, ordinal)
        WHERE e.submission <> ALL (refused);
    END IF;

    IF size > 0 THEN
        batch_time := greatest(clock_timestamp(), head.recorded_at);
        first_position := head.last_position + 1;
        last_position := head.last_position + size;
        INSERT INTO events (
            position, tenant_id, stream_id, stream_version, recorded_at, command_id,
            correlation_id, name, actor, payload
        )
        SELECT head.last_position + e.ordinal, e.tenant, e.stream, e.version, batch_time,
               e.command, e.correlation, e.name, e.actor, e.payload
        FROM unnest(tenants, streams, versions, commands, correlations, names, actors, payloads)
            WITH ORDINALITY AS e (tenant, stream, version, command, correlation, name, actor,
                                  payload, ordinal);
        INSERT INTO event_blocks VALUES (
            head.block_no + 1, first_position, last_position, head.hash,
            sha256(head.hash || int8send(first_position) || int8send(last_position)
                || timestamptz_send(batch_time) || array_send(tenants) || array_send(streams)
                || array_send(versions) || array_send(commands) || array_send(correlations)
                || array_send(names) || array_send(actors) || array_send(payloads)),
            batch_time
        );
        PERFORM pg_notify('link_events', last_position::text);
    END IF;
    RETURN NEXT;
END
$$;

-- Loads many streams at once. A stream is only found together with its own tenant; `ordinal`
-- says which of the pairs (from 1) a row answers.

CREATE FUNCTION load_streams(tenants uuid[], streams uuid[])
RETURNS TABLE (
    ordinal bigint, "position" bigint, stream_version bigint, name text, payload bytea,
    actor text, correlation_id uuid, command_id uuid, recorded_at timestamptz
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN QUERY
    SELECT pair.ordinal, e.position, e.stream_version, e.name, e.payload, e.actor,
           e.correlation_id, e.command_id, e.recorded_at
    FROM unnest(tenants, streams) WITH ORDINALITY AS pair (tenant, stream, ordinal)
    CROSS JOIN LATERAL (
        SELECT * FROM events s
        WHERE s.stream_id = pair.stream AND s.tenant_id = pair.tenant
        ORDER BY s.stream_version
    ) AS e;
END
$$;

REVOKE ALL ON FUNCTION
    append_events(int[], uuid[], uuid[], bigint[], uuid[], uuid[], text[], text[], bytea[]),
    load_streams(uuid[], uuid[]),
    refuse_rewrite()
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    append_events(int[], uuid[], uuid[], bigint[], uuid[], uuid[], text[], text[], bytea[]),
    load_streams(uuid[], uuid[])
    TO link_app;

-- Console people's sessions that can be used no more are forgotten, also those of people who never
-- come again. Runs as link_owner. Their beginning and their end are in the log; `destruction` lets the
-- owner see them (0180).

CREATE FUNCTION sweep_console_sessions(before timestamptz, batch int) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH dead AS (
        DELETE FROM console_sessions WHERE (tenant_id, id) IN (
            SELECT s.tenant_id, s.id FROM console_sessions s
            WHERE s.expires_at < before
            LIMIT batch FOR UPDATE SKIP LOCKED)
        RETURNING 1
    )
    SELECT count(*) FROM dead
$$;
REVOKE ALL ON FUNCTION sweep_console_sessions(timestamptz, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sweep_console_sessions(timestamptz, int) TO link_app;

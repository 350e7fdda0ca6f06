-- People's sessions that are over are forgotten after a while. Runs as link_owner. Their beginning
-- and their end are in the log; `destruction` lets the owner see them (0150).

CREATE INDEX user_sessions_age ON user_sessions (
    least(coalesce(ended_at, expires_at), idle_until, expires_at));

CREATE FUNCTION sweep_user_sessions(before timestamptz, batch int) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH dead AS (
        DELETE FROM user_sessions WHERE (tenant_id, id) IN (
            SELECT s.tenant_id, s.id FROM user_sessions s
            WHERE least(coalesce(s.ended_at, s.expires_at), s.idle_until, s.expires_at) < before
            LIMIT batch FOR UPDATE SKIP LOCKED)
        RETURNING 1
    )
    SELECT count(*) FROM dead
$$;
REVOKE ALL ON FUNCTION sweep_user_sessions(timestamptz, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sweep_user_sessions(timestamptz, int) TO link_app;

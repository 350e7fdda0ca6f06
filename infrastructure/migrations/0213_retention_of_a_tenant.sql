-- How long ended sessions and products' words are kept is each tenant's to say, so they are swept
-- for one tenant at a time. Runs as link_owner.

DROP FUNCTION sweep_user_sessions(timestamptz, int);
DROP INDEX user_sessions_age;
CREATE INDEX user_sessions_age ON user_sessions (
    tenant_id, least(coalesce(ended_at, expires_at), idle_until, expires_at));

CREATE FUNCTION sweep_user_sessions(of_tenant uuid, before timestamptz, batch int) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH dead AS (
        DELETE FROM user_sessions WHERE (tenant_id, id) IN (
            SELECT s.tenant_id, s.id FROM user_sessions s
            WHERE s.tenant_id = of_tenant
              AND least(coalesce(s.ended_at, s.expires_at), s.idle_until, s.expires_at) < before
            LIMIT batch FOR UPDATE SKIP LOCKED)
        RETURNING 1
    )
    SELECT count(*) FROM dead
$$;

-- Those of before this migration count from now on: nothing is lost that somebody still waits for.
ALTER TABLE product_texts ADD COLUMN kept_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX product_texts_age ON product_texts (tenant_id, kept_at);

CREATE POLICY sweeping ON deliveries FOR SELECT TO link_owner USING (true);

-- A text is written with the decision, so its transaction is finished but for a void, which quotes
-- it: one that is still owed, or failed and may be replayed, keeps it. Whatever a worker's clock
-- says, nothing goes within a day.
CREATE FUNCTION sweep_product_texts(of_tenant uuid, before timestamptz, batch int) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH dead AS (
        DELETE FROM product_texts WHERE (tenant_id, user_id, transaction_id) IN (
            SELECT t.tenant_id, t.user_id, t.transaction_id FROM product_texts t
            WHERE t.tenant_id = of_tenant
              AND t.kept_at < least(before, now() - interval '1 day')
              AND NOT EXISTS (
                SELECT FROM deliveries d
                WHERE d.tenant_id = t.tenant_id AND d.stream_id = t.transaction_id
                  AND d.kind = 'void' AND d.state <> 'delivered')
            LIMIT batch FOR UPDATE OF t SKIP LOCKED)
        RETURNING 1
    )
    SELECT count(*) FROM dead
$$;

REVOKE ALL ON FUNCTION
    sweep_user_sessions(uuid, timestamptz, int), sweep_product_texts(uuid, timestamptz, int)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    sweep_user_sessions(uuid, timestamptz, int), sweep_product_texts(uuid, timestamptz, int)
    TO link_app;

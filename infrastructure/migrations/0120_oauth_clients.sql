-- Which tenant a client is of, and what may be shown only once. Runs as link_owner.

-- A client names itself before any tenant is known. This function, which acts as the owner of the
-- log, tells the tenant of one client and no more; its secrets are then read within that tenant.
CREATE FUNCTION client_tenant(of_client uuid) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    RETURN (SELECT tenant_id FROM events
            WHERE stream_id = of_client AND stream_version = 1
              AND name = 'oauth_client.registered');
REVOKE ALL ON FUNCTION client_tenant(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION client_tenant(uuid) TO link_app;

-- client_secret_tenant() of 0010 is for processes of the release before, and asked no more.

-- Digests of the ids of client assertions and proofs of possession, until these have run out.
CREATE TABLE shown_once (
    tenant_id  uuid        NOT NULL,
    digest     bytea       NOT NULL CHECK (octet_length(digest) = 32),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, digest)
);
CREATE INDEX shown_once_age ON shown_once (expires_at);
ALTER TABLE shown_once ENABLE ROW LEVEL SECURITY;
ALTER TABLE shown_once FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON shown_once TO link_app
    USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
CREATE POLICY showing ON shown_once TO link_owner USING (true) WITH CHECK (true);
GRANT SELECT ON shown_once TO link_app;

-- Whether this is the first time. Every call takes two that have run out with it, so that the
-- table is never larger than what was shown lately and nobody has to sweep it. The commit does
-- not wait for the disk: a crash of the database may forget the last half second.
CREATE FUNCTION show_once(of_tenant uuid, of_digest bytea, until timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    DELETE FROM shown_once WHERE (tenant_id, digest) IN (
        SELECT s.tenant_id, s.digest FROM shown_once s
        WHERE s.expires_at < now() - interval '1 minute'
        ORDER BY s.expires_at LIMIT 2 FOR UPDATE SKIP LOCKED);
    INSERT INTO shown_once VALUES (of_tenant, of_digest, until) ON CONFLICT DO NOTHING;
    RETURN FOUND;
END
$$;
REVOKE ALL ON FUNCTION show_once(uuid, bytea, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION show_once(uuid, bytea, timestamptz) TO link_app;

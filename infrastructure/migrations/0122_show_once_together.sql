-- Several at once, since many are shown at a time. Runs as link_owner.

DROP FUNCTION show_once(uuid, bytea, timestamptz);

-- Answers with those that nobody had shown before. Each takes two that have run out with it, as
-- before. In one order, so that two batches with the same ones do not wait for each other.
CREATE FUNCTION show_once(tenants uuid[], digests bytea[], untils timestamptz[])
RETURNS TABLE (of_tenant uuid, of_digest bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    DELETE FROM shown_once WHERE (tenant_id, digest) IN (
        SELECT s.tenant_id, s.digest FROM shown_once s
        WHERE s.expires_at < now() - interval '1 minute'
        ORDER BY s.expires_at LIMIT 2 * cardinality(digests) FOR UPDATE SKIP LOCKED);
    RETURN QUERY
        INSERT INTO shown_once (tenant_id, digest, expires_at)
        SELECT t, d, u FROM unnest(tenants, digests, untils) AS asked (t, d, u) ORDER BY t, d
        ON CONFLICT DO NOTHING
        RETURNING tenant_id, digest;
END
$$;
REVOKE ALL ON FUNCTION show_once(uuid[], bytea[], timestamptz[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION show_once(uuid[], bytea[], timestamptz[]) TO link_app;

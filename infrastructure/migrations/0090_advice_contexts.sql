-- What a product must be told of an allow that was given in its place, until it has been told:
-- the context of the request, sealed under the person's key and gone with it. Runs as link_owner.

CREATE TABLE advice_contexts (
    tenant_id      uuid        NOT NULL,
    user_id        uuid        NOT NULL,
    transaction_id uuid        NOT NULL,
    key_version    integer     NOT NULL,
    ciphertext     bytea       NOT NULL,
    kept_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id, transaction_id),
    FOREIGN KEY (tenant_id, user_id, key_version)
        REFERENCES personal_keys (tenant_id, user_id, key_version) ON DELETE CASCADE
);
CREATE INDEX advice_contexts_age ON advice_contexts (kept_at);

ALTER TABLE advice_contexts ENABLE ROW LEVEL SECURITY;
ALTER TABLE advice_contexts FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON advice_contexts TO link_app
    USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
CREATE POLICY retention ON advice_contexts TO link_owner USING (true);
GRANT SELECT, INSERT, DELETE ON advice_contexts TO link_app;

-- What nobody will be told any more: its advice is forgotten, or its decision never came to be.
CREATE FUNCTION sweep_advice_contexts(kept_before timestamptz, at_most int) RETURNS int
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH gone AS (
        DELETE FROM advice_contexts WHERE ctid IN (
            SELECT ctid FROM advice_contexts WHERE kept_at < kept_before LIMIT at_most)
        RETURNING 1)
    SELECT count(*)::int FROM gone
$$;
REVOKE ALL ON FUNCTION sweep_advice_contexts(timestamptz, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sweep_advice_contexts(timestamptz, int) TO link_app;

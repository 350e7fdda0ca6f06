-- Passkeys of console people, and the challenges that are out. Ids, public keys and names are
-- sealed, as the authenticator's secret is; a credential is found by a keyed digest of its id, and is
-- one person's in all tenants (WebAuthn §7.1, step 26). Runs as link_owner.
--
-- Both hang on their person, and go with them (0180).

CREATE TABLE console_passkeys (
    tenant_id   uuid        NOT NULL,
    operator_id uuid        NOT NULL,
    id          uuid        NOT NULL,
    digest      text        NOT NULL UNIQUE,
    rp_id       text        NOT NULL,
    name        bytea       NOT NULL,
    credential  bytea       NOT NULL,
    sign_count  bigint      NOT NULL,
    eligible    boolean     NOT NULL,
    backed_up   boolean     NOT NULL,
    transports  text[]      NOT NULL,
    created_at  timestamptz NOT NULL,
    used_at     timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, operator_id) REFERENCES console_users ON DELETE CASCADE
);
CREATE INDEX console_passkeys_of_operator ON console_passkeys (tenant_id, operator_id, created_at);

-- `operator_id` is null while somebody signs in by a passkey alone.
CREATE TABLE passkey_ceremonies (
    tenant_id   uuid        NOT NULL,
    id          uuid        NOT NULL,
    kind        text        NOT NULL,
    operator_id uuid,
    session_id  uuid,
    challenge   bytea       NOT NULL,
    rp_id       text        NOT NULL,
    origin      text        NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, operator_id) REFERENCES console_users ON DELETE CASCADE
);
CREATE INDEX passkey_ceremonies_ending ON passkey_ceremonies (expires_at);
CREATE INDEX passkey_ceremonies_of_operator ON passkey_ceremonies (tenant_id, operator_id);

ALTER TABLE console_passkeys ENABLE ROW LEVEL SECURITY;
ALTER TABLE console_passkeys FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON console_passkeys TO link_app
    USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
ALTER TABLE passkey_ceremonies ENABLE ROW LEVEL SECURITY;
ALTER TABLE passkey_ceremonies FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON passkey_ceremonies TO link_app
    USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
CREATE POLICY destruction ON passkey_ceremonies TO link_owner USING (true);

GRANT SELECT, INSERT, DELETE ON console_passkeys, passkey_ceremonies TO link_app;
GRANT UPDATE (name, sign_count, backed_up, used_at) ON console_passkeys TO link_app;

CREATE FUNCTION sweep_passkey_ceremonies(before timestamptz, batch int) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH dead AS (
        DELETE FROM passkey_ceremonies WHERE (tenant_id, id) IN (
            SELECT c.tenant_id, c.id FROM passkey_ceremonies c
            WHERE c.expires_at < before
            LIMIT batch FOR UPDATE SKIP LOCKED)
        RETURNING 1
    )
    SELECT count(*) FROM dead
$$;
REVOKE ALL ON FUNCTION sweep_passkey_ceremonies(timestamptz, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sweep_passkey_ceremonies(timestamptz, int) TO link_app;

-- What is kept about people outside the log: encrypted, digested, and erasable. Runs as link_owner.

CREATE TABLE personal_keys (
    tenant_id   uuid        NOT NULL,
    user_id     uuid        NOT NULL,
    key_version integer     NOT NULL CHECK (key_version > 0),
    wrapped_key bytea       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id),
    UNIQUE (tenant_id, user_id, key_version)
);

-- The reference is what makes erasure whole: no ciphertext can outlive or follow its key.
CREATE TABLE personal_data (
    tenant_id   uuid        NOT NULL,
    user_id     uuid        NOT NULL,
    field       text        NOT NULL CHECK (field ~ '^[a-z][a-z0-9_]{0,62}$'),
    key_version integer     NOT NULL,
    ciphertext  bytea       NOT NULL,
    stored_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id, field),
    FOREIGN KEY (tenant_id, user_id, key_version)
        REFERENCES personal_keys (tenant_id, user_id, key_version) ON DELETE CASCADE
);

CREATE TABLE otp_challenges (
    tenant_id          uuid        NOT NULL,
    id                 uuid        NOT NULL,
    device_id          uuid        NOT NULL,
    destination_digest text        NOT NULL,
    destination_sealed bytea       NOT NULL,
    code_digest        text        NOT NULL,
    attempts           smallint    NOT NULL DEFAULT 0,
    created_at         timestamptz NOT NULL,
    expires_at         timestamptz NOT NULL,
    consumed_at        timestamptz,
    user_id            uuid,
    last_outcome       text,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX otp_challenges_latest
    ON otp_challenges (tenant_id, device_id, destination_digest, created_at);
CREATE INDEX otp_challenges_expiry ON otp_challenges (tenant_id, expires_at);

CREATE TABLE enrollment_grants (
    tenant_id  uuid        NOT NULL,
    device_id  uuid        NOT NULL,
    user_id    uuid        NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, device_id, user_id)
);

CREATE TABLE client_secrets (
    tenant_id     uuid        NOT NULL,
    owner         uuid        NOT NULL,
    version       integer     NOT NULL,
    secret_digest text        NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, owner, version)
);
CREATE INDEX client_secrets_digest ON client_secrets (owner, secret_digest);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['personal_keys', 'personal_data', 'otp_challenges',
                                'enrollment_grants', 'client_secrets']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY one_tenant ON %I TO link_app '
            'USING (tenant_id = nullif(current_setting(''link.tenant_id'', true), '''')::uuid)',
            name);
    END LOOP;
END
$$;

GRANT SELECT, INSERT, DELETE ON personal_keys TO link_app;
GRANT SELECT, INSERT, UPDATE ON personal_data TO link_app;
GRANT SELECT, INSERT, DELETE ON otp_challenges TO link_app;
GRANT UPDATE (attempts, consumed_at, user_id, last_outcome) ON otp_challenges TO link_app;
GRANT SELECT, INSERT, UPDATE ON enrollment_grants TO link_app;
GRANT SELECT, INSERT, DELETE ON client_secrets TO link_app;

-- A client names itself before any tenant is known. The owner may read across tenants, and this
-- function, which acts as the owner, tells the tenant of one owner's live secret and no more.
CREATE POLICY verification ON client_secrets FOR SELECT TO link_owner USING (true);

CREATE FUNCTION client_secret_tenant(of_owner uuid, of_digest text) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    RETURN (SELECT tenant_id FROM client_secrets
            WHERE owner = of_owner AND secret_digest = of_digest LIMIT 1);
REVOKE ALL ON FUNCTION client_secret_tenant(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION client_secret_tenant(uuid, text) TO link_app;

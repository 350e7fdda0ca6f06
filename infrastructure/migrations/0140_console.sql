-- Console people: what of them is no event. Their own tables, never a user's (003 §3.2).
-- E-mail, name and the authenticator's secret are sealed; passwords are hashed slowly, recovery
-- codes are keyed digests, and a session's token is stored in no form. Runs as link_owner.

CREATE TABLE console_users (
    tenant_id    uuid        NOT NULL,
    id           uuid        NOT NULL,
    email        bytea       NOT NULL,
    name         bytea       NOT NULL,
    hashed       text,
    totp_secret  bytea,
    totp_pending bytea,
    totp_step    bigint      NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE console_recovery_codes (
    tenant_id   uuid NOT NULL,
    operator_id uuid NOT NULL,
    digest      text NOT NULL,
    PRIMARY KEY (tenant_id, operator_id, digest),
    FOREIGN KEY (tenant_id, operator_id) REFERENCES console_users ON DELETE CASCADE
);

CREATE TABLE console_sessions (
    tenant_id   uuid        NOT NULL,
    id          uuid        NOT NULL,
    operator_id uuid        NOT NULL,
    method      text        NOT NULL,
    started_at  timestamptz NOT NULL,
    seen_at     timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, operator_id) REFERENCES console_users ON DELETE CASCADE
);
CREATE INDEX console_sessions_of_operator
    ON console_sessions (tenant_id, operator_id, started_at);
CREATE INDEX console_sessions_ending ON console_sessions (expires_at);

ALTER TABLE console_users ENABLE ROW LEVEL SECURITY;
ALTER TABLE console_users FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON console_users TO link_app
    USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
ALTER TABLE console_recovery_codes ENABLE ROW LEVEL SECURITY;
ALTER TABLE console_recovery_codes FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON console_recovery_codes TO link_app
    USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
ALTER TABLE console_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE console_sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON console_sessions TO link_app
    USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);

GRANT SELECT, INSERT, DELETE ON console_users, console_recovery_codes, console_sessions TO link_app;
GRANT UPDATE (email, name, hashed, totp_secret, totp_pending, totp_step)
    ON console_users TO link_app;
GRANT UPDATE (seen_at) ON console_sessions TO link_app;

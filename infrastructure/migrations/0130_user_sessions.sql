-- Where the refresh tokens of each user session stand. No token, and no digest of one, is here:
-- a token is its session's id and its number under the platform's key. Runs as link_owner.

CREATE TABLE user_sessions (
    tenant_id        uuid        NOT NULL,
    id               uuid        NOT NULL,
    user_id          uuid        NOT NULL,
    method           text        NOT NULL,
    installation     text        NOT NULL,
    number           bigint      NOT NULL CHECK (number > 0),
    rotated_at       timestamptz NOT NULL,
    authenticated_at timestamptz NOT NULL,
    created_at       timestamptz NOT NULL,
    idle_until       timestamptz NOT NULL,
    expires_at       timestamptz NOT NULL,
    key_thumbprint   text,
    ended_at         timestamptz,
    ended_by         text,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX user_sessions_of_user ON user_sessions (tenant_id, user_id, created_at);

ALTER TABLE user_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE user_sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON user_sessions TO link_app
    USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, DELETE ON user_sessions TO link_app;
GRANT UPDATE (number, rotated_at, authenticated_at, idle_until, ended_at, ended_by)
    ON user_sessions TO link_app;

-- A one-time code is bound to a device, or to what a person wants it for at which installation.
ALTER TABLE otp_challenges RENAME COLUMN device_id TO bound_to;

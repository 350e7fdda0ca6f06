-- What webhooks are signed with: sealed, never in the log. Runs as link_owner.

CREATE TABLE webhook_secrets (
    tenant_id   uuid        NOT NULL,
    endpoint_id uuid        NOT NULL,
    version     integer     NOT NULL CHECK (version > 0),
    sealed      bytea       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- null: good until it is replaced
    good_until  timestamptz,
    PRIMARY KEY (tenant_id, endpoint_id, version)
);
ALTER TABLE webhook_secrets ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_secrets FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON webhook_secrets TO link_app
    USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, DELETE ON webhook_secrets TO link_app;
GRANT UPDATE (good_until) ON webhook_secrets TO link_app;

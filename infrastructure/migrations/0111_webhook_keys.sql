-- Keys by which we show ourselves to the endpoints of a tenant whose own CA certifies them: sealed
-- under the tenant's key, never in the log. Runs as link_owner.

CREATE TABLE webhook_keys (
    tenant_id          uuid        NOT NULL,
    key_id             uuid        NOT NULL,
    tenant_key_version integer     NOT NULL,
    sealed             bytea       NOT NULL,
    made_at            timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key_id)
);
ALTER TABLE webhook_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON webhook_keys TO link_app
    USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, DELETE ON webhook_keys TO link_app;

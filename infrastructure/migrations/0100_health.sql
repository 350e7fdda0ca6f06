-- How often counterparts answered lately: counts and times, of which the log has only the turns.
-- Kept by the workers over all tenants, read by each tenant for itself. Runs as link_owner.

CREATE TABLE health_checks (
    subject_id    uuid             PRIMARY KEY,
    tenant_id     uuid             NOT NULL,
    -- never starts again: whoever notes a probe shows the number that it was read at
    checks        bigint           NOT NULL,
    failures      integer          NOT NULL,
    reason        text,
    latency_ms    double precision NOT NULL,
    checked_at    timestamptz      NOT NULL,
    healthy_at    timestamptz,
    failing_since timestamptz,
    due_at        timestamptz      NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX health_checks_tenant ON health_checks (tenant_id);

ALTER TABLE health_checks ENABLE ROW LEVEL SECURITY;
ALTER TABLE health_checks FORCE ROW LEVEL SECURITY;
CREATE POLICY every_tenant ON health_checks TO link_projector USING (true) WITH CHECK (true);
CREATE POLICY one_tenant ON health_checks TO link_app
    USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
-- The platform's own counterparts concern everybody.
CREATE POLICY platform_wide ON health_checks FOR SELECT TO link_app
    USING (tenant_id = '00000000-0000-0000-0000-000000000000');
GRANT SELECT, INSERT, UPDATE, DELETE ON health_checks TO link_projector;
GRANT SELECT ON health_checks TO link_app;

-- What is known of each device from its last heartbeats: one row a device, written at every one.
-- Runs as link_owner.

CREATE TABLE device_presence (
    device_id       uuid        PRIMARY KEY,
    tenant_id       uuid        NOT NULL,
    fingerprint     text        NOT NULL,
    boot_id         text        NOT NULL,
    seq             bigint      NOT NULL,
    received_at     timestamptz NOT NULL,
    interval_s      integer     NOT NULL,
    offset_ms       bigint      NOT NULL,
    missed          bigint      NOT NULL,
    earlier_boot_id text,
    earlier_seq     bigint      NOT NULL,
    forks           integer     NOT NULL,
    reported        jsonb       NOT NULL,
    -- what the log was last told
    told_offline    boolean     NOT NULL DEFAULT false,
    told_skewed     boolean     NOT NULL DEFAULT false,
    told_forked     text
) WITH (fillfactor = 50);
CREATE INDEX device_presence_tenant ON device_presence (tenant_id);

ALTER TABLE device_presence ENABLE ROW LEVEL SECURITY;
ALTER TABLE device_presence FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON device_presence TO link_app
    USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
CREATE POLICY every_tenant ON device_presence TO link_projector USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON device_presence TO link_app;
GRANT SELECT, DELETE ON device_presence TO link_projector;
GRANT UPDATE (told_offline, told_skewed, told_forked) ON device_presence TO link_projector;

-- What the event-sourcing library's interfaces need beside the log: the log under the library's
-- column names, and the library's snapshots and tracking. Each belongs to the tenant whose
-- session wrote it. Nothing of the platform's own state stands here.

CREATE VIEW library_events WITH (security_invoker = true) AS
    SELECT stream_id AS originator_id, stream_version AS originator_version, name AS topic,
           payload AS state, position AS notification_id
    FROM events;

-- The library passes the rows of an insert as an array of this type.
CREATE TYPE stored_event_uuid AS (
    originator_id uuid, originator_version bigint, topic text, state bytea
);

CREATE TABLE library_snapshots (
    tenant_id uuid NOT NULL DEFAULT nullif(current_setting('link.tenant_id', true), '')::uuid,
    originator_id uuid NOT NULL,
    originator_version bigint NOT NULL,
    topic text NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (tenant_id, originator_id, originator_version)
);

CREATE TABLE library_tracking (
    tenant_id uuid NOT NULL DEFAULT nullif(current_setting('link.tenant_id', true), '')::uuid,
    tracker text NOT NULL,
    application_name text NOT NULL,
    notification_id bigint NOT NULL,
    PRIMARY KEY (tenant_id, tracker, application_name)
);

ALTER TABLE library_snapshots ENABLE ROW LEVEL SECURITY;
ALTER TABLE library_snapshots FORCE ROW LEVEL SECURITY;
CREATE POLICY snapshots_of_the_tenant ON library_snapshots TO link_app
    USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
ALTER TABLE library_tracking ENABLE ROW LEVEL SECURITY;
ALTER TABLE library_tracking FORCE ROW LEVEL SECURITY;
CREATE POLICY tracking_of_the_tenant ON library_tracking TO link_app
    USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);

REVOKE ALL ON library_events, library_snapshots, library_tracking FROM PUBLIC;
GRANT SELECT ON library_events TO link_app;
GRANT SELECT, INSERT ON library_snapshots TO link_app;
GRANT SELECT, INSERT, UPDATE ON library_tracking TO link_app;

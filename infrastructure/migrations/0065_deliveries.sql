-- The outbox: what must reach another system, how each try went, and how far the log has been
-- read for it. Not a read model: it is written once and never built anew, because what has left
-- the house cannot be taken back. It holds ids and no payload (application/ports/deliveries.py).
-- Runs as link_owner.

CREATE TABLE delivery_positions (
    kind               text        PRIMARY KEY,
    -- what the events up to here owe stands in `deliveries`: both move in one transaction
    position           bigint      NOT NULL CHECK (position >= 0),
    moved_at           timestamptz NOT NULL DEFAULT now(),
    halted_at_position bigint,
    halted_error       text,
    halted_at          timestamptz,
    CHECK ((halted_at_position IS NULL) = (halted_at IS NULL))
) WITH (fillfactor = 50);

CREATE TABLE deliveries (
    id             uuid        PRIMARY KEY,
    tenant_id      uuid        NOT NULL,
    kind           text        NOT NULL,
    destination    uuid        NOT NULL,
    -- within a kind, deliveries of one lane arrive in the order of their positions
    lane           uuid        NOT NULL,
    event_id       uuid        NOT NULL,
    event          text        NOT NULL,
    stream_id      uuid        NOT NULL,
    stream_version bigint      NOT NULL,
    position       bigint      NOT NULL,
    recorded_at    timestamptz NOT NULL,
    state          text        NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    -- why the last try failed, or why it is dead: a short code of ours
    reason         text,
    owed_at        timestamptz NOT NULL DEFAULT now(),
    -- since when we have been trying: when it was owed, or replayed
    trying_since   timestamptz NOT NULL DEFAULT now(),
    tries          integer     NOT NULL DEFAULT 0,
    due_at         timestamptz NOT NULL DEFAULT now(),
    -- never starts again: the number of a try is also the fence that its worker has to show
    attempts       integer     NOT NULL DEFAULT 0,
    lease_until    timestamptz,
    finished_at    timestamptz,
    CHECK ((state = 'pending') = (finished_at IS NULL))
);
CREATE INDEX deliveries_due ON deliveries (kind, due_at) WHERE state = 'pending';
CREATE INDEX deliveries_lane ON deliveries (kind, lane, position) WHERE state = 'pending';
CREATE INDEX deliveries_age ON deliveries (kind, trying_since) WHERE state = 'pending';
CREATE INDEX deliveries_dead ON deliveries (kind, finished_at) WHERE state = 'dead';
CREATE INDEX deliveries_finished ON deliveries (finished_at) WHERE state <> 'pending';
CREATE INDEX deliveries_listing ON deliveries (tenant_id, kind, destination, position);
CREATE INDEX deliveries_stream ON deliveries (tenant_id, stream_id);

CREATE TABLE delivery_attempts (
    delivery_id uuid        NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    attempt     integer     NOT NULL,
    tenant_id   uuid        NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    -- null: the worker that tried has not said, and perhaps never will
    outcome     text        CHECK (outcome IN ('delivered', 'retry', 'dead')),
    reason      text,
    status      integer,
    PRIMARY KEY (delivery_id, attempt)
);

-- What is known of a destination: whether it fails, and until when it wants to be left alone.

CREATE TABLE delivery_destinations (
    kind          text        NOT NULL,
    destination   uuid        NOT NULL,
    tenant_id     uuid        NOT NULL,
    failing_since timestamptz,
    hold_until    timestamptz,
    PRIMARY KEY (kind, destination)
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['deliveries', 'delivery_attempts', 'delivery_destinations']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY one_tenant ON %I TO link_app '
            'USING (tenant_id = nullif(current_setting(''link.tenant_id'', true), '''')::uuid)',
            name);
        EXECUTE format(
            'CREATE POLICY every_tenant ON %I TO link_projector USING (true) WITH CHECK (true)',
            name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO link_projector', name);
        EXECUTE format('GRANT SELECT ON %I TO link_app', name);
    END LOOP;
END
$$;

-- A tenant may have its deliveries tried again, and change nothing else about them.
GRANT UPDATE (state, reason, trying_since, tries, due_at, lease_until, finished_at)
    ON deliveries TO link_app;

REVOKE ALL ON delivery_positions FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE ON delivery_positions TO link_projector;
GRANT SELECT ON delivery_positions TO link_app;

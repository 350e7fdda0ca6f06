-- The tenants that a kind of delivery stands still for, while it goes on for all others. Runs as
-- link_owner.
--
-- `tenants_waiting` counts a kind's rows of delivery_waits and changes in their transaction. With
-- the position it is the fence of whoever follows the log: a wait begins only where the position
-- moves, so a follower that finds both as it left them knows every wait there is.

ALTER TABLE delivery_positions
    ADD COLUMN tenants_waiting integer NOT NULL DEFAULT 0 CHECK (tenants_waiting >= 0);

CREATE TABLE delivery_waits (
    kind          text        NOT NULL REFERENCES delivery_positions ON DELETE CASCADE,
    tenant_id     uuid        NOT NULL,
    -- the tenant's first event that was not judged; none of its events after it was, either
    position      bigint      NOT NULL CHECK (position > 0),
    event         text        NOT NULL,
    error         text        NOT NULL,
    waiting_since timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, tenant_id)
);

REVOKE ALL ON delivery_waits FROM PUBLIC;
ALTER TABLE delivery_waits ENABLE ROW LEVEL SECURITY;
ALTER TABLE delivery_waits FORCE ROW LEVEL SECURITY;
CREATE POLICY waits_of_all_tenants ON delivery_waits TO link_projector
    USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON delivery_waits TO link_projector;

-- Which tenants a read model stands still for, while it goes on for all others. Runs as link_owner.
--
-- `tenants_halted` counts a read model's rows of projection_halts and changes in their transaction,
-- under the lock of its own row: whoever moves the position is told of every halt by the same
-- statement, and asks for the tenants only when there are any.

ALTER TABLE projection_positions
    ADD COLUMN tenants_halted integer NOT NULL DEFAULT 0 CHECK (tenants_halted >= 0);

CREATE TABLE projection_halts (
    name      text        NOT NULL REFERENCES projection_positions ON DELETE CASCADE,
    tenant_id uuid        NOT NULL,
    -- the first event of the tenant that is not in the read model; none after it is either
    position  bigint      NOT NULL CHECK (position > 0),
    event     text        NOT NULL,
    error     text        NOT NULL,
    halted_at timestamptz NOT NULL DEFAULT now(),
    -- somebody asked for another try; whoever runs the read model takes in what was missed
    resuming  boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (name, tenant_id)
);

ALTER TABLE projection_halts ENABLE ROW LEVEL SECURITY;
ALTER TABLE projection_halts FORCE ROW LEVEL SECURITY;
CREATE POLICY halts_of_the_tenant ON projection_halts FOR SELECT TO link_app
    USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
CREATE POLICY halts_of_all_tenants ON projection_halts TO link_projector
    USING (true) WITH CHECK (true);

REVOKE ALL ON projection_halts FROM PUBLIC;
GRANT SELECT ON projection_halts TO link_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON projection_halts TO link_projector;

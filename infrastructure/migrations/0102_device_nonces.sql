-- Numbers that a device signs once, to show that its proof is not somebody's recording. Nobody's in
-- particular, so there is no tenant. Runs as link_owner.

CREATE TABLE device_nonces (
    digest     bytea       PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
CREATE INDEX device_nonces_age ON device_nonces (expires_at);

REVOKE ALL ON device_nonces FROM PUBLIC;
GRANT SELECT, INSERT, DELETE ON device_nonces TO link_app;
-- For the row locks by which two who sweep leave each other alone; nothing is ever changed.
GRANT UPDATE (expires_at) ON device_nonces TO link_app;

-- The newest CRL of each device CA, as every process serves it. Runs as link_owner.

CREATE TABLE device_crls (
    authority      integer     PRIMARY KEY CHECK (authority > 0),
    number         bigint      NOT NULL CHECK (number > 0),
    this_update    timestamptz NOT NULL,
    next_update    timestamptz NOT NULL,
    entries_sha256 bytea       NOT NULL,
    der            bytea       NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON device_crls TO link_app;

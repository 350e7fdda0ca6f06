-- How far each read model has come, and why it stands still if it does. Runs as link_owner. The
-- read models themselves are made by infrastructure/projections/tables.py in schema read_models.

CREATE TABLE projection_positions (
    -- a read model's name, or 'name (rebuild)' while one is being built beside the live one
    name               text        PRIMARY KEY,
    version            integer     NOT NULL CHECK (version > 0),
    ddl_sha256         text        NOT NULL,
    -- everything up to here is in the read model: it moves in the transaction of the rows
    position           bigint      NOT NULL CHECK (position >= 0),
    moved_at           timestamptz NOT NULL DEFAULT now(),
    halted_at_position bigint,
    halted_event       text,
    halted_error       text,
    halted_at          timestamptz,
    CHECK ((halted_at_position IS NULL) = (halted_at IS NULL))
) WITH (fillfactor = 50);

REVOKE ALL ON projection_positions FROM PUBLIC;
GRANT SELECT ON projection_positions TO link_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON projection_positions TO link_projector;

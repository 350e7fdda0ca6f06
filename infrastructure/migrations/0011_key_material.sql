-- Key pairs of the platform (its CA, its signing keys), sealed by the keyring. No tenant owns one.

CREATE TABLE key_material (
    purpose    text        NOT NULL,
    version    integer     NOT NULL CHECK (version > 0),
    sealed     bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (purpose, version)
);
GRANT SELECT, INSERT ON key_material TO link_app;

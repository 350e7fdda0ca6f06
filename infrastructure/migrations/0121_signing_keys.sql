-- From when a key of a family signs, and since when it is believed no more. Runs as link_owner.

ALTER TABLE key_material
    -- null: from when it was made
    ADD COLUMN signs_from timestamptz,
    ADD COLUMN retired_at timestamptz;
GRANT UPDATE (signs_from, retired_at) ON key_material TO link_app;

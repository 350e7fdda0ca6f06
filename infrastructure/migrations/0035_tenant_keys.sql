-- Tenants' keys, wrapped by a key-encryption key that the database never sees. Runs as link_owner.
-- The platform itself is the tenant 00000000-0000-0000-0000-000000000000.

CREATE TABLE key_encryption_keys (
    key_id        text        PRIMARY KEY CHECK (key_id <> ''),
    current_since timestamptz NOT NULL DEFAULT now(),
    retired_at    timestamptz,
    destroyed_at  timestamptz CHECK (destroyed_at IS NULL OR retired_at IS NOT NULL)
);
CREATE UNIQUE INDEX key_encryption_keys_current
    ON key_encryption_keys ((true)) WHERE retired_at IS NULL;

CREATE TABLE tenant_keys (
    tenant_id   uuid        NOT NULL,
    key_version integer     NOT NULL CHECK (key_version > 0),
    kek_id      text        NOT NULL REFERENCES key_encryption_keys,
    wrapped_key bytea       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key_version)
);
CREATE INDEX tenant_keys_kek ON tenant_keys (kek_id);

ALTER TABLE tenant_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON tenant_keys TO link_app
    USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
-- A rotation of the key-encryption key acts as the owner and wraps every tenant's key anew.
CREATE POLICY rotation ON tenant_keys TO link_owner USING (true) WITH CHECK (true);

GRANT SELECT, INSERT ON key_encryption_keys TO link_app;
GRANT SELECT, INSERT ON tenant_keys TO link_app;

-- Nothing is wrapped by a retired key: a process that has not heard of the rotation is refused
-- here, whichever of the two commits first.
CREATE FUNCTION refuse_retired_key() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM FROM key_encryption_keys
        WHERE key_id = NEW.kek_id AND retired_at IS NULL FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'key-encryption key % is not the current one', NEW.kek_id
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION refuse_retired_key() FROM PUBLIC;

CREATE TRIGGER wrapped_by_the_current_key BEFORE INSERT OR UPDATE ON tenant_keys
    FOR EACH ROW EXECUTE FUNCTION refuse_retired_key();

-- Which version of the tenant's key wraps a person's; 0 is the platform's sealing key, which
-- wrapped them before tenants had keys.
ALTER TABLE personal_keys ADD COLUMN tenant_key_version integer NOT NULL DEFAULT 0
    CHECK (tenant_key_version >= 0);

-- The transparency log (docs/transparency.md): Merkle trees over the event log, in tiles, and what
-- was signed of them. Runs as link_owner. A tree is a tenant's, under the tenant's id, or the
-- platform's over the tenants' checkpoints, under an id that no tenant has.

-- The leaf of an event, version 1: domain/transparency/leaf.py says the same in Python, and a test
-- holds the two together. It may never say anything else: leaves are made anew from the event log
-- whenever somebody asks for them.
CREATE FUNCTION event_leaf(
    "position" bigint, recorded_at timestamptz, tenant_id uuid, stream_id uuid,
    stream_version bigint, name text, actor text, correlation_id uuid, command_id uuid,
    payload bytea
) RETURNS bytea LANGUAGE sql STABLE
RETURN convert_to(
        '{"v":1,"position":' || "position"
        || ',"recorded_at":"'
        || to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        || '","tenant_id":"' || tenant_id
        || '","stream_id":"' || stream_id
        || '","stream_version":' || stream_version
        || ',"name":' || to_json(name)::text
        || ',"actor":' || to_json(actor)::text
        || ',"correlation_id":"' || correlation_id
        || '","command_id":"' || command_id || '",', 'UTF8')
    || CASE
        WHEN substr(payload, 1, 5) = '{"v":'::bytea
            AND substr(payload, octet_length(payload)) = '}'::bytea
        THEN '"payload":'::bytea || payload
        ELSE convert_to(
            '"payload_base64":"' || translate(encode(payload, 'base64'), E'\n', '') || '"', 'UTF8')
    END
    || '}'::bytea;

-- What every origin begins with. Set once: a log does not change its name.
CREATE TABLE transparency_origin (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    prefix   text    NOT NULL CHECK (prefix <> '')
);

-- Everything up to here is in the trees: it moves in the transaction of the tiles.
CREATE TABLE transparency_position (
    only_row   boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    "position" bigint      NOT NULL CHECK ("position" >= 0),
    moved_at   timestamptz NOT NULL DEFAULT now()
);
INSERT INTO transparency_position ("position") VALUES (0);

CREATE TABLE transparency_trees (
    log_id uuid   PRIMARY KEY,
    size   bigint NOT NULL CHECK (size >= 0)
);

CREATE TABLE transparency_tiles (
    log_id         uuid     NOT NULL,
    level          smallint NOT NULL,
    tile_index     bigint   NOT NULL,
    -- of level 0 in a tenant's tree: where in the event log its first leaf stands
    first_position bigint   CHECK ((first_position IS NOT NULL) = (level = 0)),
    hashes         bytea    NOT NULL CHECK (octet_length(hashes) BETWEEN 32 AND 8192),
    PRIMARY KEY (log_id, level, tile_index)
);
-- Hashes do not compress.
ALTER TABLE transparency_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;
CREATE INDEX transparency_tiles_first_position ON transparency_tiles (log_id, first_position)
    WHERE level = 0;

-- The leaves of the platform's tree: checkpoints of tenants, without their signatures.
CREATE TABLE platform_log_entries (
    leaf_index bigint      PRIMARY KEY CHECK (leaf_index >= 0),
    log_id     uuid        NOT NULL,
    size       bigint      NOT NULL,
    leaf       bytea       NOT NULL,
    added_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (log_id, size)
);

-- The last that was signed of each tree; `final_*` is the last that enough witnesses cosigned.
CREATE TABLE transparency_checkpoints (
    log_id     uuid        PRIMARY KEY,
    size       bigint      NOT NULL CHECK (size > 0),
    root       bytea       NOT NULL CHECK (octet_length(root) = 32),
    note       text        NOT NULL,
    signed_at  timestamptz NOT NULL DEFAULT now(),
    -- why nothing further is signed
    refused    text,
    final_size bigint,
    final_note text,
    final_at   timestamptz,
    CHECK ((final_size IS NULL) = (final_note IS NULL) AND final_size <= size)
) WITH (fillfactor = 50);

-- What each witness has cosigned last, as far as we know.
CREATE TABLE transparency_witnesses (
    log_id  uuid   NOT NULL,
    witness text   NOT NULL,
    size    bigint NOT NULL CHECK (size >= 0),
    PRIMARY KEY (log_id, witness)
);

-- Whoever signs, a log says nothing that contradicts what it said before.
CREATE FUNCTION refuse_contradiction() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP <> 'UPDATE' THEN
        RAISE EXCEPTION '% of % refused: what was signed stays known', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NEW.log_id <> OLD.log_id OR NEW.size < OLD.size
        OR (NEW.size = OLD.size AND NEW.root <> OLD.root)
        OR NEW.final_size < OLD.final_size
        OR (NEW.final_size IS NULL AND OLD.final_size IS NOT NULL) THEN
        RAISE EXCEPTION 'a checkpoint of % leaves contradicts that of % of log %',
            NEW.size, OLD.size, OLD.log_id USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER no_contradiction BEFORE UPDATE OR DELETE ON transparency_checkpoints
    FOR EACH ROW EXECUTE FUNCTION refuse_contradiction();
CREATE TRIGGER no_truncation BEFORE TRUNCATE ON transparency_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_contradiction();
ALTER TABLE transparency_checkpoints ENABLE ALWAYS TRIGGER no_contradiction;
ALTER TABLE transparency_checkpoints ENABLE ALWAYS TRIGGER no_truncation;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON platform_log_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite();
ALTER TABLE platform_log_entries ENABLE ALWAYS TRIGGER append_only;

-- A reader sees one tree: that of the tenant it acts for.
ALTER TABLE transparency_trees ENABLE ROW LEVEL SECURITY;
ALTER TABLE transparency_trees FORCE ROW LEVEL SECURITY;
ALTER TABLE transparency_tiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE transparency_tiles FORCE ROW LEVEL SECURITY;
ALTER TABLE transparency_checkpoints ENABLE ROW LEVEL SECURITY;
ALTER TABLE transparency_checkpoints FORCE ROW LEVEL SECURITY;
CREATE POLICY one_log ON transparency_trees FOR SELECT TO link_app
    USING (log_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
CREATE POLICY one_log ON transparency_tiles FOR SELECT TO link_app
    USING (log_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
CREATE POLICY one_log ON transparency_checkpoints FOR SELECT TO link_app
    USING (log_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
CREATE POLICY every_log ON transparency_trees TO link_projector, link_owner
    USING (true) WITH CHECK (true);
CREATE POLICY every_log ON transparency_tiles TO link_projector, link_owner
    USING (true) WITH CHECK (true);
CREATE POLICY every_log ON transparency_checkpoints TO link_projector, link_owner
    USING (true) WITH CHECK (true);

REVOKE ALL ON transparency_origin, transparency_position, transparency_trees, transparency_tiles,
    platform_log_entries, transparency_checkpoints, transparency_witnesses FROM PUBLIC;
GRANT SELECT ON transparency_trees, transparency_tiles, transparency_checkpoints TO link_app;
GRANT SELECT, INSERT ON transparency_origin TO link_projector;
GRANT SELECT, UPDATE ON transparency_position TO link_projector;
GRANT SELECT, INSERT, UPDATE ON transparency_trees, transparency_tiles, transparency_checkpoints,
    transparency_witnesses TO link_projector;
GRANT SELECT, INSERT ON platform_log_entries TO link_projector;
REVOKE ALL ON FUNCTION
    event_leaf(bigint, timestamptz, uuid, uuid, bigint, text, text, uuid, uuid, bytea),
    refuse_contradiction() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    event_leaf(bigint, timestamptz, uuid, uuid, bigint, text, text, uuid, uuid, bytea)
    TO link_app, link_projector;

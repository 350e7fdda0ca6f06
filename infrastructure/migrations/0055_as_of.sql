-- What reading the past needs. Runs as link_owner.

-- The last position recorded at or before a moment; 0 before the first event. Blocks are numbered
-- without a gap and their times never go back, so the one wanted is found by halving.

CREATE FUNCTION position_at(moment timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    low    bigint := 0;
    high   bigint := coalesce(
        (SELECT b.block_no FROM event_blocks b ORDER BY b.block_no DESC LIMIT 1), 0
    );
    middle bigint;
BEGIN
    WHILE low < high LOOP
        middle := (low + high + 1) / 2;
        IF (SELECT b.recorded_at FROM event_blocks b WHERE b.block_no = middle) <= moment THEN
            low := middle;
        ELSE
            high := middle - 1;
        END IF;
    END LOOP;
    RETURN coalesce((SELECT b.last_position FROM event_blocks b WHERE b.block_no = low), 0);
END
$$;

-- The end of the log, which row-level security hides from whoever sees one tenant only.

CREATE FUNCTION log_end() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce(
        (SELECT b.last_position FROM event_blocks b ORDER BY b.block_no DESC LIMIT 1), 0
    )
$$;

REVOKE ALL ON FUNCTION position_at(timestamptz), log_end() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION position_at(timestamptz), log_end() TO link_app, link_projector;

-- Lists as of a past moment begin with the streams that had begun by then. Of the kinds that
-- are listed only transactions are many, and those are found on the way back from the moment.

CREATE INDEX events_beginnings ON events (tenant_id, name, position)
    WHERE stream_version = 1
      AND name IN ('user.signed_up', 'device.registered', 'linked_service.registered');

-- load_streams, with a plan that cannot be wrong. A session keeps the plan that it made when it
-- began, perhaps on an empty table, where the index on (tenant_id, position) looks as good as the
-- primary key; every load then reads all events of the tenant. A comparison inside IS TRUE is
-- none that an index could serve, so the primary key is the only way in.

CREATE OR REPLACE FUNCTION load_streams(tenants uuid[], streams uuid[])
RETURNS TABLE (
    ordinal bigint, "position" bigint, stream_version bigint, name text, payload bytea,
    actor text, correlation_id uuid, command_id uuid, recorded_at timestamptz
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN QUERY
    SELECT pair.ordinal, e.position, e.stream_version, e.name, e.payload, e.actor,
           e.correlation_id, e.command_id, e.recorded_at
    FROM unnest(tenants, streams) WITH ORDINALITY AS pair (tenant, stream, ordinal)
    CROSS JOIN LATERAL (
        SELECT * FROM events s
        WHERE s.stream_id = pair.stream AND (s.tenant_id = pair.tenant) IS TRUE
        ORDER BY s.stream_version
    ) AS e;
END
$$;

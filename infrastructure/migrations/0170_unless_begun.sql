-- Submissions that stand only while another stream has not begun: an intent, unless the erasure of
-- its person is on record. Runs as link_owner.

-- As append_events_sealing, or append_events where nothing is sealed, unless one of `fences` has
-- begun: then nothing of the batch is appended, and the answer is one row for each submission that
-- it keeps out, which names the streams that have begun, and no row without a submission. Whoever
-- asked sends the others again. A submission that is in the log already is kept out by nothing.
--
-- One index probe per fence, under the lock of the append: what has begun by then is seen.
CREATE FUNCTION append_events_unless_begun(
    submissions int[], tenants uuid[], streams uuid[], versions bigint[], commands uuid[],
    correlations uuid[], names text[], actors text[], payloads bytea[],
    sealed_submissions int[], sealed_tenants uuid[], sealed_streams uuid[], sealed_people uuid[],
    sealed_versions int[], ciphertexts bytea[],
    fenced_submissions int[], fences uuid[]
) RETURNS TABLE (submission int, first_position bigint, last_position bigint, stale uuid[])
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7310580);
    RETURN QUERY
    SELECT f.submission, NULL::bigint, NULL::bigint, array_agg(DISTINCT f.stream)
    FROM unnest(fenced_submissions, fences) AS f (submission, stream)
    CROSS JOIN LATERAL (
        SELECT FROM events b WHERE b.stream_id = f.stream LIMIT 1
    ) AS begun
    WHERE NOT EXISTS (
        SELECT FROM unnest(submissions, tenants, streams, versions, commands)
            AS s (submission, tenant, stream, version, command)
        JOIN events o ON o.stream_id = s.stream AND o.stream_version = s.version
            AND o.tenant_id = s.tenant AND o.command_id = s.command
        WHERE s.submission = f.submission
    )
    GROUP BY f.submission;
    IF FOUND THEN
        RETURN;
    END IF;
    IF cardinality(sealed_submissions) = 0 THEN
        RETURN QUERY SELECT * FROM append_events(
            submissions, tenants, streams, versions, commands, correlations, names, actors,
            payloads);
    ELSE
        RETURN QUERY SELECT * FROM append_events_sealing(
            submissions, tenants, streams, versions, commands, correlations, names, actors,
            payloads, sealed_submissions, sealed_tenants, sealed_streams, sealed_people,
            sealed_versions, ciphertexts);
    END IF;
END
$$;

REVOKE ALL ON FUNCTION
    append_events_unless_begun(
        int[], uuid[], uuid[], bigint[], uuid[], uuid[], text[], text[], bytea[],
        int[], uuid[], uuid[], uuid[], int[], bytea[], int[], uuid[])
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    append_events_unless_begun(
        int[], uuid[], uuid[], bigint[], uuid[], uuid[], text[], text[], bytea[],
        int[], uuid[], uuid[], uuid[], int[], bytea[], int[], uuid[])
    TO link_app;

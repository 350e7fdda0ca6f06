-- Values of the vault that are kept in the commit of the event that says so. Runs as link_owner.

-- As append_events_unless_begun, with values of people's fields: one array element for each,
-- `value_submissions` says whose it is. Not kept is the value of a submission that was refused, or
-- was in the log before (a later one may be there by now), and one of a person whose key is gone or
-- is going in this very moment: who appends waits for no erasure, and nothing else takes a key's row.
CREATE FUNCTION append_events_with_values(
    submissions int[], tenants uuid[], streams uuid[], versions bigint[], commands uuid[],
    correlations uuid[], names text[], actors text[], payloads bytea[],
    sealed_submissions int[], sealed_tenants uuid[], sealed_streams uuid[], sealed_people uuid[],
    sealed_versions int[], ciphertexts bytea[],
    fenced_submissions int[], fences uuid[],
    value_submissions int[], value_tenants uuid[], value_people uuid[], value_fields text[],
    value_versions int[], value_ciphertexts bytea[]
) RETURNS TABLE (submission int, first_position bigint, last_position bigint, stale uuid[])
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    appended boolean := false;
    apart int[] := '{}';
BEGIN
    FOR submission, first_position, last_position, stale IN
        SELECT * FROM append_events_unless_begun(
            submissions, tenants, streams, versions, commands, correlations, names, actors,
            payloads, sealed_submissions, sealed_tenants, sealed_streams, sealed_people,
            sealed_versions, ciphertexts, fenced_submissions, fences)
    LOOP
        IF submission IS NULL THEN
            appended := true;
        ELSE
            apart := apart || submission;
        END IF;
        RETURN NEXT;
    END LOOP;
    IF NOT appended THEN
        RETURN;
    END IF;
    INSERT INTO personal_data (tenant_id, user_id, field, key_version, ciphertext)
    SELECT k.tenant_id, k.user_id, v.field, k.key_version, v.ciphertext
    FROM unnest(value_submissions, value_tenants, value_people, value_fields, value_versions,
                value_ciphertexts)
        AS v (submission, tenant, person, field, version, ciphertext)
    CROSS JOIN LATERAL (
        SELECT * FROM personal_keys k
        WHERE k.tenant_id = v.tenant AND k.user_id = v.person AND k.key_version = v.version
        FOR KEY SHARE SKIP LOCKED
    ) AS k
    WHERE v.submission <> ALL (apart)
    ON CONFLICT (tenant_id, user_id, field) DO UPDATE
    SET key_version = excluded.key_version, ciphertext = excluded.ciphertext,
        stored_at = excluded.stored_at;
END
$$;

REVOKE ALL ON FUNCTION
    append_events_with_values(
        int[], uuid[], uuid[], bigint[], uuid[], uuid[], text[], text[], bytea[],
        int[], uuid[], uuid[], uuid[], int[], bytea[], int[], uuid[],
        int[], uuid[], uuid[], text[], int[], bytea[])
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    append_events_with_values(
        int[], uuid[], uuid[], bigint[], uuid[], uuid[], text[], text[], bytea[],
        int[], uuid[], uuid[], uuid[], int[], bytea[], int[], uuid[],
        int[], uuid[], uuid[], text[], int[], bytea[])
    TO link_app;

-- What products write into their answers: sealed under the person's key, kept in the commit of the
-- decision, gone with the key. Runs as link_owner.

CREATE TABLE product_texts (
    tenant_id      uuid    NOT NULL,
    user_id        uuid    NOT NULL,
    transaction_id uuid    NOT NULL,
    key_version    integer NOT NULL,
    ciphertext     bytea   NOT NULL,
    PRIMARY KEY (tenant_id, user_id, transaction_id),
    FOREIGN KEY (tenant_id, user_id, key_version)
        REFERENCES personal_keys (tenant_id, user_id, key_version) ON DELETE CASCADE
);
ALTER TABLE product_texts ENABLE ROW LEVEL SECURITY;
ALTER TABLE product_texts FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON product_texts TO link_app
    USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
CREATE POLICY appending ON product_texts TO link_owner USING (true) WITH CHECK (true);
GRANT SELECT ON product_texts TO link_app;

-- As append_events, with sealed values that are kept in the same commit: one array element for
-- each, `sealed_submissions` says whose it is. Not kept is the value of a submission that was
-- refused, and one of a person whose key is gone or is going in this very moment: who appends
-- waits for no erasure.
CREATE FUNCTION append_events_sealing(
    submissions int[], tenants uuid[], streams uuid[], versions bigint[], commands uuid[],
    correlations uuid[], names text[], actors text[], payloads bytea[],
    sealed_submissions int[], sealed_tenants uuid[], sealed_streams uuid[], sealed_people uuid[],
    sealed_versions int[], ciphertexts bytea[]
) RETURNS TABLE (submission int, first_position bigint, last_position bigint, stale uuid[])
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    refused int[] := '{}';
BEGIN
    FOR submission, first_position, last_position, stale IN
        SELECT * FROM append_events(submissions, tenants, streams, versions, commands,
                                    correlations, names, actors, payloads)
    LOOP
        IF stale IS NOT NULL THEN
            refused := refused || submission;
        END IF;
        RETURN NEXT;
    END LOOP;
    INSERT INTO product_texts (tenant_id, user_id, transaction_id, key_version, ciphertext)
    SELECT k.tenant_id, k.user_id, s.stream, k.key_version, s.ciphertext
    FROM unnest(sealed_submissions, sealed_tenants, sealed_streams, sealed_people,
                sealed_versions, ciphertexts)
        AS s (submission, tenant, stream, person, version, ciphertext)
    CROSS JOIN LATERAL (
        SELECT * FROM personal_keys k
        WHERE k.tenant_id = s.tenant AND k.user_id = s.person AND k.key_version = s.version
        FOR KEY SHARE SKIP LOCKED
    ) AS k
    WHERE s.submission <> ALL (refused)
    ON CONFLICT DO NOTHING;
END
$$;

-- A person's wrapped key in one round trip, for those that seal while a device waits.
CREATE FUNCTION wrapped_person_key(of_tenant uuid, of_user uuid)
RETURNS TABLE (key_version int, tenant_key_version int, wrapped_key bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT k.key_version, k.tenant_key_version, k.wrapped_key FROM personal_keys k
    WHERE k.tenant_id = of_tenant AND k.user_id = of_user
$$;

REVOKE ALL ON FUNCTION
    append_events_sealing(int[], uuid[], uuid[], bigint[], uuid[], uuid[], text[], text[], bytea[],
                          int[], uuid[], uuid[], uuid[], int[], bytea[]),
    wrapped_person_key(uuid, uuid)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    append_events_sealing(int[], uuid[], uuid[], bigint[], uuid[], uuid[], text[], text[], bytea[],
                          int[], uuid[], uuid[], uuid[], int[], bytea[]),
    wrapped_person_key(uuid, uuid)
    TO link_app;

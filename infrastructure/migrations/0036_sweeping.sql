-- Periodic deletion of what nobody needs any more, over all tenants. Runs as link_owner.

CREATE POLICY sweeping ON personal_keys TO link_owner USING (true);
CREATE POLICY sweeping ON personal_data TO link_owner USING (true);
CREATE POLICY sweeping ON otp_challenges TO link_owner USING (true);
CREATE POLICY sweeping ON enrollment_grants TO link_owner USING (true);

CREATE INDEX personal_keys_age ON personal_keys (created_at);
CREATE INDEX otp_challenges_age ON otp_challenges (expires_at);
CREATE INDEX enrollment_grants_age ON enrollment_grants (expires_at);

-- Each call deletes at most `batch` rows of each kind and says how many they were. What another
-- sweep has locked is left to it. A person without an event is a sign-up that never ended: the
-- value is stored first, and the user is appended next, within the same request.

CREATE FUNCTION sweep_people(
    signups_before timestamptz, challenges_before timestamptz, grants_before timestamptz, batch int
) RETURNS TABLE (signups bigint, challenges bigint, grants bigint)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH dead_signups AS (
        DELETE FROM personal_keys WHERE (tenant_id, user_id) IN (
            SELECT k.tenant_id, k.user_id FROM personal_keys k
            WHERE k.created_at < signups_before
              AND NOT EXISTS (SELECT FROM events e WHERE e.stream_id = k.user_id)
            LIMIT batch FOR UPDATE OF k SKIP LOCKED)
        RETURNING 1
    ), dead_challenges AS (
        DELETE FROM otp_challenges WHERE (tenant_id, id) IN (
            SELECT c.tenant_id, c.id FROM otp_challenges c
            WHERE c.expires_at < challenges_before LIMIT batch FOR UPDATE SKIP LOCKED)
        RETURNING 1
    ), dead_grants AS (
        DELETE FROM enrollment_grants WHERE (tenant_id, device_id, user_id) IN (
            SELECT g.tenant_id, g.device_id, g.user_id FROM enrollment_grants g
            WHERE g.expires_at < grants_before LIMIT batch FOR UPDATE SKIP LOCKED)
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM dead_signups), (SELECT count(*) FROM dead_challenges),
           (SELECT count(*) FROM dead_grants)
$$;
REVOKE ALL ON FUNCTION sweep_people(timestamptz, timestamptz, timestamptz, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sweep_people(timestamptz, timestamptz, timestamptz, int) TO link_app;

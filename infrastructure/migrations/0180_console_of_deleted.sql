-- The console people of a tenant that is deleted go with it: what is kept of them is sealed under
-- the platform's key, which stays. Runs as link_owner.

CREATE POLICY destruction ON console_users TO link_owner USING (true);
CREATE POLICY destruction ON console_recovery_codes TO link_owner USING (true);
CREATE POLICY destruction ON console_sessions TO link_owner USING (true);

CREATE TRIGGER nobody_deleted BEFORE INSERT ON console_users
    FOR EACH ROW EXECUTE FUNCTION refuse_deleted_tenant();

-- Codes and sessions hang on their person; they are named so that nobody has to know that.
CREATE OR REPLACE FUNCTION destroy_tenant(of_tenant uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM events WHERE tenant_id = of_tenant AND stream_id = of_tenant
                   AND name = 'tenant.deletion_started') THEN
        RAISE EXCEPTION 'nobody has this tenant deleted'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    PERFORM lock_tenant(of_tenant);
    INSERT INTO deleted_tenants (tenant_id) VALUES (of_tenant) ON CONFLICT DO NOTHING;
    DELETE FROM tenant_keys WHERE tenant_id = of_tenant;
    DELETE FROM personal_keys WHERE tenant_id = of_tenant;
    DELETE FROM advice_contexts WHERE tenant_id = of_tenant;
    DELETE FROM otp_challenges WHERE tenant_id = of_tenant;
    DELETE FROM enrollment_grants WHERE tenant_id = of_tenant;
    DELETE FROM user_sessions WHERE tenant_id = of_tenant;
    DELETE FROM client_secrets WHERE tenant_id = of_tenant;
    DELETE FROM webhook_secrets WHERE tenant_id = of_tenant;
    DELETE FROM webhook_keys WHERE tenant_id = of_tenant;
    DELETE FROM console_sessions WHERE tenant_id = of_tenant;
    DELETE FROM console_recovery_codes WHERE tenant_id = of_tenant;
    DELETE FROM console_users WHERE tenant_id = of_tenant;
END
$$;

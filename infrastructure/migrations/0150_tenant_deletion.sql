-- Destroying what is held for a tenant that is deleted. Runs as link_owner.

-- Whose keys are destroyed: no key is ever made for them again.
CREATE TABLE deleted_tenants (
    tenant_id  uuid        PRIMARY KEY,
    deleted_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE deleted_tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE deleted_tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON deleted_tenants TO link_app
    USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
CREATE POLICY destruction ON deleted_tenants TO link_owner USING (true) WITH CHECK (true);
GRANT SELECT ON deleted_tenants TO link_app;

CREATE POLICY destruction ON client_secrets TO link_owner USING (true);
CREATE POLICY destruction ON webhook_secrets TO link_owner USING (true);
CREATE POLICY destruction ON webhook_keys TO link_owner USING (true);
CREATE POLICY destruction ON user_sessions TO link_owner USING (true);

-- A new key and the destruction take one lock, so that whichever is second sees the first.
CREATE FUNCTION lock_tenant(of_tenant uuid) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, public, pg_temp
    RETURN pg_advisory_xact_lock(hashtextextended('tenant/' || of_tenant, 0));

CREATE FUNCTION refuse_deleted_tenant() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM lock_tenant(NEW.tenant_id);
    IF EXISTS (SELECT FROM deleted_tenants WHERE tenant_id = NEW.tenant_id) THEN
        RAISE EXCEPTION 'the tenant has been deleted'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION refuse_deleted_tenant() FROM PUBLIC;

CREATE TRIGGER nobody_deleted BEFORE INSERT ON tenant_keys
    FOR EACH ROW EXECUTE FUNCTION refuse_deleted_tenant();

-- Without the tenant's key nothing that was sealed under it, or under a key of its people, opens
-- again. Only of a tenant whose own log says that it is being deleted.
CREATE FUNCTION destroy_tenant(of_tenant uuid) RETURNS void
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
END
$$;
REVOKE ALL ON FUNCTION destroy_tenant(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION destroy_tenant(uuid) TO link_app;

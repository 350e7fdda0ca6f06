-- Erasing a person for good. Runs as link_owner.

-- Who has been erased: nothing can be kept about them again.
CREATE TABLE erased_people (
    tenant_id uuid        NOT NULL,
    user_id   uuid        NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id)
);
ALTER TABLE erased_people ENABLE ROW LEVEL SECURITY;
ALTER TABLE erased_people FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON erased_people TO link_app
    USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
CREATE POLICY guarding ON erased_people FOR SELECT TO link_owner USING (true);
GRANT SELECT, INSERT ON erased_people TO link_app;

GRANT DELETE ON enrollment_grants TO link_app;
CREATE INDEX otp_challenges_user ON otp_challenges (tenant_id, user_id);
CREATE INDEX otp_challenges_destination ON otp_challenges (tenant_id, destination_digest);

-- A key for the person and the person's erasure take one lock, so that whichever is second sees
-- what the first one did.
CREATE FUNCTION lock_person(of_user uuid) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, public, pg_temp
    RETURN pg_advisory_xact_lock(hashtextextended('person/' || of_user, 0));

CREATE FUNCTION refuse_erased_person() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM lock_person(NEW.user_id);
    IF EXISTS (SELECT FROM erased_people
               WHERE tenant_id = NEW.tenant_id AND user_id = NEW.user_id) THEN
        RAISE EXCEPTION 'the person has been erased'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION refuse_erased_person() FROM PUBLIC;

CREATE TRIGGER nobody_erased BEFORE INSERT ON personal_keys
    FOR EACH ROW EXECUTE FUNCTION refuse_erased_person();

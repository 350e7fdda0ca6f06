-- The three roles of infrastructure/database.py. This file runs as the role that logs in (a
-- superuser, or the database's owner with CREATEROLE); every later one runs as link_owner.
-- Roles belong to the whole cluster, so another database may have made them already, or may be
-- making them at this moment.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['link_owner', 'link_app', 'link_projector'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
        -- Whoever logs in must be able to act as it, for the start-up packet to say
        -- `-c role=…`. A superuser is; so is whom an administrator granted it; and whoever made
        -- the role may grant it to themselves. (PostgreSQL 16 tells acting from mere membership.)
        IF NOT pg_has_role(session_user, wanted, CASE
                WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER'
                ELSE 'SET' END) THEN
            EXECUTE format('GRANT %I TO %I', wanted, session_user);
        END IF;
    END LOOP;
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO link_owner;
GRANT USAGE ON SCHEMA public TO link_app, link_projector;

-- Read models can be made again from the log at any time, so the role that fills them owns
-- them: it creates, rebuilds beside and swaps tables without ever acting as link_owner
-- (infrastructure/projections/tables.py).
CREATE SCHEMA IF NOT EXISTS read_models AUTHORIZATION link_projector;
CREATE SCHEMA IF NOT EXISTS read_models_next AUTHORIZATION link_projector;

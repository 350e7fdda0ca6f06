-- By what a session's person proved who it is, the last time; empty for a session whose sign-in was
-- the only time. Runs as link_owner.

ALTER TABLE user_sessions ADD COLUMN proved_by text[] NOT NULL DEFAULT '{}';
GRANT UPDATE (proved_by) ON user_sessions TO link_app;

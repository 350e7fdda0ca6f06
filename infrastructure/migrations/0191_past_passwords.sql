-- Hashes of passwords that a console person had before, newest first, as far as the tenant wants none
-- of them again. They go with the person's row. Runs as link_owner.

ALTER TABLE console_users ADD COLUMN past_hashes text[] NOT NULL DEFAULT '{}';
GRANT UPDATE (past_hashes) ON console_users TO link_app;

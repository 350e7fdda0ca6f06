-- A value of a person may go while the person stays: a password that is given up. Runs as link_owner.

GRANT DELETE ON personal_data TO link_app;

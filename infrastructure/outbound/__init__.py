"""Every HTTP call that the platform makes by itself goes through here."""

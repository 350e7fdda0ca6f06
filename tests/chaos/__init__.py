"""Kills the platform and its database under load, and checks after each kill what was promised."""

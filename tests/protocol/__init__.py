"""The checked model of the broker's protocol, against the real code over a real PostgreSQL."""

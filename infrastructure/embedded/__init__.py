"""The servers that come along: PostgreSQL and Redis, started and stopped by the platform itself."""

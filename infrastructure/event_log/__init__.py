"""The event log on Postgres: appending, loading, tailing, and checking what is stored."""

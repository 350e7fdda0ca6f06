"""The transparency log on PostgreSQL: kept, signed, cosigned, and read."""

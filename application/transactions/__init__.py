"""A device's transaction, from asking to its decision, and everything owed after it."""

"""The channels by which a one-time code reaches a person."""

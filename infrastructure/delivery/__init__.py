"""The delivery engine: what must reach another system does, at least once and in order."""

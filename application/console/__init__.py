"""Console people: how they come in, prove who they are, and let others in."""

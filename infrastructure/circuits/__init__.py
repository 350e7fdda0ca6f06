"""Circuit breakers, shared between processes."""

"""What is true and what is allowed: pure decisions over facts, with no clock, chance or I/O."""

"""How the world is reached: one adapter per port."""

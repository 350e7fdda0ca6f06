"""Palms: recognising them, enrolling them, taking them away."""

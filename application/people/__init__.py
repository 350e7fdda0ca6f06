"""Managed users: who they are, how they come in, what they may ask of us."""

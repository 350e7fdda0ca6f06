"""Calling a product's backend, and what is remembered of it."""

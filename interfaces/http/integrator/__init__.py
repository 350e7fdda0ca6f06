"""Integrator backends: OAuth tokens, and everything a tenant manages over the API."""

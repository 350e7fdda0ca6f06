"""Webhooks: what a tenant is told, how it is signed, and how it is sent."""

"""Tenants, and what each sets up: clients, products, webhooks."""

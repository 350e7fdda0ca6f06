"""Devices: pairing, certificates, presence, commands."""

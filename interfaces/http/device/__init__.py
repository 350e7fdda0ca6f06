"""Devices: pairing without a certificate, everything else behind one."""

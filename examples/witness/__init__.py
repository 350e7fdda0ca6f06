"""A reference witness (C2SP tlog-witness): it remembers what it saw, and cosigns what continues it.

A bank, a regulator or a tenant runs one beside the platform. What it needs of the platform is one
verifier key; what it keeps is a size and a root for each log.
"""

"""Whom our outbound clients believe: what the system trusts, and our own server CA."""

import ssl


def system_trust_and(our_cas_pem: str) -> ssl.SSLContext:
    """A counterpart may hold a certificate of ours."""
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=our_cas_pem)
    return context

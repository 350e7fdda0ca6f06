"""Whoever can tell whether hardware vouches for a key."""

from collections.abc import Sequence
from typing import Protocol

from domain.attestation import Attestation


class KeyAttestations(Protocol):
    def verify(self, chain: Sequence[str], *, challenge: bytes, spki_sha256: str) -> Attestation:
        """What the chain (PEM, the key's own certificate first) proves of this key, for this
        challenge.

        Raises Invalid (`attestation_invalid`, whose `attestation_reason` says why) and Unavailable
        (`attestation_status_stale`) when it is not known who may still vouch.
        """
        ...

"""Attestations in memory: a chain is a level and what the key was attested for, in hex."""

from collections.abc import Sequence

from domain.attestation import Attestation, AttestationLevel, BootState, refused


class Attestations:
    """`application.ports.attestation.KeyAttestations`, which believes everybody of these levels."""

    def __init__(self) -> None:
        self.boot: BootState = "verified"
        self.locked = True
        self.asked: list[str] = []

    def verify(self, chain: Sequence[str], *, challenge: bytes, spki_sha256: str) -> Attestation:
        self.asked.append(spki_sha256)
        level, attested_for = chain
        if attested_for != challenge.hex():
            raise refused("challenge_mismatch", "for something else")
        levels: dict[str, AttestationLevel] = {
            "software": "software",
            "tee": "tee",
            "strongbox": "strongbox",
        }
        return Attestation(level=levels[level], boot=self.boot, locked=self.locked)

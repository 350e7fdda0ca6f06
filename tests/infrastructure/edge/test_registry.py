"""The registry of revoked certificates by itself."""

import itertools

import pytest

from infrastructure.edge.revocations import RevokedCertificates, fingerprint_bytes


def many_fingerprints(count: int) -> list[str]:
    return [f"{number:064x}" for number in range(count)]


class RecordingConnection:
    def __init__(self) -> None:
        self.aborted = 0

    def abort(self) -> None:
        self.aborted += 1


def test_every_open_connection_of_the_certificate_is_aborted_and_no_other() -> None:
    registry = RevokedCertificates()
    mine, also_mine, other = (RecordingConnection() for _ in range(3))
    registry.opened(fingerprint_bytes(f"{1:064x}"), mine)
    registry.opened(fingerprint_bytes(f"{1:064x}"), also_mine)
    registry.opened(fingerprint_bytes(f"{2:064x}"), other)
    registry.revoked([f"{1:064x}", f"{3:064x}"])
    assert (mine.aborted, also_mine.aborted, other.aborted) == (1, 1, 0)


def test_a_connection_that_opens_after_the_revocation_is_aborted() -> None:
    registry, late = RevokedCertificates(), RecordingConnection()
    registry.revoked([f"{1:064x}"])
    registry.opened(fingerprint_bytes(f"{1:064x}"), late)
    assert late.aborted == 1


def test_restoring_takes_over_what_the_log_says_and_ends_what_slipped_in() -> None:
    registry, open_since_before = RevokedCertificates(), RecordingConnection()
    registry.opened(fingerprint_bytes(f"{5:064x}"), open_since_before)
    registry.revoked([f"{200_000:064x}"])
    registry.restore(iter(many_fingerprints(10)))
    assert open_since_before.aborted == 1
    assert len(registry) == 11
    assert registry.denies(fingerprint_bytes(f"{200_000:064x}"))


def test_closed_connections_are_forgotten() -> None:
    registry, connection = RevokedCertificates(), RecordingConnection()
    fingerprint = fingerprint_bytes(f"{1:064x}")
    registry.opened(fingerprint, connection)
    registry.closed(fingerprint, connection)
    registry.closed(fingerprint, connection)
    registry.revoked([f"{1:064x}"])
    assert registry.connections(fingerprint) == 0
    assert connection.aborted == 0


def test_a_hundred_thousand_revocations_are_one_look_up() -> None:
    """The structure, not the time: a counted hash, and no comparison with the others."""
    registry = RevokedCertificates()
    registry.restore(many_fingerprints(100_000))
    hashed = itertools.count()
    compared = itertools.count()

    class Counted(bytes):
        def __hash__(self) -> int:
            next(hashed)
            return super().__hash__()

        def __eq__(self, other: object) -> bool:
            next(compared)
            return super().__eq__(other)

    assert registry.denies(Counted(fingerprint_bytes(f"{99_999:064x}")))
    assert not registry.denies(Counted(fingerprint_bytes(f"{100_000:064x}")))
    assert next(hashed) == 2
    assert next(compared) <= 2


@pytest.mark.parametrize("text", ["", "00", "g" * 64, "A" * 64, f"{1:064x}0", " " * 64])
def test_what_is_not_a_fingerprint_revokes_nothing(text: str) -> None:
    registry = RevokedCertificates()
    with pytest.raises(ValueError, match="SHA-256"):
        registry.revoked([f"{1:064x}", text])
    assert len(registry) == 0

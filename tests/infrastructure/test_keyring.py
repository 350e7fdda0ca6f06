"""What the platform's key seals opens in its own place only."""

import base64

import pytest

from infrastructure.keys.keyring import Keyring, KeyringUnusable


def test_what_is_sealed_opens_in_its_place_only() -> None:
    keyring = Keyring(bytes(32))
    sealed = keyring.seal(b"value", "table.column/1")
    assert keyring.open(sealed, "table.column/1") == b"value"
    assert keyring.seal(b"value", "table.column/1") != sealed
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for wrong, place, opener in (
        (sealed, "table.column/2", keyring),
        (sealed, "table.column/1", Keyring(bytes(31) + b"\1")),
        (flipped, "table.column/1", keyring),
        (sealed[:20], "table.column/1", keyring),
        (b"", "table.column/1", keyring),
    ):
        with pytest.raises(KeyringUnusable, match="does not open"):
            opener.open(wrong, place)


def test_digests_differ_by_purpose_and_by_key() -> None:
    keyring = Keyring(bytes(32))
    digest = keyring.digest("otp", "123456")
    assert keyring.matches("otp", "123456", digest)
    assert not keyring.matches("otp", "123457", digest)
    assert not keyring.matches("pairing", "123456", digest)
    assert not keyring.matches("otp", "123456", "\N{SNOWMAN}")
    assert not Keyring(bytes(31) + b"\1").matches("otp", "123456", digest)
    assert len(base64.urlsafe_b64decode(digest + "=")) == 32


def test_no_derived_key_is_the_key_or_another_derived_key() -> None:
    keyring = Keyring(bytes(32))
    keys = {keyring.derive("seal"), keyring.derive("digest:seal"), keyring.derive(""), bytes(32)}
    assert len(keys) == 4
    assert keyring.derive("seal") == Keyring(bytes(32)).derive("seal")

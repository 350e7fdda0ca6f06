"""Proofs of possession: for this request, by this key, once, and nothing else (RFC 9449 §4.3)."""

import base64
import hashlib
import json
from typing import Any
from uuid import UUID

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from domain import tenant as t
from domain.errors import Unauthenticated
from domain.ids import TenantId
from domain.oauth_client import PublicJwk
from infrastructure.keys.keyring import Keyring
from infrastructure.keys.signing_keys import SigningKey
from infrastructure.tokens.dpop import FUTURE_S, PAST_S, SignedDpopProofs, thumbprint
from infrastructure.tokens.dpop_nonces import SLOT_S, DpopNonces
from tests.infrastructure.forgeries import STRANGER, Forger, every_claim_spoilt
from tests.infrastructure.tokens import FixedClock, compact
from tests.opaque_forgeries import opaque_forgeries

URL = "https://identity.example/v1/devices"
TENANT = TenantId(UUID("0198c7a0-9e6c-7b1f-8d3e-2a4b5c6d7e8f"))
KEY = SigningKey.generate()
NOW = 1_800_000_000
TOKEN = "header.payload.signature"
ATH = base64.urlsafe_b64encode(hashlib.sha256(TOKEN.encode()).digest()).rstrip(b"=").decode()


def public(key: SigningKey, **changes: Any) -> dict[str, Any]:
    return {**{name: key.jwk[name] for name in ("kty", "crv", "x", "y")}, **changes}


FORGER = Forger(
    key=KEY,
    header={"typ": "dpop+jwt", "alg": "ES256", "jwk": public(KEY)},
    claims={"jti": "1", "htm": "GET", "htu": URL, "iat": NOW, "ath": ATH},
    other_types=("JWT", "at+jwt", "identity-assertion+jwt", "DPOP+JWT", "dpop", ""),
)


class Shown:
    """`ShownOnce` in memory."""

    def __init__(self) -> None:
        self.seen: set[tuple[object, ...]] = set()

    async def first_time(self, *what: object, **until: object) -> bool:
        del until
        first = what not in self.seen
        self.seen.add(what)
        return first


class OfTenant:
    """`Streams` that know one tenant, with or without nonces."""

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted

    async def state(self, tenant_id: TenantId, stream_id: UUID, rebuild: object) -> t.Tenant:
        del stream_id, rebuild
        settings = t.TenantSettings(dpop_nonce_required=self._wanted)
        return t.Tenant(id=tenant_id, version=1, name="Acme", settings=settings, tenant_key="k")


def nonces(clock: FixedClock, *, wanted: bool = True) -> DpopNonces:
    streams: Any = OfTenant(wanted=wanted)
    return DpopNonces(Keyring(b"k" * 32), streams, clock)


def proofs(at: float = NOW, *, nonce: bool = False) -> SignedDpopProofs:
    shown: Any = Shown()
    clock = FixedClock(at)
    return SignedDpopProofs(shown, nonces(clock, wanted=nonce), clock)


async def accept(
    proof: str, of: SignedDpopProofs | None = None, *, url: str = URL, token: str | None = TOKEN
) -> str:
    checking = of or proofs()
    return await checking.accept(proof, tenant_id=TENANT, method="GET", url=url, token=token)


async def test_a_good_proof_is_accepted_once_and_names_its_key() -> None:
    """Otherwise every forgery below would be refused for the wrong reason."""
    of = proofs()
    assert await accept(FORGER.good(), of) == KEY.kid, "the thumbprint of RFC 7638"
    with pytest.raises(Unauthenticated) as raised:
        await accept(FORGER.good(), of)
    assert raised.value.detail == "this jti was used before"


async def test_the_same_jti_of_another_key_is_another_proof() -> None:
    of = proofs()
    await accept(FORGER.good(), of)
    other = compact(STRANGER, {**FORGER.header, "jwk": public(STRANGER)}, FORGER.claims)
    assert await accept(other, of) == STRANGER.kid


def test_the_thumbprint_is_that_of_rfc_7638() -> None:
    """Its own example, §3.1."""
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_"
        "BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_"
        "FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI"
        "4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    key = PublicJwk(kty="RSA", n=n, e="AQAB", alg=None, kid="2011-04-29")
    assert thumbprint(key) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


FOREIGN: dict[str, Any] = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "PS256": rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("alg", FOREIGN)
async def test_what_a_foreign_library_signs_is_accepted(alg: str) -> None:
    known = json.loads(jwt.get_algorithm_by_name(alg).to_jwk(FOREIGN[alg].public_key()))
    jwk = {name: known[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in known}
    made = jwt.encode(FORGER.claims, FOREIGN[alg], alg, {"typ": "dpop+jwt", "jwk": jwk})
    assert await accept(made) == thumbprint(msgspec.convert(jwk, PublicJwk))


@pytest.mark.parametrize(
    "htu",
    [
        URL + "?limit=5",
        URL + "#fragment",
        "https://IDENTITY.example/v1/devices",
        "https://identity.example:443/v1/devices",
        "HTTPS://identity.example/v1/devices",
    ],
)
async def test_two_spellings_of_one_url_are_one(htu: str) -> None:
    assert await accept(FORGER.claiming(htu=htu)) == KEY.kid


async def test_no_token_no_hash() -> None:
    assert await accept(FORGER.claiming(ath=None), token=None) == KEY.kid
    with pytest.raises(Unauthenticated):
        await accept(FORGER.good(), token=None)


@pytest.mark.parametrize("seconds", [-PAST_S, 0, FUTURE_S])
async def test_a_proof_is_of_about_now(seconds: int) -> None:
    assert await accept(FORGER.claiming(iat=NOW + seconds)) == KEY.kid


async def test_where_a_nonce_is_wanted_a_proof_without_a_good_one_is_told_which() -> None:
    of, now = proofs(nonce=True), nonces(FixedClock(NOW)).current()
    one_later = nonces(FixedClock(NOW + SLOT_S)).current()
    forged = opaque_forgeries(now, one_later)
    assert len(forged) >= 60
    for nonce in (
        None,
        *forged.values(),
        one_later,
        nonces(FixedClock(NOW - 2 * SLOT_S)).current(),
    ):
        with pytest.raises(Unauthenticated, match="use_dpop_nonce") as raised:
            await accept(FORGER.claiming(**({} if nonce is None else {"nonce": nonce})), of)
        assert raised.value.extra == {"dpop_nonce": now}
    assert await accept(FORGER.claiming(nonce=now), of) == KEY.kid, "its jti was not used up"
    before = nonces(FixedClock(NOW - SLOT_S)).current()
    assert await accept(FORGER.claiming(nonce=before, jti="2"), of) == KEY.kid
    assert await accept(FORGER.claiming(nonce="x"), proofs()) == KEY.kid, "where none is wanted"


@pytest.mark.parametrize("name", FORGER.forgeries())
async def test_no_forgery_is_accepted(name: str) -> None:
    with pytest.raises(Unauthenticated, match="invalid_dpop_proof"):
        await accept(FORGER.forgeries()[name])


PRIVATE = "A" * 43
KEYS: dict[str, Any] = {
    "none": None,
    "null": "null",
    "a list": [public(KEY)],
    "a URL": "https://evil.example/jwk",
    "a stranger's": public(STRANGER),
    "private": public(KEY, d=PRIVATE),
    "symmetric": {"kty": "oct", "k": PRIVATE},
    "another curve": public(KEY, crv="P-384"),
    "not on the curve": public(KEY, y=KEY.jwk["x"]),
    "with x5c": public(KEY, x5c=["MIIB"]),
    "for encryption": public(KEY, use="enc"),
    "for another algorithm": public(KEY, alg="EdDSA"),
    "padded": public(KEY, x=KEY.jwk["x"] + "="),
    "RSA of nothing": {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
}


@pytest.mark.parametrize("name", KEYS)
async def test_the_key_in_the_header_is_a_plain_public_one_that_signed(name: str) -> None:
    with pytest.raises(Unauthenticated, match="invalid_dpop_proof"):
        await accept(FORGER.headed(jwk=KEYS[name]))


CLAIMS = every_claim_spoilt(
    FORGER,
    {
        "jti": (None, "", "x" * 129, 1, ["1"]),
        "htm": (None, "", "POST", "get", "GET ", ["GET"], 1),
        "htu": (
            None,
            "",
            "https://evil.example/v1/devices",
            "http://identity.example/v1/devices",
            "https://identity.example:8443/v1/devices",
            "https://identity.example/v1/devices/",
            "https://identity.example/v1/Devices",
            "https://identity.example/v1/x/../devices",
            "https://identity.example/v1/device%73",
            "https://you@identity.example/v1/devices",
            "https://identity.example@evil.example/v1/devices",
            "https://identity.example:x/v1/devices",
            "//identity.example/v1/devices",
            "/v1/devices",
            URL + "x" * 2048,
            [URL],
            1,
        ),
        "iat": (None, NOW - PAST_S - 1, NOW + FUTURE_S + 1, 0, -1, 2**63, str(NOW), True, [NOW]),
        "ath": (None, "", ATH[:-1], ATH + "=", ATH.lower(), TOKEN, [ATH], 1),
    },
)


def test_there_are_at_least_sixty_forgeries() -> None:
    assert len(FORGER.forgeries()) >= 60
    assert len(CLAIMS) >= 40


@pytest.mark.parametrize("name", CLAIMS)
async def test_no_claim_may_be_wrong(name: str) -> None:
    with pytest.raises(Unauthenticated, match="invalid_dpop_proof"):
        await accept(CLAIMS[name]())


async def test_a_forgery_uses_up_nobodys_jti() -> None:
    of = proofs()
    for forged in (FORGER.claiming(ath="x"), FORGER.claiming(htm="POST")):
        with pytest.raises(Unauthenticated):
            await accept(forged, of)
    assert await accept(FORGER.good(), of) == KEY.kid

"""Sends the requests of a certification, and forges their assertions in every way it asks for."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives import serialization

from application.ports import Clock
from application.ports.probes import Probe, ProbeAnswer, ProbeFailed, SignedAs
from infrastructure.keys.assertion_signer import ASSERTION_TYP
from infrastructure.keys.signing_keys import SigningKey, SigningKeys, base64url
from infrastructure.outbound.client import OutboundFailed
from infrastructure.products.linked_service_gateway import Requests
from infrastructure.strict_json import NotAnObject, read_object
from infrastructure.tokens.access_tokens import ACCESS_TOKEN_TYP

ANSWER_BYTES_MAX: Final = 16 * 1024


class HttpProductProbes:
    """`ProductProbes` through a client whose guard has checked the address."""

    def __init__(self, client: Requests, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def send(self, probe: Probe, deadline_s: float) -> ProbeAnswer:
        began = self._clock.monotonic()
        try:
            answer = await self._client.request(
                probe.method,
                probe.url,
                headers={"User-Agent": "link-identity-certification/1", **probe.headers},
                body=probe.body,
                deadline_s=deadline_s,
                max_bytes=ANSWER_BYTES_MAX,
            )
        except OutboundFailed as failed:
            raise ProbeFailed(failed.kind) from failed
        took_s = self._clock.monotonic() - began
        return ProbeAnswer(status=answer.status, answer=_object(answer.body), took_s=took_s)


class ForgingSigner:
    """`ProbeSigner`. Only `ours` and `access_token` are made with keys of the platform."""

    def __init__(self, assertions: SigningKeys, access_tokens: SigningKeys) -> None:
        self._assertions = assertions
        self._access_tokens = access_tokens
        self._foreign = SigningKey.generate()

    def sign(self, claims: Mapping[str, Any], how: SignedAs) -> str:
        ours = self._assertions.current
        match how:
            case "ours":
                return ours.sign(ASSERTION_TYP, claims)
            case "access_token":
                return self._access_tokens.current.sign(ACCESS_TOKEN_TYP, claims)
            case "unknown_kid":
                return self._foreign.sign(ASSERTION_TYP, claims)
            case "other_key":
                _, payload, signature = self._foreign.sign(ASSERTION_TYP, claims).split(".")
                return f"{_header('ES256', ours.kid)}.{payload}.{signature}"
            case "alg_none":
                return f"{_header('none', ours.kid)}.{base64url(msgspec.json.encode(claims))}."
            case "alg_hs256":
                signed = f"{_header('HS256', ours.kid)}.{base64url(msgspec.json.encode(claims))}"
                public = ours.public_key.public_bytes(
                    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
                )
                mac = hmac.new(public, signed.encode(), hashlib.sha256).digest()
                return f"{signed}.{base64url(mac)}"


def _header(alg: str, kid: str) -> str:
    return base64url(msgspec.json.encode({"alg": alg, "kid": kid, "typ": ASSERTION_TYP}))


def _object(body: bytes) -> Mapping[str, Any] | None:
    try:
        return read_object(body)
    except NotAnObject:
        return None

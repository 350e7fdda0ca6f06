"""What may be done to a good JWS so that nobody may accept it any more, whatever it is for.

A `Forger` knows one good token: its key, header and claims. Each forgery is that token with one
thing wrong; whoever verifies must refuse all of them, and accept `good`.
"""

import hmac
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from infrastructure.keys.signing_keys import SigningKey
from tests.infrastructure.tokens import compact, encode, es256

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
STRANGER = SigningKey.generate()
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the curve P-256."""


class Forger(msgspec.Struct, frozen=True, kw_only=True):
    """`header` and `claims` are those of a good token by `key`; `other_types` are the `typ`s of
    tokens of other kinds."""

    key: SigningKey
    header: dict[str, Any]
    claims: dict[str, Any]
    other_types: tuple[str, ...]

    def good(self) -> str:
        return compact(self.key, self.header, self.claims)

    def headed(self, **changes: Any) -> str:
        return compact(self.key, _without_none({**self.header, **changes}), self.claims)

    def claiming(self, **changes: Any) -> str:
        return compact(self.key, self.header, _without_none({**self.claims, **changes}))

    def forgeries(self) -> Mapping[str, str]:
        """By name; every one differs from the good token and from the others."""
        found = {
            **self._not_a_token(),
            **self._signatures(),
            **self._algorithms(),
            **self._headers(),
            **self._payloads(),
        }
        assert len({*found.values(), self.good()}) == len(found) + 1, "two forgeries are one"
        return found

    def _not_a_token(self) -> dict[str, str]:
        head, body, signature = self.good().split(".")
        last = ALPHABET[ALPHABET.index(signature[-1]) | 1]
        return {
            "empty": "",
            "one part": head,
            "two parts": f"{head}.{body}",
            "an empty third part": f"{head}.{body}.",
            "four parts": f"{head}.{body}.{signature}.x",
            "an encrypted form": f"{head}.{body}.{signature}.x.y",
            "a space before": f" {head}.{body}.{signature}",
            "a line end behind": f"{head}.{body}.{signature}\n",
            "a line end within": f"{head}.\n{body}.{signature}",
            "padding": f"{head}.{body}.{signature}==",
            "standard base64": f"{head}.{body}.{signature[:-2]}+/",
            "not ASCII": f"{head}.{body}.{signature[:-1]}\u00e9",
            "digits of another script": f"{head}.{body}.{signature[:-1]}\u0661",
            "loose trailing bits": f"{head}.{body}.{signature[:-1]}{last}",
            "the JSON serialisation": json.dumps(
                {"protected": head, "payload": body, "signature": signature}
            ),
            "a detached payload": f"{head}..{signature}",
            "parts in another order": f"{body}.{head}.{signature}",
            "oversize": compact(self.key, self.header, {**self.claims, "x": "x" * 9000}),
            "nested in itself": compact(
                self.key, {**self.header, "cty": "JWT"}, f"{head}.{body}.{signature}"
            ),
        }

    def _signatures(self) -> dict[str, str]:
        head, body, signature = self.good().split(".")
        raw = es256(self.key, f"{head}.{body}")
        r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
        changed = encode(json.dumps({**self.claims, "exp": 2**40}).encode())
        values = {
            "of something else": es256(self.key, "else"),
            "of the payload alone": es256(self.key, body),
            "by a stranger": es256(STRANGER, f"{head}.{body}"),
            "all zeros": bytes(64),
            "r zero": bytes(32) + raw[32:],
            "s zero": raw[:32] + bytes(32),
            "r and s swapped": raw[32:] + raw[:32],
            "r the order": ORDER.to_bytes(32, "big") + raw[32:],
            "s the order": raw[:32] + ORDER.to_bytes(32, "big"),
            "all ones": b"\xff" * 64,
            "in DER": encode_dss_signature(r, s),
            "half of it": raw[:32],
            "one byte less": raw[:63],
            "one byte more": raw + b"\0",
            "a zero in front": b"\0" + raw,
            "one bit changed": bytes([raw[0] ^ 1]) + raw[1:],
        }
        made = {f"signature {name}": f"{head}.{body}.{encode(v)}" for name, v in values.items()}
        made["another payload under the signature"] = f"{head}.{changed}.{signature}"
        return made

    def _algorithms(self) -> dict[str, str]:
        pem = self.key.public_key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        der = self.key.public_key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        public = {name: self.key.jwk[name] for name in ("crv", "kty", "x", "y")}
        secrets = {
            "the public PEM": pem,
            "the public DER": der,
            "the public JWK": json.dumps(public, separators=(",", ":")).encode(),
            "the x coordinate": self.key.jwk["x"].encode(),
            "nothing": b"",
        }
        named = ("ES384", "ES256K", "RS256", "PS256", "EdDSA", "HS512", "es256", "ES256 ", "")
        return {
            **{f"alg {alg!r}": self.headed(alg=alg) for alg in named},
            **{f"HS256 with {name}": self._hs256(secret) for name, secret in secrets.items()},
            **{f"alg {alg}, no signature": self._unsigned(alg) for alg in ("none", "None", "NONE")},
            "alg nOnE with a signature": self.headed(alg="nOnE"),
            "alg missing": self.headed(alg=None),
            "alg a list": self.headed(alg=["ES256"]),
            "alg an object": self.headed(alg={"name": "ES256"}),
        }

    def _headers(self) -> dict[str, str]:
        strangers = {name: STRANGER.jwk[name] for name in ("kty", "crv", "x", "y")}
        head = json.dumps(self.header)
        typ = {f"typ {typ}": self.headed(typ=typ) for typ in self.other_types}
        return {
            **typ,
            "typ a list": self.headed(typ=[self.header.get("typ", "JWT")]),
            "typ with a line end": self.headed(typ="JWT\n"),
            "crit": self.headed(crit=["exp"]),
            "crit empty": self.headed(crit=[]),
            "crit of b64": self.headed(crit=["b64"], b64=False),
            "b64 alone": self.headed(b64=True),
            "jku": self.headed(jku="https://evil.example/jwks"),
            "x5u": self.headed(x5u="https://evil.example/cert"),
            "x5c": self.headed(x5c=["MIIB"]),
            "x5t": self.headed(x5t="AAAA"),
            "zip": self.headed(zip="DEF"),
            "cty": self.headed(cty="JWT"),
            "enc": self.headed(enc="A256GCM"),
            "kid a path": self.headed(kid="../../../dev/null"),
            "kid SQL": self.headed(kid="' OR '1'='1"),
            "kid a number": self.headed(kid=1),
            "kid a list": self.headed(kid=[self.header.get("kid")]),
            "kid with NUL": self.headed(kid="a\0b"),
            "a stranger's key and its jwk": compact(
                STRANGER, {**self.header, "jwk": {**strangers, "d": "AA"}}, self.claims
            ),
            "a stranger's key and its kid": compact(
                STRANGER, {**self.header, "kid": STRANGER.kid}, self.claims
            ),
            "alg twice": compact(self.key, head[:-1] + ', "alg": "none"}', self.claims),
            "alg twice, the good one last": compact(
                self.key, '{"alg": "none", ' + head[1:], self.claims
            ),
            "header a list": compact(self.key, "[]", self.claims),
            "header null": compact(self.key, "null", self.claims),
            "header not JSON": compact(self.key, head.replace('"', "'"), self.claims),
            "header in UTF-16": _reheaded(self.key, head.encode("utf-16"), self.claims),
            "header with a byte order mark": _reheaded(
                self.key, b"\xef\xbb\xbf" + head.encode(), self.claims
            ),
        }

    def _payloads(self) -> dict[str, str]:
        body = json.dumps(self.claims)
        first = next(iter(self.claims))
        twice = f'{body[:-1]}, "{first}": {json.dumps(self.claims[first])}}}'
        return {
            "a claim twice": compact(self.key, self.header, twice),
            "a claim twice, the first false": compact(
                self.key, self.header, f'{{"{first}": "x", ' + body[1:]
            ),
            "a claim twice, escaped": compact(
                self.key,
                self.header,
                f'{body[:-1]}, "\\u{ord(first[0]):04x}{first[1:]}": "x"}}',
            ),
            "payload a list": compact(self.key, self.header, "[]"),
            "payload a string": compact(self.key, self.header, json.dumps(body)),
            "payload null": compact(self.key, self.header, "null"),
            "payload not JSON": compact(self.key, self.header, body.replace('"', "'")),
            "payload with NaN": compact(self.key, self.header, body[:-1] + ', "nbf": NaN}'),
            "payload with more behind": compact(self.key, self.header, body + "{}"),
            "payload deep": compact(self.key, self.header, "[" * 1400 + "]" * 1400),
            "payload empty": compact(self.key, self.header, "{}"),
        }

    def _hs256(self, secret: bytes) -> str:
        head = encode(json.dumps({**self.header, "alg": "HS256"}).encode())
        signed = f"{head}.{encode(json.dumps(self.claims).encode())}"
        return f"{signed}.{encode(hmac.digest(secret, signed.encode(), 'sha256'))}"

    def _unsigned(self, alg: str) -> str:
        head = encode(json.dumps({**self.header, "alg": alg}).encode())
        return f"{head}.{encode(json.dumps(self.claims).encode())}."


def every_claim_spoilt(
    forger: Forger, wrong: Mapping[str, tuple[Any, ...]]
) -> Mapping[str, Callable[[], str]]:
    """The token with one claim missing or of another value, for every claim that is named."""
    made: dict[str, Callable[[], str]] = {}
    for name, values in wrong.items():
        for value in values:
            said = "missing" if value is None else f"{value!r:.60}"
            made[f"{name} {said}"] = partial(forger.claiming, **{name: value})
    return made


def _reheaded(key: SigningKey, head: bytes, claims: dict[str, Any]) -> str:
    signed = f"{encode(head)}.{encode(json.dumps(claims).encode())}"
    return f"{signed}.{encode(es256(key, signed))}"


def _without_none(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}

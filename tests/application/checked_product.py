"""A product that checks everything, written a second time; each check can be left out."""

import base64
import json
from typing import Any, Literal

from application.ports.probes import Probe, ProbeAnswer, ProbeFailed
from application.transactions.authorization import digest
from infrastructure.canonical_json import JcsCanonicalJSON
from infrastructure.keys.assertion_signer import ASSERTION_TYP
from infrastructure.keys.signing_keys import SignatureInvalid, SigningKeys
from tests.application.hand_clock import HandClock

Check = Literal[
    "assertion",
    "signature",
    "kid",
    "alg_none",
    "alg_hs256",
    "type",
    "issuer",
    "audience",
    "tenant",
    "expiry",
    "not_before",
    "body",
    "context",
    "action",
    "jti",
    "key",
    "fingerprint",
    "tombstone",
    "void_after_allow",
    "void_signature",
    "void_action",
    "void_repeats",
    "advice_signature",
    "advice_action",
    "advice_repeats",
    "advice_tombstone",
]


class Refused(Exception):
    pass


class CheckedProduct:
    """`ProductProbes` in memory. `leaves_out` are the checks of a product that was built badly.

    `answers` may stand in for everything: a status for each call.
    """

    def __init__(self, keys: SigningKeys, audience: str, issuer: str, clock: HandClock) -> None:
        self._keys = keys
        self._audience = audience
        self._issuer = issuer
        self._clock = clock
        self.leaves_out: set[Check] = set()
        self.status: int | None = None
        self.down = False
        self.takes_s = 0.01
        self.calls: list[Probe] = []
        self.deadlines: list[float] = []
        self.charges: dict[str, int] = {}
        self._seen: set[str] = set()
        self._answers: dict[str, tuple[str, dict[str, Any]]] = {}
        self._voided: set[str] = set()

    async def send(self, probe: Probe, deadline_s: float) -> ProbeAnswer:
        self.calls.append(probe)
        self.deadlines.append(deadline_s)
        self._clock.advance(min(self.takes_s, deadline_s))
        if self.down or self.takes_s > deadline_s:
            raise ProbeFailed("connect" if self.down else "timeout")
        if self.status is not None:
            return self._said(self.status, {})
        if probe.method == "GET":
            return self._said(200, {"status": "ok"})
        door = probe.url.rpartition("/")[2]
        doors = {"void": self._void, "advice": self._advice}
        try:
            claims = self._verified(probe, door)
            answer = doors.get(door, self._authorize)(claims)
        except Refused:
            return self._said(401, {})
        return answer

    def _said(self, status: int, answer: dict[str, Any]) -> ProbeAnswer:
        return ProbeAnswer(status=status, answer=answer, took_s=self.takes_s)

    def _checks(self, check: Check, good: bool) -> None:
        if not good and check not in self.leaves_out:
            raise Refused(check)

    def _verified(self, probe: Probe, door: str) -> dict[str, Any]:
        body = json.loads(probe.body)
        bearer = probe.headers.get("Authorization", "")
        if not bearer:
            self._checks("assertion", False)
            return {**body, "jti": "none"}
        header, payload, _ = bearer.removeprefix("Bearer ").split(".")
        claims = json.loads(unbase64(payload))
        self._check_signature(bearer.removeprefix("Bearer "), json.loads(unbase64(header)), door)
        self._checks("issuer", claims["iss"] == self._issuer)
        theirs = claims["tenant_id"] != tenant_of(self._audience)
        self._checks("tenant" if theirs else "audience", self._audience in claims["aud"])
        now = self._clock.now().timestamp()
        self._checks("expiry", claims["exp"] > now)
        self._checks("not_before", claims["nbf"] <= now + 5)
        self._checks("body", claims["body_sha256"] == digest(probe.body))
        context = JcsCanonicalJSON().canonical(body["context"])
        self._checks("context", claims["context_hash"] == digest(context))
        if door == "void":
            self._checks("void_action", claims["action"] == "void")
        elif door == "advice":
            self._checks("advice_action", claims["action"] == "advice")
        else:
            self._checks("action", claims["action"] == "pay")
        self._checks("jti", claims["jti"] not in self._seen)
        self._seen.add(claims["jti"])
        return {**claims, "fingerprint": digest(context)}

    def _check_signature(self, token: str, header: dict[str, Any], door: str) -> None:
        if header["alg"] == "none":
            self._checks("alg_none", False)
        elif header["alg"] == "HS256":
            self._checks("alg_hs256", False)
        elif header["typ"] != ASSERTION_TYP:
            self._checks("type", False)
        elif header["kid"] != self._keys.current.kid:
            self._checks("kid", False)
        else:
            try:
                self._keys.verify(token, ASSERTION_TYP)
            except SignatureInvalid:
                of_door: dict[str, Check] = {"void": "void_signature", "advice": "advice_signature"}
                self._checks(of_door.get(door, "signature"), False)

    def _authorize(self, claims: dict[str, Any]) -> ProbeAnswer:
        key = claims["idempotency_key"]
        if key in self._voided and "tombstone" not in self.leaves_out:
            return self._said(200, {"decision": "deny", "reason_code": "voided"})
        known = self._answers.get(key)
        if known is not None and "key" not in self.leaves_out:
            self._checks("fingerprint", known[0] == claims.get("fingerprint", ""))
            return self._said(200, known[1])
        self.charges[key] = self.charges.get(key, 0) + 1
        answer = {"decision": "allow", "reference_id": f"ref_{len(self.calls)}"}
        self._answers[key] = claims.get("fingerprint", ""), answer
        return self._said(200, answer)

    def _advice(self, claims: dict[str, Any]) -> ProbeAnswer:
        key = claims["idempotency_key"]
        if key in self._voided and "advice_tombstone" not in self.leaves_out:
            return self._said(200, {"status": "voided"})
        if key in self.charges and "advice_repeats" not in self.leaves_out:
            return self._said(200, {"status": "already_recorded"})
        self.charges[key] = self.charges.get(key, 0) + 1
        return self._said(200, {"status": "recorded"})

    def _void(self, claims: dict[str, Any]) -> ProbeAnswer:
        key = claims["idempotency_key"]
        if key in self._voided:
            again = "void_repeats" in self.leaves_out
            return self._said(409 if again else 200, {"status": "already_voided"})
        charged = self.charges.pop(key, 0)
        if "void_after_allow" not in self.leaves_out or not charged:
            self._voided.add(key)
        return self._said(200, {"status": "voided" if charged else "not_found"})


def tenant_of(audience: str) -> str:
    return audience.split("/tenants/")[1].split("/")[0]


def unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

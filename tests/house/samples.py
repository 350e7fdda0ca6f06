"""A good request for every operation of the document, to be spoilt by tests that attack."""

import base64
import json
from typing import Any, cast
from uuid import uuid4

import httpx
import msgspec

from tests.house.contract import Operation
from tests.house.world import House, PairedDevice, Tenancy, key_and_csr, scan, transaction

MOBILE = "+966501230001"


class Stage(msgspec.Struct, frozen=True):
    """A tenant with a till, whose ids stand in the paths of good requests."""

    house: House
    tenant: Tenancy
    till: PairedDevice
    person: httpx.AsyncClient
    operator: httpx.AsyncClient
    token_form: dict[str, str] = {}

    def client(self, operation: Operation) -> httpx.AsyncClient:
        """Who may ask: the till, a signed-in person, a console person, or the backend with all
        scopes."""
        if operation.by_operator:
            return self.operator
        if operation.by_user:
            return self.person
        return self.till.http if operation.on_device else self.tenant.api

    def path(self, operation: Operation, **ids: str) -> str:
        known = {
            "device_id": self.till.id,
            "service_id": self.tenant.service_id,
            "idempotency_key": "till-4-00000000001",
            "transaction_id": f"txn_{uuid4().hex}",
            "user_id": f"usr_{uuid4().hex}",
            "palm_ref": f"plm_{uuid4().hex}",
            "verification_id": f"ver_{uuid4().hex}",
            "identification_id": f"idn_{uuid4().hex}",
            "challenge_id": f"pch_{uuid4().hex}",
            "endpoint_id": f"whe_{uuid4().hex}",
            "client_id": f"cli_{uuid4().hex}",
            "session_id": f"uss_{uuid4().hex}",
            "tenant_id": f"ten_{uuid4().hex}",
            "consent_id": f"cst_{uuid4().hex}",
            "provider": "google",
            "console_session_id": f"ocs_{uuid4().hex}",
            "operator_id": f"opr_{uuid4().hex}",
            "passkey_id": f"pky_{uuid4().hex}",
            "approval_id": f"apr_{uuid4().hex}",
            "tile_path": "0/000.p/1",
            "batch": "spring-rollout",
        }
        return operation.path.format_map(known | ids)

    async def facts(self) -> int:
        """How many events the tenant and the platform have, but for readings of the audit."""
        async with self.house.platform.projector_pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT count(*) FROM events WHERE tenant_id IN (%s, %s) AND name <> 'audit.read'",
                (self.tenant.tenant_id, "00000000-0000-0000-0000-000000000000"),
            )
            row = await cursor.fetchone()
        assert row is not None
        return int(row[0])


async def stage(house: House) -> Stage:
    tenant = await house.tenant()
    till = await house.device(tenant)
    operator = await house.operator("tenant_admin", tenant.tenant_id)
    return Stage(house, tenant, till, await house.signed_in(tenant), operator)


def id_token() -> dict[str, Any]:
    return {
        "tenant_id": f"ten_{uuid4().hex}",
        "installation": "installation-of-an-app-0001",
        "id_token": "e30.e30.e30",
        "nonce": f"1800000000.{'0' * 32}.{'x' * 43}",
    }


def bodies() -> dict[str, dict[str, Any]]:
    """A body for every operation that reads JSON, by operation id."""
    return {
        "registerLinkedService": {
            "product_key": "loyalty",
            "base_url": "https://loyalty.example:9443",
            "authorize_path": "/authorize/palm",
            "health_path": "/healthz",
            "timeout_ms": 900,
            "fail_mode": "closed",
            "allowed_actions": ["redeem"],
            "stand_in": {
                "max_amount": "25.00",
                "per_window": {"seconds": 600, "count": 20, "total_amount": "250.00"},
            },
            "breaker": {"window_s": 20},
            "shadow": {"fail_mode": "open", "stand_in": {"max_amount": "50.00"}},
        },
        "registerWebhookEndpoint": {
            "url": "https://shop.example:9443/webhooks",
            "event_types": ["device.revoked", "device.transaction.completed"],
            "mtls": "platform_ca",
        },
        "changeWebhookEndpoint": {"event_types": ["device.revoked"]},
        "makeWebhookCsr": {"replace": True},
        "installWebhookCertificate": {
            "certificate": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
            "active_from": "2199-03-01T09:00:00Z",
        },
        "rotateWebhookSecret": {"overlap_s": 3600, "force": True},
        "replayWebhooks": {
            "event_id": f"evt_{uuid4().hex}",
            "since": "2026-03-01T00:00:00Z",
            "until": "2026-03-02T00:00:00Z",
            "failed_only": True,
        },
        "registerOAuthClient": {
            "name": "Loyalty backend",
            "scopes": ["devices:read", "audit:read"],
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks": {
                "keys": [
                    {
                        "kty": "EC",
                        "crv": "P-256",
                        "kid": "key-2026",
                        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
                    }
                ]
            },
            "dpop_bound_access_tokens": False,
        },
        "retireOAuthClientSecret": {"secret": 1},
        "changeOAuthClient": {"name": "Loyalty backend 2", "scopes": ["devices:read"]},
        "simulateTransaction": {
            "product_key": "wallet",
            "action": "pay",
            "palm": "match",
            "user_id": f"usr_{uuid4().hex}",
            "context": {"amount": "5.00", "currency": "SAR"},
            "deadline_ms": 1500,
        },
        "certifyLinkedService": {
            "action": "pay",
            "context": {"amount": "1.00", "currency": "SAR"},
        },
        "changeLinkedService": {"timeout_ms": 700, "authorize_path": "/authorize/palm"},
        "publishConsentType": {
            "consent_type": "marketing",
            "version": "2026-01",
            "text_sha256": {"en": "7e" * 32, "ar-SA": "a1" * 32},
        },
        "recordConsent": {
            "consent_type": "marketing",
            "version": "2026-01",
            "locale": "ar-SA",
            "method": "paper",
            "text_sha256": "a1" * 32,
        },
        "recordConsentWithdrawal": {"consent_type": "marketing"},
        "giveConsent": {
            "consent_type": "marketing",
            "version": "2026-01",
            "locale": "en",
            "method": "web",
            "text_sha256": "7e" * 32,
        },
        "withdrawConsent": {"consent_type": "marketing"},
        "withdrawConsentAtDevice": {
            "user_id": f"usr_{uuid4().hex}",
            "consent_type": "marketing",
        },
        "createTenant": {"name": "Another shop", "sandbox": True},
        "suspendTenant": {"reason": "under_review"},
        "changeSettingsOfTenant": {"kyc_required": True, "allowed_countries": ["SA"]},
        "changeTenantSettings": {
            "kyc_required": True,
            "auth_methods": ["otp_sms", "otp_email"],
            "allowed_countries": ["SA"],
            "match_policy": {"rule": "k_of_n", "k": 3, "minimum": [0.8, 0.8, 0.7, 0.7]},
        },
        "setBreaker": {"mode": "observe", "reason": "rehearsal", "until": "2199-03-01T09:00:00Z"},
        "evaluateMatchPolicy": {
            "match_policy": {"rule": "k_of_n", "k": 3, "minimum": [0.8, 0.8, 0.7, 0.7]},
            "fail_mode": "open",
            "product_key": "wallet",
            "from": "2020-01-01T00:00:00Z",
            "limit": 50,
        },
        "requestCode": {
            "tenant_id": f"ten_{uuid4().hex}",
            "installation": "installation-of-an-app-0001",
            "channel": "email",
            "destination": "sara.alharbi@example.com",
            "locale": "ar",
        },
        "verifyCode": {
            "tenant_id": f"ten_{uuid4().hex}",
            "installation": "installation-of-an-app-0001",
            "channel": "email",
            "challenge_id": f"chl_{uuid4().hex}",
            "code": "738291",
        },
        "refreshTokens": {
            "refresh_token": f"urt_{'0' * 64}_1_{'x' * 43}",
            "installation": "installation-of-an-app-0001",
        },
        "signInByPassword": {
            "tenant_id": f"ten_{uuid4().hex}",
            "installation": "installation-of-an-app-0001",
            "email": "sara.alharbi@example.com",
            "password": "correct horse battery staple",
        },
        "setPassword": {
            "password": "correct horse battery staple",
            "current": "another horse, another staple",
        },
        "requestPasswordReset": {
            "tenant_id": f"ten_{uuid4().hex}",
            "installation": "installation-of-an-app-0001",
            "email": "sara.alharbi@example.com",
            "locale": "ar",
        },
        "resetPassword": {
            "tenant_id": f"ten_{uuid4().hex}",
            "installation": "installation-of-an-app-0001",
            "challenge_id": f"chl_{uuid4().hex}",
            "code": "738291",
            "password": "correct horse battery staple",
        },
        "issueSignInNonce": {
            "tenant_id": f"ten_{uuid4().hex}",
            "installation": "installation-of-an-app-0001",
        },
        "signInByGoogle": id_token(),
        "signInByApple": id_token(),
        "linkAccount": {"id_token": "e30.e30.e30", "nonce": f"1800000000.{'0' * 32}.{'x' * 43}"},
        "requestLinkCode": {
            "channel": "email",
            "destination": "sara.alharbi@example.com",
            "locale": "ar",
        },
        "linkAddress": {
            "channel": "email",
            "challenge_id": f"chl_{uuid4().hex}",
            "code": "738291",
        },
        "requestReauthenticationCode": {"channel": "email", "locale": "ar"},
        "reauthenticateByCode": {
            "channel": "email",
            "challenge_id": f"chl_{uuid4().hex}",
            "code": "738291",
        },
        "reauthenticateByPassword": {"password": "four words nobody says"},
        "reauthenticateByAccount": {
            "id_token": "e30.e30.e30",
            "nonce": f"1800000000.{'0' * 32}.{'x' * 43}",
        },
        "signInOperator": {
            "tenant_id": f"ten_{uuid4().hex}",
            "email": "noura.alotaibi@example.com",
            "password": "four words nobody says",
            "totp": "738291",
            "recovery_code": "ABCD-EFGH-JKMN-PQRS",
        },
        "beginPasskeySecondFactor": {
            "tenant_id": f"ten_{uuid4().hex}",
            "email": "noura.alotaibi@example.com",
            "password": "four words nobody says",
        },
        "signInByPasskey": {
            "ceremony": f"lpc_{'0' * 64}",
            "credential": {
                "id": "A" * 43,
                "type": "public-key",
                "response": {
                    "clientDataJSON": "e30e30e30e30",
                    "authenticatorData": "B" * 50,
                    "signature": "C" * 96,
                    "userHandle": "D" * 43,
                },
            },
        },
        "addPasskey": {
            "ceremony": f"lpc_{'0' * 64}",
            "name": "Noura's laptop",
            "credential": {
                "id": "A" * 43,
                "type": "public-key",
                "response": {
                    "clientDataJSON": "e30e30e30e30",
                    "attestationObject": "B" * 200,
                    "transports": ["internal", "hybrid"],
                },
            },
        },
        "renamePasskey": {"name": "Noura's laptop"},
        "acceptInvitation": {
            "invitation": f"lci_{'0' * 64}_1_{'x' * 43}",
            "password": "four words nobody says",
        },
        "changeOwnPassword": {
            "current": "four words nobody says",
            "new": "four others nobody says",
        },
        "enrollTotp": {"code": "738291"},
        "inviteOperator": {
            "email": "noura.alotaibi@example.com",
            "name": "Noura Al-Otaibi",
            "role": "tenant_operator",
        },
        "changeOperator": {"role": "tenant_operator"},
        "askApproval": {"operation": "user.erase", "subject": f"usr_{uuid4().hex}"},
        "signUpUser": {
            "name": "Sara Al-Harbi",
            "mobile": "+966501230007",
            "email": "sara.alharbi@example.com",
            "external_id": "crm|customer-000117",
        },
        "changeUser": {"name": "Sara Al-Harbi", "email": "sara.alharbi@example.org"},
        "suspendUser": {"reason": "under_review"},
        "changeKyc": {"status": "verified", "level": "enhanced"},
        "lookUpUser": {
            "mobile": "+966501230008",
            "purpose": "support",
            "reference": "CASE-4711",
        },
        "exportPersonalData": {"reference": "DSR-2026/17"},
        "erasePerson": {"reference": "DSR-2026/17"},
        "registerDevice": {
            "type": "kiosk",
            "name": "Kiosk by the door",
            "serial": "SN-4711-0815",
            "small_model_capable": False,
        },
        "pairDevice": {
            "code": "ABC-DEF-GHJ",
            "csr": key_and_csr()[1],
            "device_info": {"serial": "SN-4711-0815", "model": "XT-PalmVein01"},
        },
        "signUp": {"mobile": MOBILE, "locale": "ar"},
        "verifySignUp": {"challenge_id": f"chl_{uuid4().hex}", "code": "738291"},
        "grantConsent": {
            "user_id": f"usr_{uuid4().hex}",
            "consent_type": "palm_enrollment",
            "version": "1",
            "text": ["I agree that my palm is enrolled.", "I may take this back at any time."],
        },
        "enrollPalm": {
            "user_id": f"usr_{uuid4().hex}",
            "scan": {
                **scan(b"a palm nobody may see", "left"),
                "quality": 87.5,
                "liveness": {"score": 0.98, "model": "pad-3"},
                "captured_at": "2026-03-01T09:00:00+03:00",
            },
            "hand": "left",
        },
        "verifyPalm": {
            "user_id": f"usr_{uuid4().hex}",
            "scan": scan(b"a palm nobody may see", "left"),
        },
        "requestEnrollment": {
            "user_id": f"usr_{uuid4().hex}",
            "device_id": f"dev_{uuid4().hex}",
            "hand": "right",
            "replace": True,
            "message": "Enrol your right palm for Acme",
            "expires_in": 120,
        },
        "openChallenge": {
            "user_id": f"usr_{uuid4().hex}",
            "device_id": f"dev_{uuid4().hex}",
            "purpose": "confirmation",
            "message": "Pay SAR 50.00 to Acme",
            "expires_in": 60,
        },
        "answerChallenge": {"attempt": 1, "scan": scan(b"a palm nobody may see", "left")},
        "declineChallenge": {"reason": "user_declined"},
        "identifyPalm": {"scan": scan(b"a palm nobody may see", "left")},
        "getCertificateStatus": {"proof": "e30.e30.c2lnbmF0dXJl"},
        "recoverCertificate": {"proof": "e30.e30.c2lnbmF0dXJl"},
        "renewCertificate": {"csr": key_and_csr()[1]},
        "addDeviceBatch": {
            "batch": "spring-rollout",
            "type": "kiosk",
            "slots": [{"name": "Kiosk 1", "serial": "SN-4711-0001"}, {"name": "Kiosk 2"}],
        },
        "rotateDeviceCA": {"phase": "issue", "spread_s": 600, "force": False},
        "makeServerCsr": {"replace": True},
        "installServerCertificate": {
            "certificate": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
        },
        "activateServerCertificate": {"for_devices": True, "force": True},
        "rollBackServerCertificate": {"to": "3c" * 32},
        "renewServerCertificate": {"everywhere": True},
        "regenerateDeviceCA": {"confirm": "every device must be paired again"},
        "queueCommand": {"kind": "show_message", "message": "ask_staff", "ttl_s": 600},
        "sendHeartbeat": {
            "seq": 7,
            "boot_id": "boot-0123456789",
            "device_time": "2026-03-01T09:00:00+03:00",
            "uptime_s": 3600,
            "fw_version": "3.2.1-rc1",
            "network": "wifi",
            "battery": 93,
            "command_results": [
                {"id": f"cmd_{uuid4().hex}", "status": "failed", "detail": "screen_off"}
            ],
        },
        "recordJournal": {
            "entries": [
                {
                    "idempotency_key": "till-4-00000000001",
                    "outcome": "not_received",
                    "at": "2026-03-01T09:00:00+03:00",
                },
                {
                    "idempotency_key": "till-4-00000000002",
                    "outcome": "shown_allow",
                    "at": "2026-03-01T09:00:01+03:00",
                },
            ]
        },
        "transact": transaction(
            b"a palm nobody may see",
            deadline_ms=1500,
            seq=7,
            match={
                "user_id": f"usr_{uuid4().hex}",
                "model_version": "m-1",
                "library_version": "l-1",
                "scores": [0.9, 0.9],
                "thresholds": [0.8, 0.8],
                "signature": base64.b64encode(b"signature" * 8).decode(),
            },
        ),
    }


def secrets_of(body: object) -> list[str]:
    """Every longer text in a body: none of them may come back in a refusal."""
    inner: list[object] = []
    if isinstance(body, dict):
        inner = list(cast("dict[str, object]", body).values())
    elif isinstance(body, list):
        inner = cast("list[object]", body)
    elif isinstance(body, str) and len(body) >= 8:
        return [body]
    return [found for value in inner for found in secrets_of(value)]


def dumped(body: object) -> bytes:
    return json.dumps(body).encode()

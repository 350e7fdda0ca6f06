"""Clients that nobody of us wrote, unmodified, in Node: openid-client and jose
(tests/foreign/clients.mjs), and an authenticator (tests/foreign/passkeys.mjs)."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from infrastructure.keys.signing_keys import SigningKey
from tests.house.foreign import at_its_issuer, private_jwk, public_jwk
from tests.house.samples import stage
from tests.house.world import PASSWORD, House

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def run(house: House, node: Path, given: dict[str, Any], script: str = "clients.mjs") -> Any:
    """What the script saw."""
    ca = house.platform.settings.data_dir / "pki" / "server-ca.pem"
    process = await asyncio.create_subprocess_exec(
        "node",
        script,
        cwd=node,
        env={"PATH": os.environ["PATH"], "NODE_EXTRA_CA_CERTS": str(ca)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        told, complaint = await process.communicate(json.dumps(given).encode())
    assert process.returncode == 0, complaint.decode()
    return json.loads(told)


@pytest.mark.parametrize("dpop", [False, True], ids=["bearer", "DPoP"])
@pytest.mark.parametrize("keyed", [False, True], ids=["secret", "private_key_jwt"])
async def test_openid_client_and_jose_work_unmodified(
    house: House, node_clients: Path, keyed: bool, dpop: bool
) -> None:
    at, key = await stage(house), SigningKey.generate()
    body: dict[str, Any] = {
        "name": "node",
        "scopes": ["devices:read", "audit:read"],
        "dpop_bound_access_tokens": dpop,
    }
    if keyed:
        body["token_endpoint_auth_method"] = "private_key_jwt"
        body["jwks"] = {"keys": [public_jwk(key)]}
    client = (await at.tenant.api.post("/v1/oauth-clients", json=body)).json()
    proof = {"key": private_jwk(key)} if keyed else {"client_secret": client["client_secret"]}
    async with at_its_issuer(house) as issuer:
        seen = await run(
            house,
            node_clients,
            {
                "issuer": issuer,
                "audience": house.platform.settings.issuer,
                "client_id": client["id"],
                "scope": "devices:read",
                "resource": f"{issuer}/v1/devices?limit=2",
                "dpop": dpop,
                **proof,
            },
        )
    assert (seen["type"], seen["scope"]) == ("dpop" if dpop else "bearer", "devices:read")
    assert seen["claims"]["client_id"] == client["id"]
    assert (seen["before"]["active"], seen["after"]) == (True, {"active": False})
    assert (seen["opened"], seen["ended"]) == ([200, 200], 401)


async def test_an_authenticator_that_is_not_ours_works_unmodified(
    house: House, node_clients: Path
) -> None:
    """With each algorithm: a passkey is added, opens the console alone and after the password, and
    the authenticator that has it makes no other."""
    tenant = await house.tenant()
    noura = await house.operator("tenant_admin", tenant.tenant_id)
    me = (await noura.get("/v1/console/me")).json()
    given = {
        "api": house.public_url,
        "origin": house.console_page().origin,
        "token": noura.headers["authorization"].removeprefix("Bearer "),
        "person": {
            "tenant_id": me["tenant_id"],
            "email": me["email"],
            "password": PASSWORD,
        },
    }
    seen = await run(house, node_clients, given, "passkeys.mjs")
    for each, name in zip(seen, ("ES256", "EdDSA", "RS256"), strict=True):
        assert (each["algorithm"], each["added"]) == (name, 201)
        assert (each["alone"], each["second"]) == ("passkey", "password_passkey")
        assert "CTAP2_ERR_CREDENTIAL_EXCLUDED" in each["again"]

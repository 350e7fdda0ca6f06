"""Consent end to end: by the person, by a backend and at a device; in force at once; with a receipt
that a stranger verifies."""

import jwt
import pytest

from tests.house.world import House, scan, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_consent_is_given_withdrawn_obeyed_and_proved(house: House) -> None:
    tenant = await house.tenant(consent_required=False)
    till = await house.device(tenant)
    palm, mobile = b"a palm with consent " + tenant.tenant_id.bytes, house.mobile()
    user_id = await house.person(till, mobile, palm)
    path = f"/v1/users/{user_id}/consents"
    person = await house.signed_in(tenant, mobile)

    digest = "7e" * 32
    published = await tenant.api.post(
        "/v1/consent-types",
        json={"consent_type": "marketing", "version": "7", "text_sha256": {"en": digest}},
    )
    assert published.status_code == 200, published.text
    given = await person.post(
        "/v1/auth/consents", json={"consent_type": "marketing", "version": "7"}
    )
    assert (given.status_code, given.json()["text_sha256"]) == (200, digest)
    mine = (await person.get("/v1/auth/consents")).json()["items"]
    assert [each["consent_type"] for each in mine] == ["palm_enrollment", "marketing"]
    assert (await tenant.api.get(path)).json()["items"] == mine

    receipt_path = f"{path}/{given.json()['id']}/receipt"
    receipt = (await tenant.api.get(receipt_path)).json()["receipt"]
    keys = jwt.PyJWKSet.from_dict((await person.get("/.well-known/jwks.json")).json())
    key = keys[str(jwt.get_unverified_header(receipt)["kid"])]
    said = jwt.decode(receipt, key, algorithms=["ES256"])
    assert (said["sub"], said["jti"]) == (user_id, given.json()["id"])
    assert said["event_history"][0]["event"] == given.json()["event"]
    assert jwt.get_unverified_header(receipt)["typ"] == "consent-receipt+jwt"
    proof = await tenant.api.get("/v1/audit/log/proof", params={"event_id": given.json()["event"]})
    assert proof.status_code == 200, proof.text
    own = await person.get(f"/v1/auth/consents/{given.json()['id']}/receipt")
    assert own.status_code == 200, own.text

    paid = await till.http.post("/v1/device/transactions", json=transaction(palm))
    assert paid.json()["decision"] == "allow", paid.text
    gone = await person.post("/v1/auth/consents/withdraw", json={"consent_type": "palm_enrollment"})
    assert gone.status_code == 204, gone.text
    after = await till.http.post("/v1/device/transactions", json=transaction(palm))
    assert (after.json()["decision"], after.json()["reason"]) == ("deny", "consent_withdrawn")
    found = await tenant.api.post("/v1/identifications", json={"scan": scan(palm, "left")})
    assert found.json()["result"] != "match", found.text
    right = {"user_id": user_id, "scan": scan(b"the other hand", "right"), "hand": "right"}
    enrolled = await till.http.post("/v1/device/enroll", json=right)
    assert (enrolled.status_code, enrolled.json()["code"]) == (403, "consent_required")

    again = await tenant.api.post(
        path, json={"consent_type": "palm_enrollment", "version": "1", "method": "paper"}
    )
    assert again.status_code == 200, again.text
    back = await till.http.post("/v1/device/transactions", json=transaction(palm))
    assert back.json()["decision"] == "allow", back.text
    withdrawn = await till.http.post(
        "/v1/device/consent/withdraw",
        json={"user_id": user_id, "consent_type": "palm_enrollment"},
    )
    assert withdrawn.status_code == 204, withdrawn.text
    history = (await tenant.api.get(path)).json()["items"]
    assert [(each["consent_type"], each["status"], each["withdrawn_by"]) for each in history] == [
        ("palm_enrollment", "withdrawn", "user"),
        ("marketing", "granted", None),
        ("palm_enrollment", "withdrawn", "device"),
    ]

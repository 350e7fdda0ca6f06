"""From a mobile to a palm at a device (004 diagram 4.4), with everything that may go wrong."""

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from domain.errors import Unavailable
from interfaces.composition import Platform
from interfaces.counterparts import Counterparts
from tests.house.world import House, PairedDevice, Tenancy, opened, scan, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

PALM = b"the palm of sara"


class Place(msgspec.Struct, frozen=True):
    """A kiosk of a tenant, and a person in front of it."""

    house: House
    tenant: Tenancy
    kiosk: PairedDevice
    mobile: str

    async def post(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.kiosk.http.post(f"/v1/device/{path}", json=body, headers=given)

    async def challenged(self) -> str:
        answered = await self.post("signup", {"mobile": self.mobile})
        assert answered.status_code == 202, answered.text
        return str(answered.json()["challenge_id"])

    async def verified(self, challenge_id: str, code: str | None = None) -> httpx.Response:
        sent = code or self.house.code_sent_to(self.mobile)
        return await self.post("signup/verify", {"challenge_id": challenge_id, "code": sent})

    async def known(self, *, consents: bool = True) -> str:
        """Signed up, and consenting unless said otherwise; answers the user's id."""
        user_id = str((await self.verified(await self.challenged())).json()["user_id"])
        if consents:
            assert (await self.consented(user_id)).status_code == 201
        return user_id

    async def consented(self, user_id: str, version: str = "1") -> httpx.Response:
        body = {"user_id": user_id, "consent_type": "palm_enrollment", "version": version}
        return await self.post("consent", body)

    async def enrolled(
        self, user_id: str, palm: bytes = PALM, hand: str = "left", key: str | None = None
    ) -> httpx.Response:
        body = {"user_id": user_id, "scan": scan(palm, hand), "hand": hand}
        return await self.post("enroll", body, **({"idempotency_key": key} if key else {}))

    async def events(self) -> list[str]:
        return await self.house.events(self.tenant)


async def place(house: House, **settings: Any) -> Place:
    tenant = await house.tenant(**settings)
    return Place(house, tenant, await house.device(tenant, "kiosk"), house.mobile())


def refusal(answered: httpx.Response) -> tuple[int, str]:
    return answered.status_code, answered.json()["code"]


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06d}"


async def test_a_known_and_an_unknown_mobile_get_the_same_answer(house: House) -> None:
    at = await place(house)
    await at.known()
    house.clock.shift = timedelta(seconds=31)
    known = await at.post("signup", {"mobile": at.mobile})
    unknown = await at.post("signup", {"mobile": house.mobile()})

    def shape(answered: httpx.Response) -> tuple[int, dict[str, Any], list[str]]:
        body = answered.json()
        body["challenge_id"] = len(body["challenge_id"])
        return answered.status_code, body, sorted(answered.headers)

    assert shape(known) == shape(unknown)


async def test_a_repeat_within_half_a_minute_sends_nothing_and_answers_the_same(
    house: House,
) -> None:
    at = await place(house)
    first = await at.challenged()
    sent = list(house.platform.inbox.messages())
    assert await at.challenged() == first
    assert list(house.platform.inbox.messages()) == sent
    house.clock.shift = timedelta(seconds=31)
    assert await at.challenged() != first


async def test_a_mobile_is_called_three_times_in_a_quarter_of_an_hour(house: House) -> None:
    at = await place(house)
    for number in range(3):
        house.clock.shift = timedelta(seconds=31 * number)
        await at.challenged()
    house.clock.shift = timedelta(seconds=200)
    answered = await at.post("signup", {"mobile": at.mobile})
    assert refusal(answered) == (429, "rate_limited")
    assert int(answered.headers["retry-after"]) > 0
    assert (await at.post("signup", {"mobile": house.mobile()})).status_code == 202


@pytest.mark.parametrize(
    "mobile", ["0501234567", "+96650", "+99912345678", "mobile", "+9665\u0661"]
)
async def test_a_number_that_cannot_be_called_is_refused(house: House, mobile: str) -> None:
    at = await place(house)
    assert refusal(await at.post("signup", {"mobile": mobile})) == (422, "mobile_invalid")


async def test_a_number_of_a_country_that_the_tenant_does_not_serve_is_refused(
    house: House,
) -> None:
    at = await place(house, allowed_countries=["SA"])
    answered = await at.post("signup", {"mobile": "+4915112345678"})
    assert refusal(answered) == (422, "mobile_country_not_allowed")


class FailingSender:
    """A channel that is down until it is told otherwise."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.down = True

    async def send(self, destination: str, code: str, locale: str) -> None:
        del destination, locale
        if self.down:
            raise Unavailable("otp_not_sent")
        self.sent.append(code)


async def test_a_code_that_could_not_be_sent_is_sent_by_the_next_try(
    database: str, tmp_path: Any
) -> None:
    """Without discarding the unsent challenge the second answer is 202, and nothing is sent."""
    sender = FailingSender()

    class WithFailingSender(Platform):
        def _outside(self) -> Counterparts:
            return msgspec.structs.replace(super()._outside(), otp_sender=sender)

    async with opened(database, tmp_path, platform=WithFailingSender) as house:
        at = await place(house)
        failed = await at.post("signup", {"mobile": at.mobile})
        assert refusal(failed) == (503, "otp_not_sent")
        sender.down = False
        challenge_id = await at.challenged()
        assert len(sender.sent) == 1
        assert (await at.verified(challenge_id, sender.sent[0])).status_code == 200


async def test_a_wrong_code_counts_down_and_five_lock_the_challenge(house: House) -> None:
    at = await place(house)
    challenge_id = await at.challenged()
    code = house.code_sent_to(at.mobile)
    told = [(await at.verified(challenge_id, wrong(code))).json() for _ in range(5)]
    assert [answer["code"] for answer in told] == ["code_incorrect"] * 5
    assert [answer["attempts_left"] for answer in told] == [4, 3, 2, 1, 0]
    for tried in (code, wrong(code)):
        assert refusal(await at.verified(challenge_id, tried)) == (409, "challenge_locked")
    assert "user.signed_up" not in await at.events()


async def test_fifty_wrong_codes_at_once_are_five_tries(house: House) -> None:
    at = await place(house)
    challenge_id = await at.challenged()
    code = house.code_sent_to(at.mobile)
    answers = await asyncio.gather(*(at.verified(challenge_id, wrong(code)) for _ in range(50)))
    codes = [answer.json()["code"] for answer in answers]
    assert (codes.count("code_incorrect"), codes.count("challenge_locked")) == (5, 45)


async def test_of_fifty_right_codes_at_once_one_makes_a_user(house: House) -> None:
    at = await place(house)
    challenge_id = await at.challenged()
    answers = await asyncio.gather(*(at.verified(challenge_id) for _ in range(50)))
    good = [answer.json() for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert {refusal(answer) for answer in answers if answer.status_code == 409} <= {
        (409, "request_in_progress")
    }
    assert len({body["user_id"] for body in good}) == 1
    assert (await at.events()).count("user.signed_up") == 1
    assert await grants(at) == 1


async def grants(at: Place) -> int:
    """How many enrolment grants the tenant has."""
    async with at.house.platform.services.read_models.scope(at.tenant.tenant_id) as connection:
        cursor = await connection.execute("SELECT count(*) FROM enrollment_grants")
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def test_a_code_runs_out_and_a_used_one_is_gone(house: House) -> None:
    at = await place(house)
    late = await at.challenged()
    code = house.code_sent_to(at.mobile)
    house.clock.shift = timedelta(seconds=301)
    assert refusal(await at.verified(late, code)) == (410, "challenge_expired")
    used = await at.challenged()
    first = await at.verified(used)
    assert (await at.verified(used)).json() == first.json()  # The answer may have been lost.
    house.clock.shift = timedelta(seconds=301 + 61)
    assert refusal(await at.verified(used)) == (410, "challenge_expired")


async def test_the_answer_to_a_right_code_survives_a_crash_before_it_was_noted(
    house: House,
) -> None:
    """The code was consumed and the user created; whom it led to was never written down."""
    at = await place(house)
    challenge_id = await at.challenged()
    first = await at.verified(challenge_id)
    async with house.platform.services.read_models.scope(at.tenant.tenant_id) as connection:
        await connection.execute("UPDATE otp_challenges SET user_id = NULL")
    again = await at.verified(challenge_id)
    assert (again.status_code, again.json()) == (200, first.json())


async def test_a_crash_before_there_was_a_user_says_try_again_and_then_sign_up_again(
    house: House,
) -> None:
    at = await place(house)
    challenge_id = await at.challenged()
    async with house.platform.services.read_models.scope(at.tenant.tenant_id) as connection:
        await connection.execute("UPDATE otp_challenges SET consumed_at = %s", (house.clock.now(),))
    answered = await at.verified(challenge_id)
    assert refusal(answered) == (409, "request_in_progress")
    assert answered.headers["retry-after"] == "1"
    house.clock.shift = timedelta(seconds=61)
    assert refusal(await at.verified(challenge_id)) == (410, "challenge_expired")
    assert (await at.verified(await at.challenged())).status_code == 200


async def test_a_mobile_is_one_person_to_a_tenant_and_another_to_the_next(house: House) -> None:
    at = await place(house)
    user_id = await at.known()
    house.clock.shift = timedelta(seconds=31)
    again = (await at.verified(await at.challenged())).json()
    assert (again["user_id"], again["is_new_user"]) == (user_id, False)
    other = msgspec.structs.replace(await place(house), mobile=at.mobile)
    assert await other.known() != user_id


async def test_without_a_grant_nobody_consents_or_enrols(house: House) -> None:
    at = await place(house)
    user_id = await at.known()
    neighbour = msgspec.structs.replace(at, kiosk=await house.device(at.tenant, "kiosk"))
    before = await at.events()
    for answered in (
        await neighbour.consented(user_id),
        await neighbour.enrolled(user_id),
        await at.consented(f"usr_{uuid4().hex}"),
        await at.enrolled(f"usr_{uuid4().hex}"),
    ):
        assert refusal(answered) == (403, "enrollment_not_granted")
    house.clock.shift = timedelta(seconds=601)
    assert refusal(await at.consented(user_id)) == (403, "enrollment_not_granted")
    assert refusal(await at.enrolled(user_id)) == (403, "enrollment_not_granted")
    assert await at.events() == before


async def test_without_consent_nobody_enrols(house: House) -> None:
    at = await place(house)
    user_id = await at.known(consents=False)
    answered = await at.enrolled(user_id)
    assert refusal(answered) == (403, "consent_required")
    assert answered.json()["consent_status"] == "none"
    assert house.vendor.adds == house.vendor.queries == 0
    assert refusal(await at.consented(user_id, version="0")) == (409, "consent_version_outdated")
    assert (await at.consented(user_id)).status_code == 201
    assert (await at.consented(user_id)).status_code == 200
    assert (await at.enrolled(user_id)).status_code == 201


async def test_a_tenant_that_wants_kyc_enrols_nobody_without_it(house: House) -> None:
    at = await place(house, kyc_required=True)
    assert refusal(await at.enrolled(await at.known())) == (403, "kyc_required")


async def test_a_hand_is_enrolled_once(house: House) -> None:
    at = await place(house)
    user_id = await at.known()
    assert (await at.enrolled(user_id)).status_code == 201
    assert refusal(await at.enrolled(user_id)) == (409, "palm_already_enrolled")
    other = await at.enrolled(user_id, PALM + b", the other", "right")
    assert (other.status_code, other.json()["hand"]) == (201, "right")


async def test_two_palms_raced_for_one_hand_leave_one(house: House) -> None:
    at = await place(house, duplicate_palm_check=False)
    user_id = await at.known()
    answers = await asyncio.gather(
        *(at.enrolled(user_id, PALM + bytes([number])) for number in range(8))
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    assert (await at.events()).count("enrollment.completed") == 1


async def test_a_palm_of_somebody_else_is_refused_and_nobody_is_named(house: House) -> None:
    at = await place(house)
    owner = await at.known()
    enrolled = (await at.enrolled(owner)).json()
    thief = msgspec.structs.replace(at, mobile=house.mobile())
    answered = await thief.enrolled(await thief.known())
    assert refusal(answered) == (409, "duplicate_palm")
    assert owner[4:] not in answered.text
    assert enrolled["palm_ref"][4:] not in answered.text
    assert (await at.events())[-1] == "enrollment.rejected"


async def test_a_poor_picture_is_refused_with_hints_and_the_hand_stays_free(house: House) -> None:
    at = await place(house)
    user_id = await at.known()

    async def poor(path: str) -> tuple[int, bytes]:
        if path == "/KZ/query":
            data = {"results": [], "thresholds": [0.7, 0.7, 0.7, 0.7]}
            return 200, json.dumps({"code": 0, "msg": "ok", "data": data}).encode()
        return 200, b'{"code": 40010, "msg": "low", "data": {"hints": ["blur", "<script>"]}}'

    house.vendor.script = poor
    answered = await at.enrolled(user_id)
    assert refusal(answered) == (422, "low_quality")
    assert answered.json()["hints"] == ["blur"]
    house.vendor.script = None
    assert (await at.enrolled(user_id)).status_code == 201


@pytest.mark.parametrize("path", ["/KZ/query", "/KZ/add"])
async def test_after_the_vendor_failed_the_same_key_succeeds(house: House, path: str) -> None:
    at = await place(house)
    user_id = await at.known()

    async def failing(asked: str) -> tuple[int, bytes]:
        if asked == path:
            return 200, b'{"code": 50000, "msg": "Milvus error"}'
        data = {"results": [], "thresholds": [0.7, 0.7, 0.7, 0.7]}
        return 200, json.dumps({"code": 0, "msg": "ok", "data": data}).encode()

    house.vendor.script = failing
    key = uuid4().hex
    failed = await at.enrolled(user_id, key=key)
    assert refusal(failed) == (503, "palm_vendor_error")
    assert failed.headers["retry-after"] == "1"
    house.vendor.script = None
    done = await at.enrolled(user_id, key=key)
    assert done.status_code == 201, done.text
    assert (await at.enrolled(user_id, key=key)).json() == done.json()
    other = await at.enrolled(user_id, PALM + b"!", key=key)
    assert refusal(other) == (422, "idempotency_key_reused")
    assert house.vendor.adds == 1


async def test_an_enrolled_palm_is_recognised_and_a_rejected_one_is_not(house: House) -> None:
    at = await place(house)
    till = await house.device(at.tenant)
    assert (await at.enrolled(await at.known())).status_code == 201
    house.vendor.enrolled[f"{'x' * 8}.{'0' * 32}"] = scan(b"stranger")["rgb"]
    seen = await till.http.post("/v1/device/transactions", json=transaction(PALM))
    unseen = await till.http.post("/v1/device/transactions", json=transaction(b"stranger"))
    assert (seen.json()["decision"], unseen.json()["decision"]) == ("allow", "not_recognized")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"hand": None, "scan": scan(PALM, "unknown")}, (400, "hand_invalid")),
        ({"hand": "left", "scan": scan(PALM, "right")}, (400, "hand_invalid")),
        ({"scan": scan(b"")}, (400, "scan_invalid")),
        ({"scan": {**scan(PALM), "format": "jpeg"}}, (415, "unsupported_scan_format")),
    ],
)
async def test_a_scan_that_is_none_is_refused(
    house: House, fields: dict[str, Any], told: tuple[int, str]
) -> None:
    at = await place(house)
    body = {"user_id": await at.known(), "hand": "left", "scan": scan(PALM), **fields}
    assert refusal(await at.post("enroll", body)) == told
    assert house.vendor.queries == 0


async def test_no_answer_and_no_event_tells_a_mobile_a_code_or_a_palm(house: House) -> None:
    at = await place(house)
    user_id = await at.known()
    code = house.code_sent_to(at.mobile)
    answers = [
        await at.enrolled(user_id),
        await at.tenant.api.get(
            f"/v1/users/{user_id}", params={"min_position": str(await house.end())}
        ),
        await at.tenant.api.get("/v1/audit"),
        await at.tenant.api.get("/v1/enrollments"),
    ]
    assert [answer.status_code for answer in answers] == [201, 200, 200, 200]
    for secret in (at.mobile, at.mobile[1:], f'"{code}"', scan(PALM)["rgb"]):
        assert not any(secret in answer.text for answer in answers)
    async with house.platform.projector_pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT convert_from(payload, 'UTF8') FROM events WHERE tenant_id = %s",
            (at.tenant.tenant_id,),
        )
        payloads = [str(row[0]) for row in await cursor.fetchall()]
    assert payloads
    assert not any(at.mobile[4:] in payload or PALM.decode() in payload for payload in payloads)

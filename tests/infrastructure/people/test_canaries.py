"""A mobile, a code and a secret that went through everything are found nowhere afterwards.

Every column of every table is read as the bytes that Postgres keeps (COPY in binary), every key
and value of Redis, and every log line; the scan proves itself on a planted value first.
"""

import base64
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from psycopg import sql
from redis.asyncio import Redis
from structlog.testing import capture_logs

from application.ports import OtpChallenge
from domain.errors import Unavailable
from domain.ids import ChallengeId, DeviceId, TenantId, UserId
from infrastructure.database import Connection, Pool
from infrastructure.keys.key_store import KeyStore
from infrastructure.keys.keyring import Keyring
from infrastructure.keys.tenant_keys import TenantKeys
from infrastructure.messages.sms_gateway import SmsGateway, SmsGatewaySender
from infrastructure.messages.smtp import SmtpSender, SmtpServer
from infrastructure.outbound.client import OutboundClient
from infrastructure.outbound.egress import EgressGuard, SystemResolver
from infrastructure.people.client_secrets import PostgresClientSecrets
from infrastructure.people.enrollment_grants import PostgresEnrollmentGrants
from infrastructure.people.otp_challenges import PostgresOtpChallenges
from infrastructure.people.personal_data import PostgresPersonalData
from infrastructure.rate_limits import RedisRateLimiter

TENANT, DEVICE, SARA = TenantId(uuid4()), DeviceId(uuid4()), UserId(uuid4())
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

MOBILE = "+966512345678"
CODE = "83927465"
SECRET = "canary-client-secret"
PEM = "-----BEGIN CANARY KEY-----"


def forms(canary: str) -> set[bytes]:
    """The canary as it may be written: as it is, without its plus, in hex, in base64."""
    plain = canary.encode()
    bare = plain.lstrip(b"+")
    return {bare, plain.hex().encode(), bare.hex().encode(), base64.b64encode(plain).rstrip(b"=")}


CANARIES = {form: canary for canary in (MOBILE, CODE, SECRET, PEM) for form in forms(canary)}


def found_in(content: bytes) -> set[str]:
    return {canary for form, canary in CANARIES.items() if form in content}


async def every_table(admin: Connection) -> dict[str, bytes]:
    """The bytes of all rows by table, tables of the system left out."""
    rows = await admin.execute(
        "SELECT schemaname, tablename FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    dumps: dict[str, bytes] = {}
    for schema, table in await rows.fetchall():
        copy_out = sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(
            sql.Identifier(schema, table)
        )
        async with admin.cursor() as cursor, cursor.copy(copy_out) as copy:
            dumps[table] = b"".join([bytes(chunk) async for chunk in copy])
    return dumps


async def all_of_redis(redis: Redis) -> bytes:
    keys = [key if isinstance(key, bytes) else key.encode() for key in await redis.keys("*")]
    values = [await redis.get(key) for key in keys]
    return b"\n".join(keys) + b"\n" + repr(values).encode()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url)
    await client.flushdb()
    yield client
    await client.flushdb()
    await client.aclose()


async def sign_up(pool: Pool, keys: TenantKeys, keyring: Keyring, redis_url: str) -> None:
    """All that happens to a mobile, a code and a secret, in the order of a real sign-up."""
    challenges = PostgresOtpChallenges(pool, keyring)
    limiter = RedisRateLimiter(redis_url, keyring)
    assert await limiter.hit("signup_mobile", f"{TENANT}/{MOBILE}", limit=3, per_s=900)
    await limiter.close()
    challenge = OtpChallenge(
        id=ChallengeId(uuid4()),
        tenant_id=TENANT,
        bound_to=DEVICE,
        destination=MOBILE,
        created_at=NOW,
        expires_at=NOW + timedelta(minutes=5),
    )
    code_digest = keyring.digest("otp", f"{challenge.id}/{CODE}")
    await challenges.open(challenge, code_digest)
    assert await challenges.latest(TENANT, DEVICE, MOBILE, NOW) == challenge
    attempt = await challenges.attempt(TENANT, DEVICE, challenge.id, code_digest, NOW)
    assert attempt.destination == MOBILE
    await challenges.conclude(TENANT, challenge.id, SARA)
    people = PostgresPersonalData(pool, keys, keyring)
    await people.store(TENANT, SARA, "mobile", MOBILE)
    assert await people.read(TENANT, SARA, "mobile") == MOBILE
    await PostgresEnrollmentGrants(pool).open(TENANT, DEVICE, SARA, NOW)
    await PostgresClientSecrets(pool).store(TENANT, uuid4(), 1, keyring.digest("secret", SECRET))
    assert await KeyStore(pool, keyring).obtain("ca", lambda: PEM.encode()) == PEM.encode()


async def fail_to_send() -> None:
    """Codes on their way to servers that are not there, which is when the most is logged."""
    async with AsyncExitStack() as stack:
        http = OutboundClient(EgressGuard([], development=True, resolver=SystemResolver()))
        stack.push_async_callback(http.close)
        smtp = SmtpSender(SmtpServer(host="127.0.0.1", port=1, sender="codes@link.example"))
        stack.push_async_callback(smtp.close)
        gateway = SmsGateway(url="http://127.0.0.1:1/", body='{"to": "{to}", "text": "{text}"}')
        for sender in (smtp, SmsGatewaySender(gateway, http)):
            with pytest.raises(Unavailable):
                await sender.send(MOBILE, CODE, "en")


async def test_no_table_and_no_redis_key_and_no_log_line_holds_a_canary(
    pool: Pool,
    tenant_keys: TenantKeys,
    keyring: Keyring,
    admin: Connection,
    redis: Redis,
    redis_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with capture_logs() as logs:
        await sign_up(pool, tenant_keys, keyring, redis_url)
        await fail_to_send()
    dumps = await every_table(admin)
    for table in ("personal_data", "otp_challenges", "client_secrets", "key_material"):
        assert len(dumps[table]) > 100, f"{table} holds what went through it"
    assert {table: found_in(content) for table, content in dumps.items() if found_in(content)} == {}
    kept_in_redis = await all_of_redis(redis)
    assert b"signup_mobile" in kept_in_redis
    assert found_in(kept_in_redis) == set()
    assert len(logs) == 2
    assert found_in(f"{logs}\n{caplog.text}".encode()) == set()


@pytest.mark.parametrize(
    "kept",
    [MOBILE.encode(), MOBILE.encode().hex().encode(), base64.b64encode(MOBILE.encode())],
)
async def test_the_scan_finds_a_canary_in_whatever_column_it_stands(
    pool: Pool,
    tenant_keys: TenantKeys,
    keyring: Keyring,
    admin: Connection,
    redis: Redis,
    redis_url: str,
    kept: bytes,
) -> None:
    await sign_up(pool, tenant_keys, keyring, redis_url)
    await admin.execute("UPDATE otp_challenges SET destination_digest = %s", (kept.decode(),))
    await admin.execute("UPDATE personal_data SET ciphertext = %s", (b"\0" + kept,))
    await redis.set("planted", kept)
    dumps = await every_table(admin)
    found = {table for table, content in dumps.items() if found_in(content)}
    assert found == {"otp_challenges", "personal_data"}
    assert found_in(await all_of_redis(redis)) == {MOBILE}

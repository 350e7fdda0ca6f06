"""A grant is for one device and one user, and ends."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from domain.ids import DeviceId, TenantId, UserId
from infrastructure.database import Pool
from infrastructure.people.enrollment_grants import PostgresEnrollmentGrants

TENANT, OTHER_TENANT = TenantId(uuid4()), TenantId(uuid4())
DEVICE, OTHER_DEVICE = DeviceId(uuid4()), DeviceId(uuid4())
SARA, OMAR = UserId(uuid4()), UserId(uuid4())
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
END = NOW + timedelta(minutes=10)


@pytest.fixture
def grants(pool: Pool) -> PostgresEnrollmentGrants:
    return PostgresEnrollmentGrants(pool)


async def test_a_grant_is_open_until_its_end(grants: PostgresEnrollmentGrants) -> None:
    await grants.open(TENANT, DEVICE, SARA, END)
    assert await grants.is_open(TENANT, DEVICE, SARA, NOW) is True
    assert await grants.is_open(TENANT, DEVICE, SARA, END - timedelta(microseconds=1)) is True
    assert await grants.is_open(TENANT, DEVICE, SARA, END) is False


async def test_a_grant_serves_nobody_else(grants: PostgresEnrollmentGrants) -> None:
    await grants.open(TENANT, DEVICE, SARA, END)
    assert await grants.is_open(TENANT, DEVICE, OMAR, NOW) is False
    assert await grants.is_open(TENANT, OTHER_DEVICE, SARA, NOW) is False
    assert await grants.is_open(OTHER_TENANT, DEVICE, SARA, NOW) is False


async def test_a_new_grant_extends_and_never_shortens(grants: PostgresEnrollmentGrants) -> None:
    later = END + timedelta(minutes=10)
    for end in (END, later, END):
        await grants.open(TENANT, DEVICE, SARA, end)
    assert await grants.is_open(TENANT, DEVICE, SARA, later - timedelta(seconds=1)) is True
    assert await grants.is_open(TENANT, DEVICE, SARA, later) is False

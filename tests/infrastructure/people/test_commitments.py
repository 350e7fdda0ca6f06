"""A commitment says nothing to who lacks the tenant's key, and the same to who has it."""

import hashlib
from base64 import urlsafe_b64encode
from pathlib import Path
from uuid import uuid4

import pytest

from domain.ids import TenantId
from infrastructure.database import Pool
from infrastructure.keys.key_file import KeyFile
from infrastructure.keys.key_rotation import rotate
from infrastructure.keys.tenant_keys import TenantKeys
from infrastructure.people import commitments as module
from infrastructure.people.commitments import TenantCommitments

TENANT, OTHER_TENANT = TenantId(uuid4()), TenantId(uuid4())
ONE, OTHER = uuid4(), uuid4()


async def test_it_is_the_same_over_processes_and_rotations(
    pool: Pool, key_file: KeyFile, database: str, tmp_path: Path
) -> None:
    first = TenantCommitments(pool, TenantKeys(key_file))
    made = await first.commit(TENANT, ONE, "context", b"{}")
    await rotate(database, key_file)
    second = TenantCommitments(pool, TenantKeys(KeyFile(tmp_path / "master.key")))
    assert await second.commit(TENANT, ONE, "context", b"{}") == made


async def test_equal_values_differ_by_tenant_subject_and_kind(
    pool: Pool, tenant_keys: TenantKeys
) -> None:
    commitments = TenantCommitments(pool, tenant_keys)
    made = {
        await commitments.commit(tenant_id, subject, kind, value)
        for tenant_id in (TENANT, OTHER_TENANT)
        for subject in (ONE, OTHER)
        for kind in ("context", "request")
        for value in (b"{}", b"")
    }
    assert len(made) == 16
    assert urlsafe_b64encode(hashlib.sha256(b"{}").digest()).rstrip(b"=").decode() not in made


async def test_the_salt_of_one_subject_opens_its_commitments_alone(
    pool: Pool, tenant_keys: TenantKeys
) -> None:
    """What an auditor is told to check one context, after docs/decisions/0020-commitments.md."""
    commitments = TenantCommitments(pool, tenant_keys)
    salt = await commitments.salt(TENANT, ONE)
    content = hashlib.sha256(salt + b"context\0" + b'{"a":1}').digest()
    opened = urlsafe_b64encode(content).rstrip(b"=").decode()
    assert opened == await commitments.commit(TENANT, ONE, "context", b'{"a":1}')
    assert salt != await commitments.salt(TENANT, OTHER)


async def test_only_so_many_tenants_are_kept_in_memory(
    pool: Pool, tenant_keys: TenantKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TENANTS_KEPT", 2)
    commitments = TenantCommitments(pool, tenant_keys)
    tenants = [TenantId(uuid4()) for _ in range(4)]
    made = [await commitments.commit(tenant_id, ONE, "context", b"") for tenant_id in tenants]
    again = [await commitments.commit(tenant_id, ONE, "context", b"") for tenant_id in tenants]
    assert again == made

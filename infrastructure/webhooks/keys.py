"""Keys whose certificates a tenant's own CA signs: P-256, sealed under the tenant's key."""

import hashlib
import os
from collections.abc import Collection
from typing import Final, LiteralString
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from domain.ids import TenantId, wire
from domain.spiffe import webhooks_path
from domain.webhook_identity import WebhookCsrMade
from infrastructure.database import Pool, tenant_scope
from infrastructure.keys.keyring import open_under, seal_under
from infrastructure.keys.tenant_keys import TenantKeys

_KEEP: Final[LiteralString] = """
    INSERT INTO webhook_keys (tenant_id, key_id, tenant_key_version, sealed)
    VALUES (%s, %s, %s, %s)"""
_READ: Final[LiteralString] = """
    SELECT tenant_key_version, sealed FROM webhook_keys WHERE tenant_id = %s AND key_id = %s"""
_FORGET: Final[LiteralString] = """
    DELETE FROM webhook_keys
    WHERE tenant_id = %s AND NOT key_id = ANY(%s) AND made_at < now() - interval '1 hour'"""


class PostgresWebhookKeys:
    """`WebhookKeys` over the table `webhook_keys`. Raises KeyringUnusable, psycopg.Error."""

    def __init__(self, pool: Pool, keys: TenantKeys, trust_domain: str) -> None:
        self._pool = pool
        self._keys = keys
        self._trust_domain = trust_domain

    async def make(self, tenant_id: TenantId) -> WebhookCsrMade:
        key_id = UUID(bytes=os.urandom(16), version=4)
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        async with tenant_scope(self._pool, tenant_id) as connection:
            version, under = await self._keys.current(connection, tenant_id)
            sealed = seal_under(under, pem, _belongs_to(tenant_id, key_id, version))
            await connection.execute(_KEEP, (tenant_id, key_id, version, sealed))
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return WebhookCsrMade(
            key_id=key_id,
            csr_pem=self._request(tenant_id, key),
            spki_sha256=hashlib.sha256(spki).hexdigest(),
        )

    async def private_key(self, tenant_id: TenantId, key_id: UUID) -> str:
        """PKCS#8 in PEM. Raises LookupError for one that is not there any more."""
        async with tenant_scope(self._pool, tenant_id) as connection:
            row = await (await connection.execute(_READ, (tenant_id, key_id))).fetchone()
            if row is None:
                raise LookupError(f"tenant {tenant_id} has no webhook key {key_id}")
            version, sealed = row
            under = await self._keys.version(connection, tenant_id, version)
        return open_under(under, sealed, _belongs_to(tenant_id, key_id, version)).decode()

    async def keep_only(self, tenant_id: TenantId, key_ids: Collection[UUID]) -> None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_FORGET, (tenant_id, list(key_ids)))

    def _request(self, tenant_id: TenantId, key: ec.EllipticCurvePrivateKey) -> str:
        subject = [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, wire("ten", tenant_id)),
            x509.NameAttribute(NameOID.COMMON_NAME, "Link Identity webhooks"),
        ]
        name = f"spiffe://{self._trust_domain}/{webhooks_path(tenant_id)}"
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name)])
        return (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name(subject))
            .add_extension(usages, critical=False)
            .add_extension(names, critical=False)
            .sign(key, hashes.SHA256())
            .public_bytes(Encoding.PEM)
            .decode()
        )


def _belongs_to(tenant_id: TenantId, key_id: UUID, version: int) -> str:
    return f"webhook_keys.sealed/{tenant_id}/{key_id}/{version}"

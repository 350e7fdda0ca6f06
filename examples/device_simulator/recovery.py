"""What a device can still do when the listener does not let it in: ask why, and come back."""

import base64
import ssl
import time
from pathlib import Path
from typing import Any, Final

import httpx
import jwt
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from examples.device_simulator.credentials import NEXT, Credentials, certificate_request, renewed
from examples.device_simulator.refusals import check

PATIENCE_S: Final = 15.0


class PublicListener:
    """The listener that wants no certificate, for one device. `ca` is the CA behind it."""

    def __init__(self, public_url: str, ca: Path, credentials: Credentials) -> None:
        self._credentials = credentials
        self._http = httpx.AsyncClient(
            base_url=public_url,
            verify=ssl.create_default_context(cafile=ca),
            timeout=PATIENCE_S,
            trust_env=False,
        )

    async def __aenter__(self) -> "PublicListener":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def status(self) -> dict[str, Any]:
        """Where the certificate stands, and what to do. Raises Refused."""
        body = {"proof": await self._proof("device-cert-status+jwt")}
        answered = await self._http.post("/v1/device/certificate/status", json=body)
        told: dict[str, Any] = check(answered, 200).json()
        return told

    async def recover(self) -> None:
        """A new key and certificate, by the key of the one that has run out. Raises Refused."""
        folder = self._credentials.folder
        csr = certificate_request(folder / NEXT)
        body = {"proof": await self._proof("device-cert-recovery+jwt", csr=csr)}
        answered = await self._http.post("/v1/device/certificate/recover", json=body)
        told = check(answered, 201).json()
        renewed(folder, told["certificate"] + told["chain"])

    async def _proof(self, kind: str, **claims: str) -> str:
        told = check(await self._http.post("/v1/device/nonce"), 201).json()
        leaf, *_ = x509.load_pem_x509_certificates(self._credentials.chain_file.read_bytes())
        said = {"aud": told["audience"], "nonce": told["nonce"], "iat": int(time.time()), **claims}
        return jwt.encode(
            said,
            self._credentials.key_file.read_text(),
            algorithm="ES256",
            headers={
                "typ": kind,
                "x5c": [base64.b64encode(leaf.public_bytes(Encoding.DER)).decode()],
            },
        )

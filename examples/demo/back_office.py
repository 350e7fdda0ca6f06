"""The integrator's backend of the demo: products, devices, and what the audit says happened."""

import ssl
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
import msgspec

from examples.demo.waiting import until

TIMEOUT_MS: Final = 800
"""How long a product may take at the till before the lane stays shut."""


class Product(msgspec.Struct, frozen=True):
    """A linked service; `audience` is what its assertions are made out to."""

    id: str
    audience: str


class TransactionSeen(msgspec.Struct, frozen=True):
    """What an integrator sees of a transaction; times in milliseconds."""

    state: str
    outcome: str | None
    void_needed: bool
    identify_ms: float | None
    authorize_ms: float | None
    total_ms: float | None


class _AuditLine(msgspec.Struct, frozen=True):
    position: int
    event: str


class _AuditPage(msgspec.Struct, frozen=True):
    items: list[_AuditLine]


class BackOffice:
    """Calls the public listener with an access token, as an integrator's backend does."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    @classmethod
    async def open(cls, public: str, ca: Path, client_id: str, client_secret: str) -> Self:
        """Trade the client's secret for a token (RFC 6749 §4.4)."""
        http = httpx.AsyncClient(
            base_url=public,
            verify=ssl.create_default_context(cafile=ca),
            timeout=15,
            trust_env=False,
        )
        answer = await http.post(
            "/oauth2/token",
            data={"grant_type": "client_credentials"},
            auth=(client_id, client_secret),
        )
        answer.raise_for_status()
        http.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
        return cls(http)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def register_product(self, key: str, url: str, action: str) -> Product:
        answer = await self._http.post(
            "/v1/linked-services",
            json={
                "product_key": key,
                "base_url": url,
                "timeout_ms": TIMEOUT_MS,
                "fail_mode": "closed",
                "allowed_actions": [action],
                "void_path": "/void",
            },
        )
        answer.raise_for_status()
        return msgspec.json.decode(answer.content, type=Product)

    async def register_device(
        self, kind: str, name: str, bound_to: tuple[str, str] | None = None
    ) -> str:
        """Expect a device, bound to a product and an action or to none; its pairing code."""
        body: dict[str, Any] = {"type": kind, "name": name}
        if bound_to is not None:
            body |= {"bound_product": bound_to[0], "bound_action": bound_to[1]}
        answer = await self._http.post("/v1/devices", json=body)
        answer.raise_for_status()
        return str(answer.json()["pairing"]["code"])

    async def revoke_device(self, device_id: str, reason: str) -> None:
        answer = await self._http.delete(f"/v1/devices/{device_id}", params={"reason": reason})
        answer.raise_for_status()

    async def transaction(self, transaction_id: str) -> TransactionSeen:
        """The transaction once its answer has been relayed and the read model knows it."""

        async def relayed() -> TransactionSeen | None:
            answer = await self._http.get(f"/v1/transactions/{transaction_id}")
            if answer.status_code == 404:
                return None
            answer.raise_for_status()
            seen = msgspec.json.decode(answer.content, type=TransactionSeen)
            return seen if seen.state == "relayed" else None

        return await until(f"{transaction_id} is relayed", relayed)

    async def events(self, last: str, *subjects: str) -> tuple[str, ...]:
        """The names of what happened to these subjects, in order, once `last` has happened."""

        async def complete() -> tuple[str, ...] | None:
            lines: list[_AuditLine] = []
            for subject in subjects:
                answer = await self._http.get(
                    "/v1/audit", params={"subject": subject, "limit": 200}
                )
                answer.raise_for_status()
                lines += msgspec.json.decode(answer.content, type=_AuditPage).items
            names = tuple(line.event for line in sorted(lines, key=lambda line: line.position))
            return names if last in names else None

        return await until(f"{last} in the audit of {', '.join(subjects)}", complete)

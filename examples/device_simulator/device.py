"""A paired device and its calls: sign a person up, enrol a palm, ask for a decision."""

import asyncio
import base64
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self
from uuid import uuid4

import httpx
import msgspec

from examples.device_simulator.connection import OpenConnection
from examples.device_simulator.credentials import (
    NEXT,
    Credentials,
    certificate_request,
    renewed,
)
from examples.device_simulator.heartbeat import Operation
from examples.device_simulator.refusals import ConnectionRefused, check, tls_alert
from examples.synthetic_palms import Capture

SCAN_FORMAT: Final = "biowave.rgb_ir.v1"
PATIENCE_S: Final = 15.0
"""Longer than any deadline of the platform: it is the platform that gives up, not the device."""
TRIES: Final = 4
PAUSE_S: Final = 0.25

Hand = Literal["left", "right", "unknown"]


class CodeReader(Protocol):
    """Where the person reads the one-time code: their phone, or in development the inbox."""

    async def code_for(self, mobile: str) -> str: ...


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who proved a mobile and agreed to the enrolment of a palm at this device."""

    user_id: str
    mobile: str
    is_new: bool


class _Decision(msgspec.Struct, frozen=True, kw_only=True):
    transaction_id: str
    decision: Literal["allow", "deny", "not_recognized"]
    reason: str | None
    display_message: str
    product_reference: str | None
    ttl_seconds: int
    stand_in: bool


class TransactionAnswer(_Decision, frozen=True, kw_only=True):
    """What the device was told (004 §10.3), and how it came by it.

    `body` is the answer byte for byte; `milliseconds` is from the first try to the answer.
    """

    idempotency_key: str
    replayed: bool
    tries: int
    milliseconds: float
    body: bytes


class SimulatedDevice:
    """Calls the platform as one paired device, over keep-alive connections.

    Use as an async context manager, or `await device.aclose()` in the end. `pause` waits between
    two tries of a call.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        connections: int | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.credentials = credentials
        self._pause = pause
        self._limits = httpx.Limits(
            max_connections=connections, max_keepalive_connections=connections
        )
        self._http = self._client()

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.credentials.device_api,
            verify=self.credentials.tls(),
            limits=self._limits,
            timeout=PATIENCE_S,
            trust_env=False,
        )

    @classmethod
    async def pair(
        cls,
        public_url: str,
        code: str,
        folder: Path,
        ca: Path,
        info: Mapping[str, str] | None = None,
    ) -> Self:
        """Turn a pairing code into a device: own key, CSR, certificate (003 §3.9).

        `ca` is the CA of the public listener. When the answer is lost, pairing again with the
        same folder and code gets the same certificate. Raises Refused and httpx.TransportError.
        """
        request = certificate_request(folder)
        said = {"model": "device_simulator", "app_version": "1", **(info or {})}
        async with httpx.AsyncClient(
            base_url=public_url,
            verify=ssl.create_default_context(cafile=ca),
            timeout=PATIENCE_S,
            trust_env=False,
        ) as public:
            response = await public.post(
                "/v1/device/pair", json={"code": code, "csr": request, "device_info": said}
            )
        paired = check(response, 201).json()
        return cls(
            Credentials.store(
                folder,
                device_id=paired["device_id"],
                tenant_id=paired["tenant_id"],
                device_api=paired["device_api"],
                chain_pem=paired["certificate"] + paired["chain"],
                ca_pem=paired["ca_bundle"],
            )
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The device that was paired into `folder`. Raises FileNotFoundError."""
        return cls(Credentials.load(folder))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @property
    def id(self) -> str:
        return self.credentials.device_id

    async def sign_up(self, mobile: str, codes: CodeReader) -> Person:
        """Prove a mobile with a one-time code, and agree to the enrolment of a palm.

        Raises Refused, and what `codes` raises when no code arrived.
        """
        challenge = await self._send("/v1/device/signup", {"mobile": mobile}, 202)
        proof = {
            "challenge_id": challenge.json()["challenge_id"],
            "code": await codes.code_for(mobile),
        }
        proved = (await self._send("/v1/device/signup/verify", proof, 200)).json()
        consent = {
            "user_id": proved["user_id"],
            "consent_type": "palm_enrollment",
            "version": proved["consent_version_required"],
        }
        await self._send("/v1/device/consent", consent, 200, 201)
        return Person(user_id=proved["user_id"], mobile=mobile, is_new=proved["is_new_user"])

    async def enroll(
        self,
        user_id: str,
        capture: Capture,
        hand: Literal["left", "right"],
        key: str | None = None,
    ) -> str:
        """Give a palm to the person who signed up here, and return its `plm_…`. Raises Refused."""
        body = {"user_id": user_id, "scan": scan(capture, hand), "hand": hand}
        response = await self._send(
            "/v1/device/enroll", body, 201, headers={"idempotency-key": key or new_key()}
        )
        return str(response.json()["palm_ref"])

    async def transact(
        self,
        capture: Capture,
        context: Mapping[str, Any],
        key: str | None = None,
        *,
        hand: Hand = "unknown",
        tries: int = TRIES,
    ) -> TransactionAnswer:
        """Ask for a decision, as often as it takes to hear one, under one key.

        Raises Refused, ConnectionRefused, and httpx.TransportError when every try was lost.
        """
        key = key or new_key()
        return await self.send(transaction_body(capture, context, key, hand), key, tries=tries)

    async def send(self, body: bytes, key: str, *, tries: int = TRIES) -> TransactionAnswer:
        """As `transact`, with a body that `transaction_body` made beforehand."""
        started = time.perf_counter()
        made = 0

        async def once() -> httpx.Response:
            nonlocal made
            made += 1
            return await self._post("/v1/device/transactions", body, {})

        response = check(await self._until_heard(once, tries), 200)
        decision = msgspec.json.decode(response.content, type=_Decision)
        return TransactionAnswer(
            **msgspec.structs.asdict(decision),
            idempotency_key=key,
            replayed="idempotent-replayed" in response.headers,
            tries=made,
            milliseconds=(time.perf_counter() - started) * 1000,
            body=response.content,
        )

    async def renew(self) -> None:
        """Make a new key and get a certificate for it; from then on, speak with that.

        Raises Refused (`renewal_too_early`), and httpx.TransportError when no answer came: then
        the same request gets the same certificate, also after a restart.
        """
        folder = self.credentials.folder
        request = certificate_request(folder / NEXT)
        response = await self._send("/v1/device/certificate/renew", {"csr": request}, 201)
        told = response.json()
        renewed(folder, told["certificate"] + told["chain"])
        before, self._http = self._http, self._client()
        await before.aclose()

    def operation(self, **reported: Any) -> Operation:
        """The device switched on: it beats, and does what it is told. `reported` goes with every
        beat: `fw_version`, `battery` and the like (reference broker.md §3.3)."""

        async def send(body: bytes) -> bytes:
            return check(await self._post("/v1/device/heartbeat", body, {}), 200).content

        return Operation(send, self.renew, {"app_version": "1", **reported})

    async def connect(self) -> OpenConnection:
        """One connection more, held open. Raises ConnectionRefused."""
        return await OpenConnection.open(self.credentials)

    async def _send(
        self, path: str, body: Mapping[str, Any], *wanted: int, headers: Mapping[str, str] = {}
    ) -> httpx.Response:
        return check(await self._post(path, msgspec.json.encode(body), headers), *wanted)

    async def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        try:
            return await self._http.post(
                path, content=body, headers={"content-type": "application/json", **headers}
            )
        except (httpx.TransportError, ssl.SSLError) as error:
            # httpx lets through what OpenSSL says after the handshake, as in TLS 1.3 it does.
            alert = tls_alert(error)
            if alert is not None:
                raise ConnectionRefused(alert) from error
            if isinstance(error, httpx.TransportError):
                raise
            raise httpx.ReadError(str(error)) from error

    async def _until_heard(
        self, once: Callable[[], Awaitable[httpx.Response]], tries: int
    ) -> httpx.Response:
        """Try again after a lost answer, and when the platform says that it is worth it."""
        for left in range(tries - 1, -1, -1):
            try:
                response = await once()
            except httpx.TransportError:
                if left == 0:
                    raise
                await self._pause(PAUSE_S)
                continue
            after = response.headers.get("retry-after")
            if left == 0 or after is None:
                return response
            await self._pause(float(after))
        raise ValueError("tries must be at least 1")


def scan(capture: Capture, hand: Hand = "unknown") -> dict[str, str]:
    """A capture as it travels: two PNG files in base64 (reference broker.md §3.0)."""
    return {
        "format": SCAN_FORMAT,
        "rgb": base64.b64encode(capture.rgb).decode(),
        "ir": base64.b64encode(capture.ir).decode(),
        "hand": hand,
    }


def transaction_body(
    capture: Capture, context: Mapping[str, Any], key: str | None, hand: Hand = "unknown"
) -> bytes:
    """The body of `POST /v1/device/transactions`; without a key, it is left to the header."""
    named = {} if key is None else {"idempotency_key": key}
    return msgspec.json.encode({**named, "scan": scan(capture, hand), "context": context})


def new_key() -> str:
    """A key for one intention of one person; a retry of it uses the same."""
    return uuid4().hex

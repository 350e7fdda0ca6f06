"""The same transaction by hand: FastAPI, httpx, SQLAlchemy with asyncpg, PyJWT, one commit.

    BASELINE_*=... python -m benchmarks.baseline.service

It identifies the palm, asks the product with a signed assertion, stores the transaction and
answers the device, over mTLS by uvicorn's own options. Where a choice could be called unfair to
it, it was made in its favour: devices are kept in memory, the signing key is parsed once, nothing
is written before the product is asked, nothing after the answer, no event log, no read models,
no breaker, no check of the answer's strictness. uvicorn does not tell an application which
certificate the peer has shown, so the device names itself in a header, as such services do.
"""

import base64
import hashlib
import json
import os
import socket
import ssl
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import httpx
import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from pydantic import BaseModel, Field
from sqlalchemy import JSON, DateTime, String, Text, UniqueConstraint, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ISSUER = "https://id.baseline.example"
DATABASE_URL = os.environ["BASELINE_DATABASE_URL"]
PALM_URL = os.environ["BASELINE_PALM_URL"]
PRODUCT_URL = os.environ["BASELINE_PRODUCT_URL"]
SIGNING_KEY = ec.generate_private_key(ec.SECP256R1())

engine = create_async_engine(DATABASE_URL, pool_size=16, max_overflow=16)
Session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """All tables."""


class Transaction(Base):
    """One decided transaction."""

    __tablename__ = "transactions"
    __table_args__ = (UniqueConstraint("device_id", "idempotency_key"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    tenant_id: Mapped[str] = mapped_column(String(64), index=True)
    device_id: Mapped[str] = mapped_column(String(64))
    idempotency_key: Mapped[str] = mapped_column(String(64))
    fingerprint: Mapped[str] = mapped_column(String(64))
    user_id: Mapped[str] = mapped_column(String(64))
    product: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    decision: Mapped[Literal["allow", "deny"]] = mapped_column(String(16))
    display_message: Mapped[str] = mapped_column(Text)
    product_reference: Mapped[str | None] = mapped_column(String(128))
    scores: Mapped[list[float]] = mapped_column(JSON)
    context: Mapped[dict[str, Any]] = mapped_column(JSON)
    decided_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Scan(BaseModel):
    """Two images in base64."""

    format: Literal["biowave.rgb_ir.v1"]
    rgb: Annotated[str, Field(max_length=1_400_000)]
    ir: Annotated[str, Field(max_length=1_400_000)]
    hand: Literal["left", "right", "unknown"] = "unknown"


class TransactionIn(BaseModel):
    """What a device asks."""

    idempotency_key: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{16,64}$")]
    scan: Scan
    context: dict[str, Any]


class TransactionOut(BaseModel):
    """What it is told."""

    transaction_id: str
    decision: Literal["allow", "deny", "not_recognized"]
    reason: str | None = None
    display_message: str
    product_reference: str | None = None


class Candidate(BaseModel):
    """One person that the vendor found."""

    user_id: str
    scores: list[float]


class PalmData(BaseModel):
    """Whom the vendor found, and the scores that it wants."""

    results: list[Candidate]
    thresholds: list[float]


class PalmAnswer(BaseModel):
    """The vendor's envelope."""

    code: int
    msg: str = ""
    data: PalmData | None = None


class Authorization(BaseModel):
    """What a product decides."""

    decision: Literal["allow", "deny"]
    display_message: str = ""
    reference_id: str | None = None
    ttl_seconds: int = 0


class Device(BaseModel):
    """A device and what it is bound to."""

    tenant_id: str
    tenant_key: str
    product: str
    action: str


DEVICES = {
    f"dev_{number}": Device(
        tenant_id="ten_1", tenant_key="baseline", product="wallet", action="pay"
    )
    for number in range(20)
}


@asynccontextmanager
async def lifespan(service: FastAPI) -> AsyncGenerator[None]:
    """Make the tables, keep one HTTP client."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    limits = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
    async with httpx.AsyncClient(limits=limits) as client:
        service.state.http = client
        yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


async def session() -> AsyncIterator[AsyncSession]:
    """A session for one request."""
    async with Session() as opened:
        yield opened


@app.post("/v1/device/transactions")
async def transact(
    body: TransactionIn,
    request: Request,
    x_device_id: Annotated[str, Header()],
    database: Annotated[AsyncSession, Depends(session)],
) -> TransactionOut:
    """Identify the palm, ask the product, keep the decision, answer."""
    device = DEVICES.get(x_device_id)
    if device is None:
        raise HTTPException(403, "device_unknown")
    http: httpx.AsyncClient = request.app.state.http
    user = await identify(http, device, body.scan)
    if user is None:
        return TransactionOut(
            transaction_id="", decision="not_recognized", display_message="Not recognised"
        )
    context = json.dumps(body.context, sort_keys=True, separators=(",", ":")).encode()
    transaction_id = uuid.uuid4()
    said = await authorize(http, device, x_device_id, user, body, context, transaction_id)
    decided = Transaction(
        id=transaction_id,
        tenant_id=device.tenant_id,
        device_id=x_device_id,
        idempotency_key=body.idempotency_key,
        fingerprint=hashlib.sha256(context + body.scan.rgb.encode()).hexdigest(),
        user_id=user.user_id,
        product=device.product,
        action=device.action,
        decision=said.decision,
        display_message=said.display_message,
        product_reference=said.reference_id,
        scores=user.scores,
        context=body.context,
        decided_at=datetime.now(UTC),
    )
    database.add(decided)
    try:
        await database.commit()
    except IntegrityError:
        await database.rollback()
        decided = await earlier(database, x_device_id, body.idempotency_key)
    return TransactionOut(
        transaction_id=f"txn_{decided.id.hex}",
        decision=decided.decision,
        display_message=decided.display_message,
        product_reference=decided.product_reference,
    )


async def identify(http: httpx.AsyncClient, device: Device, scan: Scan) -> Candidate | None:
    """The vendor's best candidate, if it passes the thresholds."""
    query = {"group": device.tenant_key, "rgb": scan.rgb, "ir": scan.ir, "top_k": 5}
    try:
        answered = await http.post(f"{PALM_URL}/KZ/query", json=query, timeout=2.5)
        answered.raise_for_status()
    except httpx.HTTPError as error:
        raise HTTPException(503, "palm_vendor_error") from error
    palm = PalmAnswer.model_validate(answered.json())
    if palm.code != 0 or palm.data is None:
        raise HTTPException(503, "palm_vendor_error")
    for candidate in palm.data.results:
        pairs = zip(candidate.scores, palm.data.thresholds, strict=True)
        if all(score >= least for score, least in pairs):
            return candidate
    return None


async def authorize(
    http: httpx.AsyncClient,
    device: Device,
    device_id: str,
    user: Candidate,
    body: TransactionIn,
    context: bytes,
    transaction_id: uuid.UUID,
) -> Authorization:
    """The product's decision; a deny when it says nothing in time."""
    now = int(time.time())
    hashed = base64.urlsafe_b64encode(hashlib.sha256(context).digest()).rstrip(b"=").decode()
    claims = {
        "iss": ISSUER,
        "aud": device.product,
        "sub": user.user_id,
        "tenant_id": device.tenant_id,
        "device_id": device_id,
        "txn": f"txn_{transaction_id.hex}",
        "action": device.action,
        "context_hash": hashed,
        "idempotency_key": body.idempotency_key,
        "iat": now,
        "nbf": now,
        "exp": now + 60,
        "jti": uuid.uuid4().hex,
    }
    assertion = jwt.encode(claims, SIGNING_KEY, algorithm="ES256", headers={"kid": "k1"})
    asked = {
        "user_id": user.user_id,
        "tenant_id": device.tenant_id,
        "device_id": device_id,
        "transaction_id": f"txn_{transaction_id.hex}",
        "action": device.action,
        "context": body.context,
        "idempotency_key": body.idempotency_key,
    }
    try:
        answered = await http.post(
            f"{PRODUCT_URL}/authorize",
            json=asked,
            headers={"authorization": f"Bearer {assertion}"},
            timeout=0.8,
        )
        answered.raise_for_status()
    except httpx.HTTPError:
        return Authorization(decision="deny", display_message="Try again")
    return Authorization.model_validate(answered.json())


async def earlier(database: AsyncSession, device_id: str, key: str) -> Transaction:
    """What was decided under this key before."""
    found = await database.execute(
        select(Transaction).where(
            Transaction.device_id == device_id, Transaction.idempotency_key == key
        )
    )
    return found.scalar_one()


class Server(uvicorn.Server):
    """Says when it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(json.dumps({"port": self.config.port}), flush=True)


def main() -> None:
    """Serve over mTLS until terminated."""
    port = int(os.environ["BASELINE_PORT"])
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        ssl_certfile=os.environ["BASELINE_CERTIFICATE"],
        ssl_keyfile=os.environ["BASELINE_KEY"],
        ssl_ca_certs=os.environ["BASELINE_DEVICE_CA"],
        ssl_cert_reqs=ssl.CERT_REQUIRED,
    )
    Server(config).run()


if __name__ == "__main__":
    main()

"""A whole platform in this process, between a vendor and a product that do as they are told."""

import asyncio
import base64
import json
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast
from uuid import uuid4

import httpx
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from application.console.password_policy import console_policy
from application.permissions import SCOPES
from application.ports.console import ConsolePerson
from application.principals import operator
from domain import operator as o
from domain.ids import PLATFORM, TenantId, wire
from domain.operator import Role
from examples.id_issuer.issuer import Issuer
from examples.id_issuer.server import IdIssuerServer
from infrastructure.edge.listeners import Listener, serve
from infrastructure.edge.protocol import ASGIApp
from infrastructure.messages.inbox import Inbox
from infrastructure.rate_limits import InProcessRateLimiter
from interfaces.composition import Platform
from interfaces.http.apps import Apps, build
from interfaces.process import listen_devices, listen_public, write_ca
from interfaces.settings import Settings
from tests.attesting import MAKER, pem
from tests.authenticator import Page
from tests.house.contract import Contract

PRODUCT_KEY = "wallet"
TIMEOUT_MS, DEADLINE_MS = 4000, 10_000
"""A product and a till that are patient with a machine that stands still for a moment."""
PASSWORD = "a long and winding password"
INSTALLATION = "an-installation-of-an-app-01"
THRESHOLDS = [0.7, 0.7, 0.7, 0.7]


async def reply(
    send: Any, status: int, body: bytes, content_type: str = "application/json"
) -> None:
    headers = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def read_body(receive: Any) -> bytes:
    body = b""
    while True:
        message: dict[str, Any] = await receive()
        body += cast("bytes", message.get("body", b""))
        if not message.get("more_body"):
            return body


class Vendor:
    """Speaks `/KZ/*` and knows a palm by its exact image; `script` answers in its place.

    `asked_with` are the headers of the last query."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.asked_with: dict[str, str] = {}
        self.enrolled: dict[str, str] = {}
        self.script: Callable[[str], Awaitable[tuple[int, bytes]]] | None = None
        self.queries = 0
        self.adds = 0
        self.deletes = True
        self.scores = [0.95, 0.95, 0.95, 0.95]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path, body = str(scope["path"]), await read_body(receive)
        if path == "/KZ/query":
            self.queries += 1
            self.asked_with = {k.decode(): v.decode() for k, v in scope["headers"]}
        if self.script is not None:
            status, scripted = await self.script(path)
            await reply(send, status, scripted)
            return
        answer: dict[str, Any]
        if path == "/KZ/health":
            await reply(send, 200, b'{"code": 0, "msg": "ok"}')
            return
        asked = json.loads(body)
        if path == "/KZ/add":
            self.adds += 1
            self.enrolled[asked["user_id"]] = asked["rgb"]
            answer = {"code": 0, "msg": "ok", "data": {"palm_id": uuid4().hex}}
        elif path == "/KZ/delete":
            if not self.deletes:
                await reply(send, 404, b"{}")
                return
            held = self.enrolled.pop(asked["user_id"], None)
            answer = {"code": 0, "msg": "ok", "data": {"deleted": held is not None}}
        else:
            results = [
                {"user_id": user_id, "hand": "left", "scores": self.scores}
                for user_id, rgb in self.enrolled.items()
                if rgb == asked["rgb"]
            ]
            data = {"results": results, "thresholds": THRESHOLDS}
            answer = {"code": 0, "msg": "ok", "data": data}
        await reply(send, 200, json.dumps(answer).encode())


class Product:
    """Answers authorize calls; what it says to a key it says again, and it counts effects."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.health = 200
        self.health_checks = 0
        self.headers: list[dict[str, str]] = []
        self.charges: dict[str, int] = {}
        self.says: dict[str, Any] = {
            "decision": "allow",
            "display_message": "Approved",
            "reference_id": "ref_1",
            "ttl_seconds": 30,
        }
        self.script: Callable[[dict[str, Any]], Awaitable[tuple[int, bytes]]] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/health":
            self.health_checks += 1
            await reply(send, self.health, b'{"status": "as told"}')
            return
        asked = cast("dict[str, Any]", json.loads(await read_body(receive)))
        self.calls.append(asked)
        self.headers.append({k.decode(): v.decode() for k, v in scope["headers"]})
        if self.script is not None:
            status, answer = await self.script(asked)
            await reply(send, status, answer)
            return
        key = asked["idempotency_key"]
        if self.says["decision"] == "allow":
            self.charges.setdefault(key, 0)
            self.charges[key] = 1
        await reply(send, 200, json.dumps(self.says).encode())


class Limiter:
    """Real budgets in this process, given back before every test.

    A test that needs more of a budget than one address has names it in `unlimited`.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.real = InProcessRateLimiter()
        self.unlimited: set[str] = set()

    async def hit(self, budget: str, key: str, *, limit: int, per_s: int, cost: int = 1) -> bool:
        if budget in self.unlimited:
            return True
        return await self.real.hit(budget, key, limit=limit, per_s=per_s, cost=cost)

    async def left(self, budget: str, key: str, *, limit: int, per_s: int) -> int:
        return await self.real.left(budget, key, limit=limit, per_s=per_s)

    async def room(self, budget: str, key: str, *, limit: int, per_s: int) -> bool:
        return await self.real.room(budget, key, limit=limit, per_s=per_s)


class ShiftedClock:
    """The real time, moved by `shift`; the monotonic clock stays as it is."""

    def __init__(self) -> None:
        self.shift = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift

    def monotonic(self) -> float:
        return time.monotonic()


class Tenancy(msgspec.Struct, frozen=True):
    """One tenant with a client of all scopes."""

    tenant_id: TenantId
    api: httpx.AsyncClient
    service_id: str


class PairedDevice(msgspec.Struct, frozen=True):
    """A device with its certificate and a keep-alive client."""

    id: str
    tenant: Tenancy
    http: httpx.AsyncClient
    trust: ssl.SSLContext
    key_pem: bytes
    base_url: str


class House:
    """One platform process and the clients that its visitors use."""

    def __init__(self, platform: Platform, apps: Apps, stack: AsyncExitStack) -> None:
        self.platform = platform
        self.apps = apps
        self.contract = Contract(apps.document)
        self._stack = stack
        self._mobiles = 0
        self.public: Listener
        self.edge: Listener
        self.id_issuer: Issuer
        self.vendor: Vendor
        self.product: Product
        self.product_url: str
        self.limiter: Limiter
        self.clock: ShiftedClock

    def reset(self) -> None:
        """Forget what the last test told the vendor and the product, and what it used up."""
        self.limiter.reset()
        self.clock.shift = timedelta(0)
        self.vendor.reset()
        self.product.reset()

    @property
    def public_url(self) -> str:
        return f"https://localhost:{self.public.port}"

    @property
    def device_url(self) -> str:
        return f"https://localhost:{self.edge.port}"

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.platform.authority.ca_bundle_pem())

    async def client(self, url: str, **options: Any) -> httpx.AsyncClient:
        """A client for as long as the house stands; every answer is held against the document."""
        options.setdefault("verify", self.trust())
        if url in (self.public_url, self.device_url):
            options.setdefault("event_hooks", {"response": [self.contract.hear]})
        made = httpx.AsyncClient(base_url=url, timeout=60, trust_env=False, **options)
        return await self._stack.enter_async_context(made)

    async def tenant(
        self, name: str = "Acme", *, sandbox: bool = False, **settings: Any
    ) -> Tenancy:
        """A tenant whose product `wallet` is our scripted one."""
        tenant_id = TenantId(self.platform.ids.uuid())
        caller = operator(tenant_id, uuid4())
        await self.platform.tenants.create(caller, name, sandbox=sandbox)
        if settings:
            await self.platform.tenants.change_settings(caller, settings)
        api = await self.client(self.public_url)
        api.headers["authorization"] = f"Bearer {await self.token(tenant_id)}"
        made = await api.post(
            "/v1/linked-services",
            json={
                "product_key": PRODUCT_KEY,
                "base_url": self.product_url,
                "timeout_ms": TIMEOUT_MS,
            },
        )
        assert made.status_code == 201, made.text
        return Tenancy(tenant_id, api, made.json()["id"])

    async def token(self, tenant_id: TenantId, *scopes: str) -> str:
        registered = await self.platform.services.clients.register(
            operator(tenant_id, uuid4()), "backend", frozenset(scopes or SCOPES)
        )
        public = await self.client(self.public_url)
        got = await public.post(
            "/oauth2/token",
            data={"grant_type": "client_credentials"},
            auth=(wire("cli", registered.client_id), registered.secret),
        )
        assert got.status_code == 200, got.text
        return str(got.json()["access_token"])

    async def device(
        self,
        tenant: Tenancy,
        kind: Literal["pos", "gate", "kiosk", "personal_scanner"] = "pos",
        **fields: Any,
    ) -> PairedDevice:
        """Register, pair with a fresh key, connect."""
        bound = {"bound_product": PRODUCT_KEY, "bound_action": "pay"}
        made = await tenant.api.post(
            "/v1/devices",
            json={
                "type": kind,
                "name": f"A {kind}",
                **(bound if kind != "personal_scanner" else {}),
                **fields,
            },
        )
        assert made.status_code == 201, made.text
        key, csr = key_and_csr()
        public = await self.client(self.public_url)
        paired = await public.post(
            "/v1/device/pair", json={"code": made.json()["pairing"]["code"], "csr": csr}
        )
        assert paired.status_code == 201, paired.text
        chain = paired.json()["certificate"] + paired.json()["chain"]
        trust = self.with_certificate(chain, key)
        http = await self.client(self.device_url, verify=trust)
        return PairedDevice(made.json()["id"], tenant, http, trust, key, self.device_url)

    def with_certificate(self, chain: str, key: bytes) -> ssl.SSLContext:
        context = self.trust()
        folder = Path(self.platform.settings.data_dir) / f"cert-{uuid4().hex}"
        folder.mkdir()
        (folder / "chain.pem").write_text(chain)
        (folder / "key.pem").write_bytes(key)
        context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
        return context

    async def person(self, device: PairedDevice, mobile: str, palm: bytes) -> str:
        """Sign up, consent, enrol the left hand; answers the user's id."""
        user_id = await self.signed_up(device, mobile)
        consent = {"user_id": user_id, "consent_type": "palm_enrollment", "version": "1"}
        granted = await device.http.post("/v1/device/consent", json=consent)
        assert granted.status_code == 201, granted.text
        enrolled = await device.http.post(
            "/v1/device/enroll", json={"user_id": user_id, "scan": scan(palm), "hand": "left"}
        )
        assert enrolled.status_code == 201, enrolled.text
        return user_id

    async def signed_up(self, device: PairedDevice, mobile: str) -> str:
        challenge = await device.http.post("/v1/device/signup", json={"mobile": mobile})
        assert challenge.status_code == 202, challenge.text
        verified = await device.http.post(
            "/v1/device/signup/verify",
            json={
                "challenge_id": challenge.json()["challenge_id"],
                "code": self.code_sent_to(mobile),
            },
        )
        assert verified.status_code == 200, verified.text
        return str(verified.json()["user_id"])

    async def signed_in(self, tenant: Tenancy, mobile: str | None = None) -> httpx.AsyncClient:
        """A person's own client, by a code."""
        client = await self.client(self.public_url)
        told = await self.sign_in(tenant, client, mobile or self.mobile())
        client.headers["authorization"] = f"Bearer {told['access_token']}"
        return client

    async def sign_in(
        self, tenant: Tenancy, client: httpx.AsyncClient, destination: str
    ) -> dict[str, Any]:
        """Sign in with a code, by mobile or e-mail; what was answered."""
        who = {
            "tenant_id": wire("ten", tenant.tenant_id),
            "installation": INSTALLATION,
            "channel": "email" if "@" in destination else "sms",
        }
        asked = await client.post("/v1/auth/codes", json={**who, "destination": destination})
        assert asked.status_code == 202, asked.text
        proof = {
            "challenge_id": asked.json()["challenge_id"],
            "code": self.code_sent_to(destination),
        }
        told = await client.post("/v1/auth/codes/verify", json={**who, **proof})
        assert told.status_code == 200, told.text
        return dict(told.json())

    async def operator(
        self, role: Role = "platform_admin", tenant_id: TenantId = PLATFORM
    ) -> httpx.AsyncClient:
        """A console person's own client, who has all that is asked of them."""
        console = self.platform.services.console
        cli = operator(tenant_id, uuid4())
        person = ConsolePerson(email=f"{uuid4().hex}@example.com", name="Noura")
        invited = await console.operators.invite(cli, person, role, None)
        assert invited.invitation is not None
        hashed = await self.platform.passwords.hashed(PASSWORD, console_policy(None))
        await console.operators.accept(cli, invited.invitation, hashed)
        state = await console.operators.tell(cli, tenant_id, invited.operator.id, o.enroll_totp)
        opened = await console.sessions.open(cli, state, "password_totp")
        assert opened.pending == ()
        client = await self.client(self.public_url)
        client.headers["authorization"] = f"Bearer {opened.token}"
        return client

    def console_page(self) -> Page:
        """What a browser says of the console's own page."""
        return Page(origin=self.platform.settings.console.parties[0].origin)

    def mobile(self) -> str:
        """A number that no test has had before."""
        self._mobiles += 1
        return f"+96650{self._mobiles:07d}"

    def code_sent_to(self, mobile: str) -> str:
        inbox: Inbox = self.platform.inbox
        message = inbox.read(mobile)
        assert message is not None, f"nothing was sent to {mobile}"
        return message.code

    async def end(self) -> int:
        """The position of the last event."""
        async with self.platform.projector_pool.connection() as connection:
            cursor = await connection.execute("SELECT coalesce(max(position), 0) FROM events")
            row = await cursor.fetchone()
        return int(row[0]) if row is not None else 0

    async def events(self, tenant: Tenancy) -> list[str]:
        """The names of all events of a tenant, in order."""
        position, names = 0, list[str]()
        while page := await self.platform.log.read(position, 500):
            names += [r.event.NAME for r in page if r.tenant_id == tenant.tenant_id]
            position = page[-1].position
        return names


def scan(palm: bytes, hand: str = "left") -> dict[str, Any]:
    """A scan of a palm that the scripted vendor knows by its bytes."""
    return {
        "format": "biowave.rgb_ir.v1",
        "rgb": base64.b64encode(palm).decode(),
        "ir": base64.b64encode(palm[::-1]).decode(),
        "hand": hand,
    }


def transaction(palm: bytes, key: str | None = None, **fields: Any) -> dict[str, Any]:
    """The body of `POST /v1/device/transactions`."""
    return {
        "idempotency_key": key or uuid4().hex,
        "scan": scan(palm),
        "context": {"amount": "5.00", "currency": "SAR"},
        "deadline_ms": DEADLINE_MS,
        **fields,
    }


def key_and_csr() -> tuple[bytes, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem, csr.public_bytes(serialization.Encoding.PEM).decode()


@asynccontextmanager
async def plain(app: Any) -> AsyncGenerator[str]:
    """Serve an ASGI callable on loopback for as long as the block runs."""
    listener = await serve(cast("ASGIApp", app), host="127.0.0.1", port=0, ssl_context=None)
    try:
        yield f"http://127.0.0.1:{listener.port}"
    finally:
        await listener.stop(drain_s=1)


def write_roots(data_dir: Path) -> Path:
    """The one maker whose devices' attestations are believed here."""
    data_dir.mkdir(parents=True, exist_ok=True)
    path = data_dir / "attestation-roots.pem"
    path.write_text(pem([MAKER.root])[0])
    return path


@asynccontextmanager
async def opened(
    dsn: str,
    data_dir: Path,
    *,
    vendor: Vendor | None = None,
    product: Product | None = None,
    redis_url: str | None = None,
    platform: type[Platform] = Platform,
    environ: Mapping[str, str] | None = None,
) -> AsyncGenerator[House]:
    """A platform with both listeners on ports of the system's choice.

    Budgets are counted in the Redis, where one is given, and by the house's `limiter` otherwise.
    """
    vendor, product = vendor or Vendor(), product or Product()
    limiter, clock = Limiter(), ShiftedClock()
    async with AsyncExitStack() as stack:
        vendor_url = await stack.enter_async_context(plain(vendor))
        product_url = await stack.enter_async_context(plain(product))
        issuer = Issuer("")
        issuer.origin = await stack.enter_async_context(plain(IdIssuerServer(issuer)))
        roots = write_roots(data_dir)
        settings = Settings.from_environment(
            {
                "LINK_TEST_ID_ISSUER": issuer.origin,
                "LINK_ATTESTATION_ROOTS": str(roots),
                "LINK_DATA_DIR": str(data_dir),
                "LINK_PALM_VENDOR_URL": vendor_url,
                **(environ or {}),
            }
        )
        settings = msgspec.structs.replace(settings, public_port=0, device_port=0, password_cost=4)
        process = await stack.enter_async_context(
            platform(settings, dsn, redis_url, limiter=None if redis_url else limiter, clock=clock)
        )
        await process.project()
        await process.duties.forget()
        await process.duties.deliver()
        await process.follow()
        house = House(process, build(process.services), stack)
        write_ca(settings, process)
        house.limiter, house.clock = limiter, clock
        house.id_issuer = issuer
        house.vendor, house.product, house.product_url = vendor, product, product_url
        house.public = await listen_public(process, house.apps)
        stack.push_async_callback(house.public.stop, drain_s=1)
        house.edge = await listen_devices(process, house.apps)
        stack.push_async_callback(house.edge.stop, drain_s=1)
        yield house


async def never(_: Any) -> tuple[int, bytes]:
    """A peer that does not answer within any deadline of ours."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("unreachable")

"""The real platform in processes of its own, with one paired device and one enrolled palm."""

import base64
import ssl
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from benchmarks import certificates
from benchmarks.certificates import Files
from benchmarks.ground import Ground
from benchmarks.processes import answer_of, free_port, program
from infrastructure.clock import SystemClock
from infrastructure.embedded.redis import EmbeddedRedis, redis_program
from infrastructure.messages.inbox import Inbox

MOBILE: Final = "+966500000001"
SCAN: Final = {
    "format": "biowave.rgb_ir.v1",
    "rgb": base64.b64encode(bytes(range(256)) * 3).decode(),
    "ir": base64.b64encode(bytes(reversed(range(256))) * 3).decode(),
    "hand": "left",
}
"""2 KB on the wire; the vendor of the benchmark does not look at it."""


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """Where the device listener is, and who does the work. `worker` is None in one process.

    `dead` are the files of a device of another tenant, whose product never answers.
    """

    device_port: int
    files: Files
    app: int
    worker: int | None
    dead: Files | None = None


@contextmanager
def platform(
    ground: Ground, peers_port: int, *, dead_neighbour: bool = False
) -> Generator[Serving]:
    """`serve api edge` with `serve worker` beside it; all in one process where there is no Redis.

    Set up as a customer would: the CLI for tenant and client, the public API for the rest.
    `dead_neighbour` is for another tenant, with a product that never answers.
    """
    folder = ground.folder / "platform"
    folder.mkdir()
    ground.database("platform")
    peers = f"http://127.0.0.1:{peers_port}"
    public_port, device_port = free_port(), free_port()
    environment = {
        "LINK_DATA_DIR": str(folder),
        "LINK_DATABASE_URL": ground.url("platform"),
        "LINK_DEVELOPMENT": "true",
        "LINK_PUBLIC_PORT": str(public_port),
        "LINK_DEVICE_PORT": str(device_port),
        "LINK_PALM_VENDOR_URL": peers,
        "LINK_LOG_LEVEL": "warning",
    }
    with ExitStack() as stack:
        redis = redis_program()
        if redis is not None:
            server = stack.enter_context(EmbeddedRedis(ground.folder / "redis", redis))
            environment["LINK_REDIS_URL"] = server.url()
        roles = ("api", "edge") if redis is not None else ()
        app = stack.enter_context(
            program("interfaces", "serve", *roles, "--json", environment=environment)
        )
        worker = None
        if redis is not None:
            worker = stack.enter_context(
                program("interfaces", "serve", "worker", "--json", environment=environment)
            )
        ports = (public_port, device_port)
        product = {"product_key": "wallet", "base_url": peers}
        files = _enrolled(folder, "device", environment, ports, {**product, "void_path": "/void"})
        dead = None
        if dead_neighbour:
            never = {**product, "authorize_path": "/dead"}
            dead = _enrolled(folder, "neighbour", environment, ports, never)
        yield Serving(
            device_port=device_port,
            files=files,
            dead=dead,
            app=app.pid,
            worker=None if worker is None else worker.pid,
        )


def _enrolled(
    folder: Path,
    name: str,
    environment: Mapping[str, str],
    ports: tuple[int, int],
    product: Mapping[str, str],
) -> Files:
    """A tenant, its product, one device, one person with a palm: the device's files."""
    public_port, device_port = ports
    tenant = _cli(environment, "tenants", "create", name)["tenant_id"]
    client = _cli(environment, "clients", "create", tenant, "backend")
    ca = folder / "pki" / "server-ca.pem"
    trust = ssl.create_default_context(cafile=str(ca))
    with httpx.Client(
        base_url=f"https://localhost:{public_port}", verify=trust, trust_env=False, timeout=20
    ) as api:
        token = _json(
            api.post(
                "/oauth2/token",
                data={"grant_type": "client_credentials"},
                auth=(client["client_id"], client["client_secret"]),
            )
        )
        api.headers["authorization"] = f"Bearer {token['access_token']}"
        _json(api.post("/v1/linked-services", json=dict(product)))
        bound = {"bound_product": "wallet", "bound_action": "pay"}
        made = _json(api.post("/v1/devices", json={"type": "pos", "name": "Till", **bound}))

        def certify(csr: str) -> str:
            code = made["pairing"]["code"]
            paired = _json(api.post("/v1/device/pair", json={"code": code, "csr": csr}))
            return f"{paired['certificate']}{paired['chain']}"

        files = certificates.device(folder, name, ca, certify)
    shown = ssl.create_default_context(cafile=str(ca))
    shown.load_cert_chain(files.certificate, files.key)
    with httpx.Client(
        base_url=f"https://localhost:{device_port}", verify=shown, trust_env=False, timeout=20
    ) as device:
        _enrol(device, Inbox(folder / "inbox", SystemClock()))
    return files


def _enrol(device: httpx.Client, inbox: Inbox) -> None:
    challenge = _json(device.post("/v1/device/signup", json={"mobile": MOBILE}))
    message = inbox.read(MOBILE)
    assert message is not None, "the one-time code did not arrive"
    answer = {"challenge_id": challenge["challenge_id"], "code": message.code}
    user_id = _json(device.post("/v1/device/signup/verify", json=answer))["user_id"]
    consent = {"user_id": user_id, "consent_type": "palm_enrollment", "version": "1"}
    _json(device.post("/v1/device/consent", json=consent))
    palm = {"user_id": user_id, "scan": SCAN, "hand": "left"}
    _json(device.post("/v1/device/enroll", json=palm))


def _cli(environment: Mapping[str, str], *arguments: str) -> dict[str, Any]:
    return answer_of("interfaces", *arguments, "--json", environment=environment)


def _json(answered: httpx.Response) -> dict[str, Any]:
    assert answered.is_success, f"{answered.request.url.path}: {answered.text}"
    found: dict[str, Any] = answered.json()
    return found

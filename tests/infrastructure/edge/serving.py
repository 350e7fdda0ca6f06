"""Both listeners in a thread of their own, as a process runs them, for clients that block."""

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from infrastructure.edge.listeners import Listener, device_protocol, serve
from infrastructure.edge.protocol import Limits, Message, Receive, Scope, Send
from infrastructure.edge.revocations import RevokedCertificates
from infrastructure.edge.tls import DeviceTls, public_context
from infrastructure.fleet.platform_ca import PlatformCA

P = ParamSpec("P")
T = TypeVar("T")

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class Application:
    """Raw ASGI: tells what it saw. `/hold` answers when `release` is set."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.finished: list[str] = []
        self.disconnected: list[str] = []
        self.release = asyncio.Event()
        self.on_begin: Callable[[str], None] = lambda _path: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        self.begun.append(path)
        self.on_begin(path)
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnected.append(path)
                return
            body += message["body"]
            more = message["more_body"]
        if path == "/hold":
            await self.release.wait()
        seen: dict[str, Any] = {
            "path": path,
            "client": scope["client"],
            "scheme": scope["scheme"],
            "extensions": {"tls": scope["extensions"].get("tls")},
            "headers": [[name.decode(), value.decode()] for name, value in scope["headers"]],
            "body_bytes": len(body),
        }
        answer = json.dumps(seen).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(answer)).encode()),
        ]
        start: Message = {"type": "http.response.start", "status": 200, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": answer})
        self.finished.append(path)


class RunningEdge:
    """A context manager around a running edge. `call` and `run` act inside its event loop."""

    def __init__(
        self,
        ca: PlatformCA,
        *,
        loop_factory: LoopFactory,
        limits: Limits,
        protocol_revocations: RevokedCertificates | None = None,
        planted: Callable[[DeviceTls], None] = lambda _tls: None,
    ) -> None:
        chain, key = ca.issue_server(["localhost", "127.0.0.1"])
        self.revocations = RevokedCertificates()
        self.application = Application()
        self.tls = DeviceTls(
            certificate_chain_pem=chain,
            private_key_pem=key,
            device_cas_pem=ca.device_ca_pem(),
            revocations=self.revocations,
        )
        planted(self.tls)
        self._public_context = public_context(certificate_chain_pem=chain, private_key_pem=key)
        self._protocol_revocations = (
            self.revocations if protocol_revocations is None else protocol_revocations
        )
        self._loop_factory = loop_factory
        self._limits = limits
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._failure: BaseException | None = None
        self.loop_errors: list[dict[str, Any]] = []

    def __enter__(self) -> "RunningEdge":
        self._thread.start()
        assert self._ready.wait(10)
        if self._failure is not None:
            raise self._failure
        self.device_port = self.call(lambda: self.device_listener.port)
        self.public_port = self.call(lambda: self.public_listener.port)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.call(self.application.release.set)
        self.call(self._stop.set)
        self._thread.join(15)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    @property
    def device_url(self) -> str:
        return f"https://127.0.0.1:{self.device_port}"

    @property
    def public_url(self) -> str:
        return f"https://127.0.0.1:{self.public_port}"

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function answers when called on the thread of the edge."""

        async def calling() -> T:
            return function(*args, **kwargs)

        return self.run(calling())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(40)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Come back when it holds in the loop; fail after half a minute."""

        async def waiting() -> None:
            async with asyncio.timeout(30):
                while not condition():  # noqa: ASYNC110 (what is waited for has no event)
                    await asyncio.sleep(0.002)

        self.run(waiting())

    def _work(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._loop_factory) as runner:
                runner.run(self._serve())
        except BaseException as error:
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(lambda _loop, context: self.loop_errors.append(context))
        self._stop = asyncio.Event()
        self.device_listener: Listener = await serve(
            self.application,
            host="127.0.0.1",
            port=0,
            ssl_context=self.tls.listening,
            http_protocol=device_protocol(self._protocol_revocations),
            limits=self._limits,
        )
        self.public_listener: Listener = await serve(
            self.application,
            host="127.0.0.1",
            port=0,
            ssl_context=self._public_context,
            limits=self._limits,
        )
        self._ready.set()
        await self._stop.wait()
        await asyncio.gather(self.device_listener.stop(drain_s=5), self.public_listener.stop())


def client_context(trusting: PlatformCA) -> ssl.SSLContext:
    """A client that verifies our server and shows no certificate."""
    return ssl.create_default_context(cadata=trusting.ca_bundle_pem())

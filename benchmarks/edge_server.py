"""The edge with a number of revoked devices and an application that only says yes.

    python -m benchmarks.edge_server CERTIFICATE KEY DEVICE_CA REVOKED FINGERPRINT

REVOKED random certificates are refused, and the one with FINGERPRINT as well. Prints its port.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Final

from infrastructure.edge.listeners import device_protocol, new_event_loop, serve
from infrastructure.edge.protocol import Receive, Scope, Send
from infrastructure.edge.revocations import RevokedCertificates
from infrastructure.edge.tls import DeviceTls
from interfaces.process import spare_what_stays

YES: Final = b'{"yes":true}'


async def application(_scope: Scope, receive: Receive, send: Send) -> None:
    """Read the request and answer it."""
    while (await receive()).get("more_body"):
        continue
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(YES))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": YES})


async def run(certificate: str, key: str, device_ca: str, revoked: list[str]) -> None:
    """Serve until terminated."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    revocations = RevokedCertificates()
    revocations.restore(revoked)
    tls = DeviceTls(
        certificate_chain_pem=certificate,
        private_key_pem=key,
        device_cas_pem=device_ca,
        revocations=revocations,
    )
    listener = await serve(
        application,
        host="127.0.0.1",
        port=0,
        ssl_context=tls.listening,
        http_protocol=device_protocol(revocations),
    )
    spare_what_stays()
    print(json.dumps({"port": listener.port, "revoked": len(revocations)}), flush=True)
    await stop.wait()
    await listener.stop(drain_s=1)


def main() -> None:
    *files, count, known = sys.argv[1:]
    certificate, key, device_ca = (Path(file).read_text() for file in files)
    revoked = [*(os.urandom(32).hex() for _ in range(int(count))), known]
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run(certificate, key, device_ca, revoked))


if __name__ == "__main__":
    main()

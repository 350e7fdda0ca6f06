"""`python -m examples.id_issuer --port 9600`."""

import argparse
import socket

import uvicorn

from examples.id_issuer.issuer import Issuer
from examples.id_issuer.server import IdIssuerServer


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m examples.id_issuer",
        description="A test issuer of ID tokens, for a platform in development: set"
        " LINK_TEST_ID_ISSUER to the address that it prints.",
    )
    parser.add_argument("--port", type=int, default=9600, help="on loopback; 0 takes a free one")
    chosen = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", chosen.port))
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    print(origin, flush=True)
    config = uvicorn.Config(
        IdIssuerServer(Issuer(origin)),
        lifespan="off",
        ws="none",
        access_log=False,
        log_level="warning",
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()

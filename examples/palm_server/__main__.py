"""`python -m examples.palm_server --port 9400 --data DIR`: the reference palm server."""

import argparse
import logging
import socket
from pathlib import Path

import uvicorn

from examples.palm_server.server import PalmServer


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m examples.palm_server",
        description="A palm server for development: the vendor's protocol, a real 1:N search.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9400, help="0 takes a free one")
    parser.add_argument("--data", type=Path, required=True, help="directory of the gallery")
    parser.add_argument(
        "--forbid-hand",
        choices=["left", "right"],
        action="append",
        default=[],
        help="answer queries of this hand with code 30008",
    )
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    app = PalmServer(chosen.data, forbidden_hands=frozenset(chosen.forbid_hand))
    listener = socket.create_server((chosen.host, chosen.port))
    port = listener.getsockname()[1]
    print(f"palm server on http://{chosen.host}:{port}, gallery in {chosen.data}", flush=True)
    config = uvicorn.Config(
        app, lifespan="off", ws="none", access_log=False, log_level="warning", backlog=1024
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()

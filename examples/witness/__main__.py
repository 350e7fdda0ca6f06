"""`python -m examples.witness --name witness.example/w1 --data DIR --log VKEY`."""

import argparse
import logging
import os
import socket
from pathlib import Path

import uvicorn

from domain.transparency.note import NoteMalformed, VerifierKey, read_vkey
from examples.witness.memory import Memory
from examples.witness.server import WitnessServer
from examples.witness.witness import Witness
from infrastructure.transparency.ed25519 import NoteSigner


def log_key(text: str) -> VerifierKey:
    try:
        return read_vkey(text)
    except NoteMalformed as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def signing_key(path: Path) -> NoteSigner:
    """The witness's own key, made at the first start and readable by its owner alone."""
    if not path.exists():
        candidate = path.with_suffix(".new")
        descriptor = os.open(candidate, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(NoteSigner.generate())
            file.flush()
            os.fsync(file.fileno())
        candidate.replace(path)
    return NoteSigner(path.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m examples.witness",
        description="A witness of transparency logs: cosigns checkpoints that continue each other.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9500, help="0 takes a free one")
    parser.add_argument("--data", type=Path, required=True, help="directory of key and memory")
    parser.add_argument("--name", default="witness.example/w1", help="the name of its key")
    parser.add_argument(
        "--log",
        type=log_key,
        action="append",
        required=True,
        metavar="VKEY",
        help="a log's verifier key; that of a platform's own log stands for all its tenants'",
    )
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    chosen.data.mkdir(parents=True, exist_ok=True)
    memory = Memory(chosen.data / "seen.sqlite")
    witness = Witness(chosen.name, signing_key(chosen.data / "key"), chosen.log, memory)
    listener = socket.create_server((chosen.host, chosen.port))
    port = listener.getsockname()[1]
    # LINK_WITNESSES takes the two as they stand here.
    print(f"{witness.verifier_key.vkey()} http://{chosen.host}:{port}", flush=True)
    config = uvicorn.Config(
        WitnessServer(witness), lifespan="off", ws="none", access_log=False, log_level="warning"
    )
    uvicorn.Server(config).run(sockets=[listener])
    memory.close()


if __name__ == "__main__":
    main()

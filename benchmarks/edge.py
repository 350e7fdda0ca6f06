"""A full mTLS handshake at the edge: the server's CPU time with one and with 100,001 revoked."""

import socket
import ssl
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from benchmarks.certificates import Authority, Files
from benchmarks.figures import Figure, Machine, Options, Run, figure
from benchmarks.load import Order, Outcome
from benchmarks.processes import Program, ProgramFailed, answer_of, program

REVOKED: Final = 100_000
AT_ONCE: Final = 4
REQUEST: Final = "GET / HTTP/1.1\r\nHost: localhost\r\n"


def edge(options: Options) -> Figure:
    """One new connection after the other, a request on each to see that it was let in."""
    machine = Machine()
    with TemporaryDirectory(prefix="link-bench-") as folder:
        authority = Authority(Path(folder))
        device, revoked = authority.device(), authority.device()
        with _edge(authority, revoked, REVOKED) as full, _edge(authority, revoked, 0) as empty:
            for running in (full, empty):
                _check_refused(running, revoked)
            with ThreadPoolExecutor(2) as both:

                def shake_hands(running: Program) -> Outcome:
                    return _shake_hands(running, device, options)

                # Both at the same time, so that whatever else the machine does meets both.
                measured = [
                    list(both.map(shake_hands, (full, empty))) for _ in range(options.rounds)
                ]
    runs = [
        Run(ours=with_.cpu_us["edge"], baseline=without.cpu_us["edge"])
        for with_, without in measured
    ]
    others = {
        "revoked": {"ours": REVOKED + 1, "baseline": 1},
        "handshakes_per_s": {
            "ours": round(measured[-1][0].per_s, 1),
            "baseline": round(measured[-1][1].per_s, 1),
        },
    }
    return figure("edge", "us CPU/handshake (lower is better)", runs, machine, others)


@contextmanager
def _edge(authority: Authority, known: Files, revoked: int) -> Generator[Program]:
    """An edge that refuses `known`, and so many more."""
    server = authority.server()
    files = [str(server.certificate), str(server.key), str(server.ca)]
    with program("benchmarks.edge_server", *files, str(revoked), known.fingerprint) as running:
        yield running


def _shake_hands(running: Program, device: Files, options: Options) -> Outcome:
    """Raises ProgramFailed when a connection was not let in."""
    order = Order(
        port=running.told["port"],
        ca_file=str(device.ca),
        certificate_file=str(device.certificate),
        key_file=str(device.key),
        head=REQUEST,
        body=b"",
        expected=b"yes",
        connections=AT_ONCE,
        seconds=options.seconds,
        warm_up_s=min(0.5, options.seconds),
        reconnect=True,
        watch={"edge": running.pid},
    )
    outcome = msgspec.convert(
        answer_of("benchmarks.load", given=msgspec.json.encode(order)), Outcome
    )
    if outcome.errors:
        raise ProgramFailed(f"{outcome.errors} errors, the first: {outcome.first_error}")
    return outcome


def _check_refused(running: Program, revoked: Files) -> None:
    """What is measured must be at work. Raises ProgramFailed when a revoked device gets in."""
    context = ssl.create_default_context(cafile=str(revoked.ca))
    context.load_cert_chain(revoked.certificate, revoked.key)
    address = ("127.0.0.1", running.told["port"])
    try:
        with (
            socket.create_connection(address, timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            tls.sendall(f"{REQUEST}\r\n".encode())
            answered = tls.recv(1024)
    except (ssl.SSLError, ConnectionError):
        return
    if answered:
        raise ProgramFailed("a revoked certificate was let in")

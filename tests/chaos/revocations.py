"""How long a revoked device is still let in: `python -m tests.chaos.revocations --trials 300`.

Two platforms on one database. Each trial pairs a device, connects it to both, revokes it at the
first, and times from the answer to the revocation until, at the second, its open connection was
dropped and a new handshake was refused; a resumed session must not get in at either.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np

from infrastructure.embedded.postgres import DATABASE, EmbeddedPostgres
from infrastructure.migrate import migrate
from interfaces.cli.session import configure_logging
from tests.house.test_revocation import connected, resumes, revoked, until_refused
from tests.house.world import House, Tenancy, opened

IN_FORCE_S = 1.0
"""What is promised."""

PATIENCE_S = 30.0


async def trial(here: House, there: House, tenant: Tenancy) -> tuple[float, float, bool]:
    """Seconds until dropped and until refused at the other process, and whether it resumed."""
    device = await here.device(tenant)
    connections = [await connected(house.edge.port, device.trust) for house in (here, there)]
    await revoked(here, device)
    answered = time.monotonic()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(connection.ended() for connection in connections))
    dropped = time.monotonic() - answered
    await until_refused(there.edge.port, device.trust, PATIENCE_S)
    refused = time.monotonic() - answered
    resumed = False
    for house, connection in zip((here, there), connections, strict=True):
        resumed |= await asyncio.to_thread(
            resumes, house.edge.port, device.trust, connection.session
        )
        connection.close()
    await device.http.aclose()
    return dropped, refused, resumed


async def measure(dsn: str, folder: Path, trials: int) -> int:
    async with opened(dsn, folder) as here, opened(dsn, folder) as there:
        for house in (here, there):
            house.limiter.unlimited.add("pairing.address")
        tenant = await here.tenant()
        seen: list[tuple[float, float, bool]] = []
        for number in range(trials):
            if number % 50 == 49:
                # A token lives for a quarter of an hour, and a slow machine takes longer.
                tenant = await here.tenant()
                sys.stderr.write(f"{number} of {trials}\n")
            seen.append(await trial(here, there, tenant))
    drops, refusals, resumptions = (np.array(each) for each in zip(*seen, strict=True))
    late = int(np.sum(np.maximum(drops, refusals) > IN_FORCE_S))
    figures = {
        "trials": trials,
        "late": late,
        "resumed": int(np.sum(resumptions)),
        **{
            f"{name}_ms_{label}": round(float(np.quantile(values, share)) * 1000, 1)
            for name, values in (("dropped", drops), ("refused", refusals))
            for label, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
        },
    }
    sys.stdout.write(msgspec.json.encode(figures).decode() + "\n")
    return 1 if late or figures["resumed"] else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.revocations", description=__doc__)
    parser.add_argument("--trials", type=int, default=300)
    trials: int = parser.parse_args().trials
    configure_logging("error")
    with TemporaryDirectory(prefix="link-revocations-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with EmbeddedPostgres(folder, state_root=folder / "state", shared_buffers_mb=128) as server:
            migrate(server.dsn(DATABASE))
            return asyncio.run(measure(server.dsn(DATABASE), folder / "platform", trials))


if __name__ == "__main__":
    sys.exit(main())

"""One process that reaches for probes: prints "ready", waits for a line, prints how many it got."""

import asyncio
import sys
from uuid import UUID

from domain.ids import TenantId
from domain.linked_service import BreakerSettings
from infrastructure.circuits.breakers import Breakers
from infrastructure.circuits.shared_circuits import SharedCircuits
from infrastructure.clock import SystemClock

TENANT = TenantId(UUID(int=1))
SERVICE = UUID(int=7)
SETTINGS = BreakerSettings(consecutive_failures=1, open_s=0.1, open_max_s=0.1, half_open_calls=3)


class LastWriterWins(SharedCircuits):
    """The planted bug: puts down its own count whatever stands there, so that takers who looked
    at the same time take the same permit."""

    EXCHANGE = SharedCircuits.EXCHANGE.replace("and held == ARGV[2] then", "then")


async def main(name: str, url: str, tries: int) -> None:
    kind = SharedCircuits if name == "ours" else LastWriterWins
    breakers = Breakers(SystemClock(), kind(url, patience_s=20))
    device = UUID(int=int(sys.argv[4]))
    # The connection and the script are there before the word is given, and the circuit is known.
    while breakers.states()["half_open"] == 0:
        await breakers.read(TENANT, SERVICE, SETTINGS)
        await asyncio.sleep(0.01)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    permits = await asyncio.gather(
        *(breakers.admit(TENANT, SERVICE, device, SETTINGS) for _ in range(tries))
    )
    sys.stdout.write(f"{sum(permit is not None for permit in permits)}\n")
    await breakers.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))

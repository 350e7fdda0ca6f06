"""Who and what takes part: a tenant with two products, four devices and three people."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import numpy as np

from examples.demo.back_office import BackOffice, Product
from examples.demo.servers import Started, command
from examples.device_simulator import InboxCodes, SimulatedDevice
from examples.device_simulator.credentials import write_private
from examples.synthetic_palms import Capture, Palm, capture

TENANT: Final = "Acme"
STRANGER: Final = Palm(person=404, hand="left")


class Guest(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who comes to the kiosk; `palm` is the one that they enrol."""

    name: str
    mobile: str
    palm: Palm


AISHA: Final = Guest(name="Aisha", mobile="+966501234567", palm=Palm(person=1, hand="left"))
OMAR: Final = Guest(name="Omar", mobile="+966502345678", palm=Palm(person=2, hand="right"))
LENA: Final = Guest(name="Lena", mobile="+966503456789", palm=Palm(person=3, hand="left"))
GUESTS: Final = (AISHA, OMAR, LENA)


class Devices(msgspec.Struct, frozen=True, kw_only=True):
    """All of them paired. `stolen` is a second till, about to be."""

    kiosk: SimulatedDevice
    till: SimulatedDevice
    stolen: SimulatedDevice
    gate: SimulatedDevice


class NotEnrolled(Exception):
    """A scene needs a person whose enrolment did not work."""


class Stage:
    """What the scenes play on. Products are reached as their own operators reach them."""

    def __init__(
        self,
        started: Started,
        folder: Path,
        tenant_id: str,
        back_office: BackOffice,
        devices: Devices,
        operator: httpx.AsyncClient,
    ) -> None:
        self.started = started
        self.folder = folder
        self.tenant_id = tenant_id
        self.back_office = back_office
        self.devices = devices
        self.codes = InboxCodes(started.data_dir)
        self.user_ids: dict[str, str] = {}
        self._operator = operator
        self._rng = np.random.default_rng()

    def user_id(self, guest: Guest) -> str:
        """Raises NotEnrolled."""
        if guest.name not in self.user_ids:
            raise NotEnrolled(f"{guest.name} is not enrolled")
        return self.user_ids[guest.name]

    def look_at(self, palm: Palm) -> Capture:
        """What a device sees of a palm: something new every time."""
        return capture(palm, self._rng)

    async def switch_wallet(self, mode: str) -> None:
        """`normal`, or `hang`: the wallet takes calls and answers none."""
        answer = await self._operator.put(f"{self.started.wallet}/admin/mode", json={"mode": mode})
        answer.raise_for_status()

    async def charges_of(self, transaction_id: str) -> int:
        """How often the wallet took money for a transaction."""
        answer = await self._operator.get(f"{self.started.wallet}/charges")
        answer.raise_for_status()
        return sum(charge["transaction_id"] == transaction_id for charge in answer.json())

    async def let_through(self, guest: Guest, gate: str) -> None:
        grant = {"tenant_id": self.tenant_id, "user_id": self.user_id(guest), "gate": gate}
        answer = await self._operator.post(f"{self.started.access}/admin/grants", json=grant)
        answer.raise_for_status()


async def set_up(started: Started, folder: Path, stack: AsyncExitStack) -> Stage:
    """A fresh tenant with its client, products and paired devices. `stack` closes what is opened.

    Raises ChildFailed, Refused and httpx.HTTPError.
    """
    tenant_id = (await command(started.env, "tenants", "create", TENANT))["tenant_id"]
    client = await command(started.env, "clients", "create", tenant_id, "back office")
    # For curl's -K, so that the secret need not stand on a command line.
    login = f'user = "{client["client_id"]}:{client["client_secret"]}"\n'
    write_private(folder / "client.curl", login.encode())
    back_office = await stack.enter_async_context(
        await BackOffice.open(
            started.public, started.ca_file, client["client_id"], client["client_secret"]
        )
    )
    operator = await stack.enter_async_context(httpx.AsyncClient(timeout=15, trust_env=False))
    for key, url, action in (("wallet", started.wallet, "pay"), ("access", started.access, "open")):
        product = await back_office.register_product(key, url, action)
        await _introduce(operator, url, product)
    devices = await _pair_all(started, folder, back_office)
    for device in msgspec.structs.asdict(devices).values():
        stack.push_async_callback(device.aclose)
    return Stage(started, folder, tenant_id, back_office, devices, operator)


async def _introduce(operator: httpx.AsyncClient, url: str, product: Product) -> None:
    """Tell a product under which audience it is known to the new tenant."""
    answer = await operator.post(f"{url}/admin/audiences", json={"audience": product.audience})
    answer.raise_for_status()


async def _pair_all(started: Started, folder: Path, back_office: BackOffice) -> Devices:
    async def paired(
        kind: str, name: str, bound_to: tuple[str, str] | None = None
    ) -> SimulatedDevice:
        code = await back_office.register_device(kind, name, bound_to)
        place = folder / "devices" / name.lower().replace(" ", "-")
        # A new tenant's devices are new devices, with new keys.
        await asyncio.to_thread(_empty, place)
        return await SimulatedDevice.pair(started.public, code, place, started.ca_file)

    kiosk, till, stolen, gate = await asyncio.gather(
        paired("kiosk", "Kiosk 1"),
        paired("pos", "Till 1", ("wallet", "pay")),
        paired("pos", "Till 2", ("wallet", "pay")),
        paired("gate", "North gate", ("access", "open")),
    )
    return Devices(kiosk=kiosk, till=till, stolen=stolen, gate=gate)


def _empty(folder: Path) -> None:
    if folder.is_dir():
        for path in folder.iterdir():
            os.unlink(path)


def price(amount: str) -> Mapping[str, Any]:
    """The context of a payment, as the example wallet wants it."""
    return {"amount": amount, "currency": "SAR"}

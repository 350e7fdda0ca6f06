"""What every scenario begins with: a tenant, its tills and three people, whom the vendor knows."""

from pathlib import Path
from typing import Final

import msgspec

from tests.chaos.load import Till
from tests.house.world import House, PairedDevice, Tenancy, Vendor, key_and_csr, opened

PALMS: Final = (b"the palm of ali", b"the palm of badr", b"the palm of dana")
TILLS: Final = 4

PATIENT: Final = {
    "min_calls": 10_000,
    "failure_rate": 1.0,
    "slow_rate": 1.0,
    "consecutive_failures": 1000,
    "open_s": 0.1,
    "open_max_s": 0.1,
}
"""A breaker that hardly ever opens."""


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What the devices need, and whose palms the vendor knows."""

    tills: tuple[Till, ...]
    enrolled: dict[str, str]


async def furnish(dsn: str, data_dir: Path, folder: Path, product_url: str) -> Prepared:
    """In a migrated database; the tills' files go into `folder`."""
    vendor = Vendor()
    async with opened(dsn, data_dir, vendor=vendor) as house:
        house.product_url = product_url
        tenant = await house.tenant()
        await _set_up_service(tenant)
        kiosk = await house.device(tenant, "kiosk")
        for number, palm in enumerate(PALMS):
            await house.person(kiosk, f"+96650123456{number}", palm)
        tills = [await _till(house, kiosk, folder, number) for number in range(TILLS)]
    return Prepared(tills=tuple(tills), enrolled=vendor.enrolled)


async def _till(house: House, kiosk: PairedDevice, folder: Path, number: int) -> Till:
    made = await kiosk.tenant.api.post(
        "/v1/devices",
        json={
            "type": "pos",
            "name": f"Till {number}",
            "bound_product": "wallet",
            "bound_action": "pay",
        },
    )
    assert made.status_code == 201, made.text
    key, csr = key_and_csr()
    public = await house.client(house.public_url)
    paired = await public.post(
        "/v1/device/pair", json={"code": made.json()["pairing"]["code"], "csr": csr}
    )
    assert paired.status_code == 201, paired.text
    certificate_file = folder / f"till-{number}.pem"
    key_file = folder / f"till-{number}.key"
    certificate_file.write_text(paired.json()["certificate"] + paired.json()["chain"])
    key_file.write_bytes(key)
    return Till(device=made.json()["id"], certificate=str(certificate_file), key=str(key_file))


async def _set_up_service(tenant: Tenancy) -> None:
    """Have the product told what it must undo, and asked again however often it fails: what an
    open circuit does is tested elsewhere, and would keep the faults from happening here."""
    service = f"/v1/linked-services/{tenant.service_id}"
    etag = (await tenant.api.get(service)).headers["etag"]
    changed = await tenant.api.patch(
        service, json={"void_path": "/void", "breaker": PATIENT}, headers={"if-match": etag}
    )
    assert changed.status_code == 200, changed.text

"""Starts what the demo needs: the platform, a palm server, a wallet, an access control."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from examples.demo.children import ROOT, Child, ChildFailed, Children
from examples.demo.waiting import until

START_S: Final = 90.0
OPENING_BALANCE: Final = "100.00"
"""What everybody has in the wallet at first, in SAR."""


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything listens. `env` is the environment of the platform's own commands."""

    public: str
    device: str
    palm_server: str
    wallet: str
    access: str
    ca_file: Path
    data_dir: Path
    env: dict[str, str]


class _Told(msgspec.Struct, frozen=True):
    public: str
    device: str
    ca_file: str


def environment(folder: Path, ports: dict[str, int]) -> dict[str, str]:
    """Ours without anybody's LINK_ variables: the demo has a platform of its own."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("LINK_")}
    return {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "LINK_DATA_DIR": str(folder / "platform"),
        "LINK_PUBLIC_PORT": str(ports["public"]),
        "LINK_DEVICE_PORT": str(ports["device"]),
        "LINK_PALM_VENDOR_URL": f"http://127.0.0.1:{ports['palm_server']}",
    }


async def start(children: Children, folder: Path, ports: dict[str, int]) -> Started:
    """Start all four at once and return when all of them answer. Raises ChildFailed."""
    env = environment(folder, ports)
    issuer = f"https://localhost:{ports['public']}"
    ca_file = folder / "platform" / "pki" / "server-ca.pem"
    platform = await children.start(
        "platform", "interfaces", "serve", "--json", env=env, piped=True
    )
    palm_server = await children.start(
        "palm-server", "examples.palm_server",
        "--port", str(ports["palm_server"]), "--data", str(folder / "palms"), env=env,
    )  # fmt: skip
    told = await asyncio.gather(
        platform.first_line(START_S),
        _answers(palm_server, f"http://127.0.0.1:{ports['palm_server']}/KZ/health"),
    )
    of_product = ("--ca", str(ca_file), "--jwks", f"{issuer}/.well-known/jwks.json")
    products = [
        await children.start(
            name,
            *(f"examples.{name}", "--port", str(ports[name]), "--issuer", issuer),
            *(*of_product, "--database", str(folder / f"{name}.sqlite"), *options),
            env=env,
        )
        for name, options in (("wallet", ("--opening-balance", OPENING_BALANCE)), ("access", ()))
    ]
    await asyncio.gather(
        *(_answers(each, f"http://127.0.0.1:{ports[each.name]}/health") for each in products)
    )
    addresses = msgspec.json.decode(told[0], type=_Told)
    return Started(
        public=addresses.public,
        device=addresses.device,
        palm_server=f"http://127.0.0.1:{ports['palm_server']}",
        wallet=f"http://127.0.0.1:{ports['wallet']}",
        access=f"http://127.0.0.1:{ports['access']}",
        ca_file=Path(addresses.ca_file),
        data_dir=folder / "platform",
        env=env,
    )


async def _answers(child: Child, url: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:

        async def found() -> bool | None:
            if child.process.returncode is not None:
                raise child.failure("ended")
            try:
                return True if (await client.get(url)).is_success else None
            except httpx.TransportError:
                return None

        await until(f"{child.name} at {url}", found, START_S)


async def command(env: dict[str, str], *arguments: str) -> dict[str, Any]:
    """Run a command of `link-identity` with `--json` and return its answer.

    Raises ChildFailed with what it said.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "interfaces", *arguments, "--json",
        cwd=ROOT, env=env, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    if process.returncode != 0:
        raise ChildFailed(f"link-identity {' '.join(arguments)}: {err.decode().strip()}")
    return msgspec.json.decode(out, type=dict[str, Any])

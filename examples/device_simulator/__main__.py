"""`python -m examples.device_simulator`: pair a device, enrol a palm, ask for a decision.

Answers go to stdout as JSON. Exit codes: 0 done, 1 refused by the platform, 2 could not run.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np

from examples.device_simulator.credentials import Credentials, write_private
from examples.device_simulator.device import SimulatedDevice, scan
from examples.device_simulator.inbox import InboxCodes, NoCode
from examples.device_simulator.recovery import PublicListener
from examples.device_simulator.refusals import ConnectionRefused, Refused
from examples.synthetic_palms import Capture, Palm, capture


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m examples.device_simulator", description=__doc__)
    commands = found.add_subparsers(required=True, metavar="COMMAND")

    pairing = commands.add_parser("pair", help="turn a pairing code into a device")
    pairing.add_argument("--url", default="https://localhost:8443", help="the public listener")
    pairing.add_argument("--ca", type=Path, required=True, help="PEM file of the CA behind --url")
    pairing.add_argument("--code", required=True, help="from POST /v1/devices")
    pairing.add_argument("--folder", type=Path, required=True, help="where the device is kept")
    pairing.set_defaults(run=pair)

    drawing = commands.add_parser("draw", help="draw a palm: rgb.png, ir.png, scan.json")
    _of_whose_palm(drawing)
    drawing.add_argument("--to", type=Path, required=True, help="folder for the three files")
    drawing.set_defaults(run=draw)

    enrolling = commands.add_parser("enroll", help="sign a person up and enrol their palm")
    enrolling.add_argument("--folder", type=Path, required=True, help="a paired device")
    enrolling.add_argument("--mobile", required=True, help="for instance +966501234567")
    enrolling.add_argument(
        "--data",
        type=Path,
        default=Path(".link-identity"),
        help="the platform's LINK_DATA_DIR, to read the one-time code from its inbox",
    )
    _of_whose_palm(enrolling)
    enrolling.set_defaults(run=enroll)

    asking = commands.add_parser("transact", help="send a palm and hear the decision")
    asking.add_argument("--folder", type=Path, required=True, help="a paired device")
    asking.add_argument("--context", type=json.loads, default={}, help="JSON for the product")
    asking.add_argument("--key", help="idempotency key; the same key is the same intention")
    _of_whose_palm(asking)
    asking.set_defaults(run=transact)

    beating = commands.add_parser("beat", help="send heartbeats and do what they answer")
    beating.add_argument("--folder", type=Path, required=True, help="a paired device")
    beating.add_argument("--times", type=int, default=2, help="how many heartbeats")
    beating.add_argument("--every", type=float, help="seconds between; else as the platform says")
    beating.set_defaults(run=beat)

    renewing = commands.add_parser("renew", help="get a new key and certificate")
    renewing.add_argument("--folder", type=Path, required=True, help="a paired device")
    renewing.set_defaults(run=renew)

    standing = commands.add_parser("status", help="ask why the platform does not let it in")
    recovering = commands.add_parser("recover", help="come back after the certificate ran out")
    for command, work in ((standing, status), (recovering, recover)):
        command.add_argument("--folder", type=Path, required=True, help="a paired device")
        command.add_argument("--url", default="https://localhost:8443", help="the public listener")
        command.add_argument("--ca", type=Path, required=True, help="PEM of the CA behind --url")
        command.set_defaults(run=work)
    return found


def _of_whose_palm(command: argparse.ArgumentParser) -> None:
    command.add_argument("--person", type=int, required=True, help="number of an invented person")
    command.add_argument("--hand", choices=["left", "right"], default="left")
    command.add_argument("--seed", type=int, help="repeats the very same look at the palm")


def _capture(given: argparse.Namespace) -> Capture:
    palm = Palm(person=given.person, hand=given.hand)
    return capture(palm, np.random.default_rng(given.seed))


async def pair(given: argparse.Namespace) -> dict[str, Any]:
    async with await SimulatedDevice.pair(given.url, given.code, given.folder, given.ca) as device:
        return _shown(device.credentials)


async def draw(given: argparse.Namespace) -> dict[str, Any]:
    drawn = _capture(given)
    files = {
        "rgb": (given.to / "rgb.png", drawn.rgb),
        "ir": (given.to / "ir.png", drawn.ir),
        "scan": (given.to / "scan.json", msgspec.json.encode(scan(drawn))),
    }
    for path, content in files.values():
        write_private(path, content)
    return {name: str(path) for name, (path, _) in files.items()}


async def enroll(given: argparse.Namespace) -> dict[str, Any]:
    async with SimulatedDevice.load(given.folder) as device:
        person = await device.sign_up(given.mobile, InboxCodes(given.data))
        palm_ref = await device.enroll(person.user_id, _capture(given), given.hand)
    return {**msgspec.to_builtins(person), "palm_ref": palm_ref, "hand": given.hand}


async def transact(given: argparse.Namespace) -> dict[str, Any]:
    async with SimulatedDevice.load(given.folder) as device:
        answer = await device.transact(_capture(given), given.context, given.key, hand=given.hand)
    told: dict[str, Any] = msgspec.structs.asdict(answer)
    del told["body"]
    return {**told, "milliseconds": round(answer.milliseconds, 1)}


async def beat(given: argparse.Namespace) -> dict[str, Any]:
    async with SimulatedDevice.load(given.folder) as device:
        operation = device.operation()
        answer = await operation.beat()
        for _ in range(given.times - 1):
            await asyncio.sleep(answer.next_heartbeat_s if given.every is None else given.every)
            answer = await operation.beat()
    told: dict[str, Any] = msgspec.to_builtins(answer)
    return {**told, "locked": operation.locked, "showing": operation.showing}


async def renew(given: argparse.Namespace) -> dict[str, Any]:
    async with SimulatedDevice.load(given.folder) as device:
        await device.renew()
        return _shown(device.credentials)


async def status(given: argparse.Namespace) -> dict[str, Any]:
    credentials = Credentials.load(given.folder)
    async with PublicListener(given.url, given.ca, credentials) as listener:
        return await listener.status()


async def recover(given: argparse.Namespace) -> dict[str, Any]:
    credentials = Credentials.load(given.folder)
    async with PublicListener(given.url, given.ca, credentials) as listener:
        await listener.recover()
    return _shown(credentials)


def _shown(credentials: Credentials) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(credentials, enc_hook=str)
    return shown


def main() -> int:
    given = parser().parse_args()
    try:
        print(json.dumps(asyncio.run(given.run(given)), ensure_ascii=False))
    except (Refused, ConnectionRefused) as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return 1
    except (NoCode, FileNotFoundError, httpx.TransportError) as error:
        print(f"cannot: {error or type(error).__name__}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

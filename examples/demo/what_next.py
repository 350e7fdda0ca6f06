"""Commands that a person can paste while the demo stays up, with its real paths and ids."""

import shlex
from pathlib import Path
from typing import Any, Final

import msgspec

from examples.demo.stage import AISHA, LENA, OMAR, Stage, price
from examples.device_simulator import SimulatedDevice
from examples.device_simulator.credentials import write_private
from examples.device_simulator.device import transaction_body

_NEW_KEY: Final = '-H "idempotency-key: $(openssl rand -hex 16)"'
_JSON: Final = "-H 'content-type: application/json'"


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to try. `refused` when the point of it is that the platform says no."""

    about: str
    command: str
    refused: bool = False


def suggestions(stage: Stage) -> tuple[Suggestion, ...]:
    """Writes the request bodies that the commands send, and returns the commands."""
    return (*_at_devices(stage), *_at_the_door(stage), *_in_the_office(stage))


def _at_devices(stage: Stage) -> tuple[Suggestion, ...]:
    devices = stage.devices
    pays = _body(stage, "aisha-pays.json", stage.look_at(AISHA.palm), price("7.50"))
    passes = _body(stage, "lena-passes.json", stage.look_at(LENA.palm), {"gate": "north"})
    return (
        Suggestion(
            about="Aisha pays again at Till 1 (a new key each time; repeat a key to replay)",
            command=_lines(f"curl -sS {_as(devices.till)}", *_ask(stage, pays)),
        ),
        Suggestion(
            about="Lena opens the north gate again",
            command=_lines(f"curl -sS {_as(devices.gate)}", *_ask(stage, passes)),
        ),
        Suggestion(
            about="Let the simulator look at Omar's palm anew and pay",
            command=_lines(
                ".venv/bin/python -m examples.device_simulator transact",
                f"--folder {_path(devices.till.credentials.folder)}"
                f" --person {OMAR.palm.person} --hand {OMAR.palm.hand}",
                f"--context '{msgspec.json.encode(price('3.00')).decode()}'",
            ),
        ),
    )


def _at_the_door(stage: Stage) -> tuple[Suggestion, ...]:
    devices, started = stage.devices, stage.started
    host = started.device.removeprefix("https://")
    return (
        Suggestion(
            about="Who Till 1 is, as its certificate says it",
            command=_lines(
                f"openssl x509 -in {_path(devices.till.credentials.chain_file)} -noout",
                "-subject -dates -ext subjectAltName,extendedKeyUsage",
            ),
        ),
        Suggestion(
            about="The stolen Till 2 is hung up on",
            command=_lines(f"curl -sS {_as(devices.stolen)}", f"{started.device}/"),
            refused=True,
        ),
        Suggestion(
            about="Nobody gets in without a certificate",
            command=f"curl -sS --cacert {_path(started.ca_file)} {started.device}/",
            refused=True,
        ),
        Suggestion(
            about="The handshake of Till 1, spelled out",
            command=_lines(
                f"openssl s_client -brief -connect {host}",
                *_files(devices.till, "-CAfile", "-cert", "-key"),
                "</dev/null",
            ),
        ),
    )


def _in_the_office(stage: Stage) -> tuple[Suggestion, ...]:
    started = stage.started
    ca = _path(started.ca_file)
    mode = f"curl -sS -X PUT {_JSON} {started.wallet}/admin/mode"
    token = _lines(
        f"TOKEN=$(curl -s --cacert {ca}",
        f"-K {_path(stage.folder / 'client.curl')} -d grant_type=client_credentials",
        f"{started.public}/oauth2/token"
        """ | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')""",
    )
    listing = _lines(
        f"curl -sS --cacert {ca}",
        '-H "authorization: Bearer $TOKEN"',
        f"'{started.public}/v1/transactions?limit=3'",
    )
    return (
        Suggestion(
            about="What the back office sees: a token, then the last three transactions",
            command=f"{token}\n{listing}",
        ),
        Suggestion(
            about="What the wallet took; let it hang; let it work again",
            command=f"curl -sS {started.wallet}/charges\n"
            f'{mode} -d \'{{"mode":"hang"}}\'\n'
            f'{mode} -d \'{{"mode":"normal"}}\'',
        ),
        Suggestion(
            about="The event log itself (--follow waits for more)",
            command=_lines(
                f"LINK_DATA_DIR={_path(started.data_dir)} ./link-identity log tail",
                f"--tenant {stage.tenant_id}",
            ),
        ),
        Suggestion(
            about="Everything that can be called",
            command=f"curl -sS --cacert {ca} {started.public}/openapi.json",
        ),
    )


def _ask(stage: Stage, body: str) -> tuple[str, str, str]:
    return (
        f"{_JSON} {_NEW_KEY}",
        f"--data @{body}",
        f"{stage.started.device}/v1/device/transactions",
    )


def _lines(*parts: str) -> str:
    """One command over several lines, as a shell reads it."""
    return " \\\n    ".join(parts)


def _body(stage: Stage, name: str, look: Any, context: Any) -> str:
    path = stage.folder / "requests" / name
    write_private(path, transaction_body(look, context, None))
    return _path(path)


def _as(device: SimulatedDevice) -> str:
    return _lines(*_files(device, "--cacert", "--cert", "--key"))


def _files(device: SimulatedDevice, ca: str, certificate: str, key: str) -> tuple[str, ...]:
    held = device.credentials
    named = ((ca, held.ca_file), (certificate, held.chain_file), (key, held.key_file))
    return tuple(f"{option} {_path(file)}" for option, file in named)


def _path(path: Path) -> str:
    """As short as it can be where the person is, and safe to paste."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))

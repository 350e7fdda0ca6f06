"""The README's tour by hand works, and the auditor's: every block is pasted, in order."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from examples.demo.ports import USUAL, choose
from examples.demo.waiting import until

ROOT: Final = Path(__file__).parents[2]
BLOCK: Final = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SERVERS: Final = 3
"""The first blocks are for terminals of their own."""

BACK_OFFICE: Final = r"""
mkdir {folder}/demo
printf 'user = "%s:%s"\n' $(field client_id "$CLIENT") $(field client_secret "$CLIENT") \
    > {folder}/demo/client.curl
"""
"""What the demo leaves for the auditor's tour, made from the README's."""


@pytest.fixture
def folder() -> Generator[Path]:
    """A folder that PostgreSQL's own account can get to, with a short path for its socket."""
    made = Path(tempfile.mkdtemp(prefix="link-readme-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


def blocks(page: str, folder: Path, ports: dict[str, int]) -> list[str]:
    """A page's blocks, with this test's own folder, ports and interpreter in them."""
    found = BLOCK.findall((ROOT / page).read_text("utf-8"))
    changes = {
        ".link-identity/demo/platform": str(folder),
        "make serve": f"{sys.executable} -m interfaces serve",
        ".venv/bin/python": sys.executable,
        "./link-identity": f"{sys.executable} -m interfaces",
        ".link-identity": str(folder),
        **{str(USUAL[name]): str(port) for name, port in ports.items()},
    }
    # In one pass, so that what was put in is not changed again.
    pattern = re.compile("|".join(re.escape(text) for text in changes))
    return [pattern.sub(lambda match: changes[match[0]], block) for block in found]


def environment(folder: Path, ports: dict[str, int]) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("LINK_")}
    return {
        **inherited,
        "LINK_DATA_DIR": str(folder),
        "LINK_PUBLIC_PORT": str(ports["public"]),
        "LINK_DEVICE_PORT": str(ports["device"]),
        "LINK_PALM_VENDOR_URL": f"http://127.0.0.1:{ports['palm_server']}",
    }


@contextmanager
def in_a_terminal(command: str, env: dict[str, str]) -> Generator[None]:
    """A server that a person leaves running, ended with Ctrl-C."""
    with subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield
        finally:
            process.terminate()


async def listens(port: int) -> bool | None:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return None
    writer.close()
    await writer.wait_closed()
    return True


async def paste(script: str, env: dict[str, str]) -> tuple[int, str]:
    """Run it as one session of a shell that stops at the first thing that goes wrong."""
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-eu", "-o", "pipefail", "-c", script),
        cwd=ROOT,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(600):
        out, _ = await shell.communicate()
    assert shell.returncode is not None
    return shell.returncode, out.decode()


async def test_the_tour_by_hand_ends_with_one_payment_and_a_revoked_till(folder: Path) -> None:
    """Every block is used, so a block that is added to the README is tried too."""
    ports = choose(prefer_usual=False)
    env = environment(folder, ports)
    first, *rest = blocks("README.md", folder, ports)
    servers, tour = [first, *rest[: SERVERS - 1]], rest[SERVERS - 1 :]
    with ExitStack() as terminals:
        for name, command in zip(("public", "palm_server", "wallet"), servers, strict=True):
            terminals.enter_context(in_a_terminal(command, env))
            await until(f"{name} listens", partial(listens, ports[name]), 60)
        code, said = await paste("".join([*tour, BACK_OFFICE.format(folder=folder)]), env)
        audited, heard = await paste("".join(blocks("docs/auditing.md", folder, ports)), env)
    assert code == 0, said
    assert "urn:link-identity:problem:" not in said
    paid = re.findall(r'\{"transaction_id":"txn_[^}]*\}', said)
    assert len(paid) == 2, said
    assert paid[0] == paid[1]
    assert '"decision":"allow"' in paid[0]
    assert said.count('{"reference_id":"wal_') == 1, "one charge in the wallet"
    assert '"name": "transaction.allowed"' in said
    assert '"reason": ' not in said
    assert re.search(r"^reason +leaf_changed$", said, re.MULTILINE), "the altered leaf is found"
    assert said.count("found, as it should be") == 1
    assert re.search(r"^compared +[1-9]", said, re.MULTILINE), "the replay compared something"
    assert said.endswith("refused, as it should be\n")
    assert "URI:spiffe://link.localhost/tenant/ten_" in said
    assert audited == 0, heard
    assert heard.count("refused, as it should be") == 1
    assert re.search(r"^reason +leaf_changed$", heard, re.MULTILINE), "the altered byte is found"
    assert re.search(r"^steps +5$", heard, re.MULTILINE), "the certificate holds"
    assert len(re.findall(r"^compared +[1-9]", heard, re.MULTILINE)) == 2, "replayed, and again"
    assert heard.rstrip().endswith('"template_deletion_by_vendor"]}}}'), "the event that is proved"

"""A page of the documentation is pasted into a shell, block by block, as a reader would."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from examples.demo.ports import USUAL

ROOT: Final = Path(__file__).parents[2]
BLOCK: Final = re.compile(r"^ *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@contextmanager
def own_folder() -> Generator[Path]:
    """A folder that PostgreSQL's own account can get to, with a short path for its socket."""
    made = Path(tempfile.mkdtemp(prefix="link-pasted-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


def blocks(
    page: str, folder: Path, ports: Mapping[str, int], usual: Mapping[str, int] = USUAL
) -> list[str]:
    """A page's blocks, with this test's own folder, ports and interpreter in them."""
    found = BLOCK.findall((ROOT / page).read_text("utf-8"))
    changes = {
        ".link-identity/demo/platform": str(folder),
        "make serve": f"{sys.executable} -m interfaces serve",
        ".venv/bin/python": sys.executable,
        "./link-identity": f"{sys.executable} -m interfaces",
        ".link-identity": str(folder),
        **{str(usual[name]): str(port) for name, port in ports.items()},
    }
    # In one pass, so that what was put in is not changed again.
    pattern = re.compile("|".join(re.escape(text) for text in changes))
    return [pattern.sub(lambda match: changes[match[0]], block) for block in found]


def environment(folder: Path, ports: Mapping[str, int]) -> dict[str, str]:
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
        ["bash", "-c", f"exec env {command}"],
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

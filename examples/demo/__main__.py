"""`python -m examples.demo [--once] [--json]`: start everything, show it, stay up until Ctrl-C.

Exit codes: 0 when every step came out as said, 1 when one did not, 2 when the demo could not be
set up, 130 when it was interrupted before its end.
"""

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import httpx
import msgspec

from examples.demo.children import ChildFailed, Children, FolderInUse
from examples.demo.ports import NoFreePort, choose
from examples.demo.scenes import SCENES, enrolment, played
from examples.demo.screen import Screen
from examples.demo.servers import Started, start
from examples.demo.stage import GUESTS, TENANT, Stage, set_up
from examples.demo.step import Step
from examples.demo.waiting import NeverHappened
from examples.demo.what_next import Suggestion, suggestions
from examples.device_simulator import Refused

CANNOT_SET_UP: Final = (
    ChildFailed,
    FolderInUse,
    NeverHappened,
    NoFreePort,
    Refused,
    httpx.HTTPError,
    OSError,
)


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asked for."""

    once: bool
    json: bool
    folder: Path
    any_ports: bool


def given() -> Given:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the scenes")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(".link-identity/demo"),
        help="everything that the demo keeps (default: .link-identity/demo)",
    )
    parser.add_argument(
        "--any-ports", action="store_true", help="any free ports, not the usual ones first"
    )
    chosen = parser.parse_args()
    return Given(
        once=chosen.once,
        json=chosen.json,
        folder=chosen.folder.absolute(),
        any_ports=chosen.any_ports,
    )


class Demo:
    """One run of the demo. `ok` once every step came out as said."""

    def __init__(self, asked: Given, screen: Screen) -> None:
        self._asked = asked
        self._screen = screen
        self._began = time.perf_counter()
        self.steps: list[Step] = []
        self.shown = False

    @property
    def ok(self) -> bool:
        return self.shown and all(step.ok for step in self.steps)

    async def run(self) -> None:
        """Raises what CANNOT_SET_UP names, and CancelledError when it is interrupted."""
        self._screen.title()
        async with AsyncExitStack() as stack:
            children = await stack.enter_async_context(Children(self._asked.folder))
            started = await self._start(children)
            stage = await self._set_up(started, stack)
            await self._play(stage)
            self._screen.verdict(self.steps, time.perf_counter() - self._began)
            to_try = () if self._asked.once else suggestions(stage)
            self.shown = True
            if self._asked.json:
                self._print_json(to_try)
            if not self._asked.once:
                self._screen.suggest(to_try)
                await asyncio.get_running_loop().create_future()
            self._screen.say("Stopping ...")

    async def _start(self, children: Children) -> Started:
        began = time.perf_counter()
        with self._screen.working("Starting PostgreSQL, the platform and its neighbours ..."):
            ports = choose(prefer_usual=not self._asked.any_ports)
            started = await start(children, self._asked.folder, ports)
        public, device = (url.removeprefix("https://") for url in (started.public, started.device))
        listening = f"{public}, for devices {device}"
        self._screen.ready("platform", listening, time.perf_counter() - began)
        self._screen.ready("palm server", f"{started.palm_server}, really matches palms")
        self._screen.ready("wallet", f"{started.wallet}, pays if there is money")
        self._screen.ready("access", f"{started.access}, opens gates for those who may pass")
        return started

    async def _set_up(self, started: Started, stack: AsyncExitStack) -> Stage:
        began = time.perf_counter()
        with self._screen.working("Creating a tenant, pairing its devices ..."):
            stage = await set_up(started, self._asked.folder, stack)
        about = "2 products, 4 devices paired with keys of their own"
        self._screen.ready(f"tenant {TENANT}", about, time.perf_counter() - began)
        return stage

    async def _play(self, stage: Stage) -> None:
        self._screen.chapter("Three people enrol at a kiosk")
        for guest in GUESTS:
            step = await played(stage, enrolment(guest))
            self.steps.append(step)
            self._screen.enrolled(step)
        self._screen.log_of(self.steps[-1])
        self._screen.chapter("At tills and gates")
        for scene in SCENES:
            with self._screen.working(scene.story):
                step = await played(stage, scene)
            self.steps.append(step)
            self._screen.played(step)

    def _print_json(self, to_try: Sequence[Suggestion]) -> None:
        said = {
            "ok": self.ok,
            "seconds": round(time.perf_counter() - self._began, 1),
            "steps": [step.to_json() for step in self.steps],
        }
        if to_try:
            said["try"] = msgspec.to_builtins(to_try)
        print(json.dumps(said), flush=True)


async def interruptible(demo: Demo) -> None:
    """Run until done; SIGINT and SIGTERM stop the demo in order, a second one changes nothing."""
    running = asyncio.ensure_future(demo.run())
    loop = asyncio.get_running_loop()
    asked_to_stop = False

    def stop() -> None:
        nonlocal asked_to_stop
        if not asked_to_stop:
            asked_to_stop = True
            running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await running


def main() -> int:
    asked = given()
    screen = Screen(stderr=asked.json)
    demo = Demo(asked, screen)
    try:
        asyncio.run(interruptible(demo))
    except asyncio.CancelledError:
        if not demo.shown:
            screen.trouble("Interrupted; everything is stopped.")
            return 130
        screen.say("Everything is stopped.")
    except CANNOT_SET_UP as error:
        screen.trouble(f"The demo could not be set up: {error}")
        return 2
    return 0 if demo.ok else 1


if __name__ == "__main__":
    sys.exit(main())

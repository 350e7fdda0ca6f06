"""The transparency log as a process has it: settings, keys, keeper and witnesses together."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from domain.transparency.note import read_note, read_vkey
from domain.transparency.origin import PLATFORM_LOG
from domain.transparency.proof import open_checkpoint
from examples.palm_server.serving import serving
from examples.witness.memory import Memory
from examples.witness.server import WitnessServer
from examples.witness.witness import Witness
from infrastructure.keys.key_store import KeyStore
from infrastructure.keys.keyring import Keyring
from infrastructure.transparency.ed25519 import NoteSigner, verify
from interfaces.settings import Settings
from interfaces.transparency import Transparency, transparency
from tests.infrastructure.event_log.notes import A
from tests.infrastructure.transparency.stage import stage_on

PATIENCE_S = 60.0


async def final_size(log: Transparency) -> int:
    found = await log.logs.checkpoint(A, final=True)
    return 0 if found is None else found.size


async def test_a_configured_witness_makes_checkpoints_final(database: str, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(stage_on(database))
        keys = KeyStore(stage.app, Keyring(bytes(32)))

        async def process(environment: dict[str, str]) -> Transparency:
            settings = Settings.from_environment(environment)
            return await transparency(
                settings, database, stage.app, stage.projector, keys, stack.push_async_callback
            )

        without = await process({})
        platform_key = read_vkey(without.logs.identity(PLATFORM_LOG).vkey)
        assert platform_key.name == "localhost:8443/platform"
        memory = Memory(tmp_path / "seen.sqlite")
        stack.callback(memory.close)
        witness = Witness("witness.example/w1", NoteSigner(bytes(32)), [platform_key], memory)
        url = await stack.enter_async_context(serving(WitnessServer(witness)))
        log = await process({"LINK_WITNESSES": f"{witness.verifier_key.vkey()} {url}"})
        identity = log.logs.identity(A)
        assert (identity.witnesses, identity.witnesses_required) == (
            (witness.verifier_key.vkey(),),
            1,
        )
        await stage.append(7)
        async with log.keeper, asyncio.timeout(PATIENCE_S):
            while await final_size(log) < 7:  # noqa: ASYNC110 - it comes about in the database
                await asyncio.sleep(0.05)
        found = await log.logs.checkpoint(A, final=True)
        assert found is not None
        checkpoint = open_checkpoint(
            read_note(found.note), read_vkey(identity.vkey), verify, [witness.verifier_key], 1
        )
        assert checkpoint.root == stage.root()

"""Cosigning: final only with enough witnesses, and never two histories for one of them."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from domain.transparency.note import COSIGNATURE_V1, VerifierKey, read_note
from domain.transparency.origin import origin_of
from domain.transparency.proof import check_proof, open_checkpoint, read_proof
from examples.palm_server.serving import serving
from examples.witness.memory import Memory
from examples.witness.server import WitnessServer
from examples.witness.witness import Witness as ReferenceWitness
from infrastructure.outbound.client import OutboundClient
from infrastructure.outbound.egress import EgressGuard, SystemResolver
from infrastructure.outbound.http_exchange import Answer, OutboundFailed
from infrastructure.transparency.ed25519 import NoteSigner, verify
from infrastructure.transparency.signer import CheckpointSigner
from infrastructure.transparency.witnesses import Cosigner, Witness
from tests.infrastructure.event_log.notes import A, B
from tests.infrastructure.transparency.stage import KEY, PREFIX, Stage

PLATFORM_KEY = VerifierKey(f"{PREFIX}/platform", KEY.public_key)


class Ring:
    """Three reference witnesses on loopback, and a client to reach them."""

    def __init__(
        self, http: OutboundClient, witnesses: list[Witness], memories: list[Memory]
    ) -> None:
        self.http = http
        self.witnesses = witnesses
        self.memories = memories

    @property
    def keys(self) -> list[VerifierKey]:
        return [witness.key for witness in self.witnesses]

    def cosigner(self, stage: Stage, required: int) -> Cosigner:
        return Cosigner(stage.projector, self.http, self.witnesses, required=required)


@asynccontextmanager
async def ring(folder: Path, count: int = 3) -> AsyncGenerator[Ring]:
    async with AsyncExitStack() as stack:
        witnesses: list[Witness] = []
        memories: list[Memory] = []
        for number in range(count):
            memory = Memory(folder / f"w{number}.sqlite")
            stack.callback(memory.close)
            found = ReferenceWitness(
                f"witness.example/w{number}",
                NoteSigner(bytes([number] * 32)),
                [PLATFORM_KEY],
                memory,
            )
            url = await stack.enter_async_context(serving(WitnessServer(found)))
            witnesses.append(Witness(key=found.verifier_key, url=url))
            memories.append(memory)
        http = OutboundClient(EgressGuard((), True, SystemResolver()))
        stack.push_async_callback(http.close)
        yield Ring(http, witnesses, memories)


def strict(stage: Stage) -> Stage:
    """Nothing is final without witnesses."""
    stage.signer = CheckpointSigner(KEY, PREFIX, final_at_once=False)
    return stage


async def final_size(stage: Stage) -> int:
    found = await stage.reads.checkpoint(A, final=True)
    return 0 if found is None else found.size


async def test_what_enough_witnesses_cosigned_is_final(stage: Stage, tmp_path: Path) -> None:
    strict(stage)
    async with ring(tmp_path) as around:
        cosigner = around.cosigner(stage, 2)
        for count in (1, 300, 1):
            await stage.append(count)
            await stage.append(2, tenant_id=B)
            await stage.sign()
            assert await final_size(stage) < 302
            assert await cosigner.round() == 2
            assert await cosigner.round() == 0
        found = await stage.reads.checkpoint(A)
        assert found is not None
        assert (found.size, found.final) == (302, True)
        key = stage.key()
        open_checkpoint(read_note(found.note), key, verify, around.keys, 3)
        text = await stage.reads.proof(A, 17)
        assert text is not None
        check_proof(
            read_proof(text),
            stage.leaves()[17],
            key,
            verify,
            witnesses=around.keys,
            witnesses_required=3,
        )


async def test_too_few_cosignatures_are_not_final(stage: Stage, tmp_path: Path) -> None:
    strict(stage)
    await stage.append(3)
    await stage.sign()
    async with ring(tmp_path, count=2) as around:
        away = Witness(
            key=VerifierKey("witness.example/away", bytes(32), COSIGNATURE_V1),
            url="http://127.0.0.1:9",
        )
        around.witnesses.append(away)
        assert await around.cosigner(stage, 3).round() == 0
        assert await final_size(stage) == 0
        newest = await stage.reads.checkpoint(A)
        assert newest is not None
        assert not newest.final
        assert await around.cosigner(stage, 2).round() == 1
    assert await final_size(stage) == 3


async def test_a_witness_that_has_seen_more_than_we_remember(stage: Stage, tmp_path: Path) -> None:
    """What we noted of the witnesses is lost: they say themselves how far they are."""
    strict(stage)
    await stage.append(10)
    await stage.sign()
    async with ring(tmp_path) as around:
        assert await around.cosigner(stage, 3).round() == 1
        stage.admin("DELETE FROM transparency_witnesses")
        await stage.append(10)
        await stage.sign()
        assert await around.cosigner(stage, 3).round() == 1


async def test_a_split_view_gets_no_cosignature(stage: Stage, tmp_path: Path) -> None:
    """The platform, with its real key, signs another history for somebody else: the tenant's log
    is wiped from the database by its owner and written anew. No witness goes along."""
    strict(stage)
    async with ring(tmp_path) as around:
        await stage.append(20)
        await stage.sign()
        assert await around.cosigner(stage, 1).round() == 1
        for statement in (
            "ALTER TABLE transparency_checkpoints DISABLE TRIGGER ALL",
            "DELETE FROM transparency_checkpoints",
            "DELETE FROM transparency_tiles",
            "DELETE FROM transparency_trees",
            "UPDATE transparency_position SET position = 0",
            "ALTER TABLE events DISABLE TRIGGER ALL",
            'UPDATE events SET payload = \'{"v":1,"data":{"text":"other"}}\' WHERE position = 7',
        ):
            stage.admin(statement)
        for count in (0, 5):
            if count:
                await stage.append(count)
            assert await stage.sign() == 1
            assert await around.cosigner(stage, 1).round() == 0
        for memory in around.memories:
            assert memory.seen(origin_of(PREFIX, A))[0] == 20
        assert await final_size(stage) == 0


async def test_a_log_that_was_rolled_back_gets_no_cosignature(stage: Stage, tmp_path: Path) -> None:
    strict(stage)
    async with ring(tmp_path) as around:
        await stage.append(20)
        await stage.sign()
        assert await around.cosigner(stage, 1).round() == 1
        for statement in (
            "ALTER TABLE transparency_checkpoints DISABLE TRIGGER ALL",
            "DELETE FROM transparency_checkpoints",
            "DELETE FROM transparency_tiles",
            "DELETE FROM transparency_trees",
            "UPDATE transparency_position SET position = 0",
            "ALTER TABLE events DISABLE TRIGGER ALL",
            "DELETE FROM events WHERE position > 15",
        ):
            stage.admin(statement)
        assert await stage.sign() == 1
        assert await around.cosigner(stage, 1).round() == 0
        assert await final_size(stage) == 0


class Scripted:
    """A requester whose witnesses answer what they are told to."""

    def __init__(self, answers: list[Answer | OutboundFailed]) -> None:
        self._answers = answers
        self.asked = 0

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        deadline_s: float,
        max_bytes: int,
    ) -> Answer:
        del method, url, headers, body, deadline_s, max_bytes
        self.asked += 1
        answer = self._answers.pop(0)
        if isinstance(answer, OutboundFailed):
            raise answer
        return answer


async def test_answers_that_are_no_cosignature(stage: Stage, tmp_path: Path) -> None:
    strict(stage)
    await stage.append(3)
    await stage.sign()
    witness = Witness(
        key=VerifierKey("witness.example/w", NoteSigner(bytes(32)).public_key, COSIGNATURE_V1),
        url="http://witness",
    )
    signed = await stage.reads.checkpoint(A)
    assert signed is not None
    own_line = signed.note.partition("\n\n")[2].encode()
    for answers in (
        [Answer(status=200, headers={}, body=b"")],
        [Answer(status=200, headers={}, body=b"\xff\n")],
        [Answer(status=200, headers={}, body=own_line)],
        [Answer(status=200, headers={}, body="— witness.example/w AAAAAAAAAAA=\n".encode())],
        [Answer(status=422, headers={}, body=b"")],
        [Answer(status=409, headers={}, body=b"")],
        [Answer(status=409, headers={}, body=b"4\n")],
        [Answer(status=409, headers={}, body=b"-1\n")],
        [Answer(status=409, headers={}, body=b"0\n")],
        [Answer(status=409, headers={}, body=b"2\n"), Answer(status=409, headers={}, body=b"1\n")],
        [OutboundFailed("timeout", True, "too late")],
    ):
        count = len(answers)
        http = Scripted([*answers])
        assert await Cosigner(stage.projector, http, [witness], required=1).round() == 0
        assert http.asked == count
    assert await final_size(stage) == 0


async def test_logs_that_nobody_cosigns_keep_no_other_waiting(stage: Stage) -> None:
    """Seen to fail when every round begins with the same logs."""
    strict(stage)
    await stage.append(1)
    await stage.append(1, tenant_id=B)
    await stage.sign()
    asked: list[bytes] = []

    class Refuses:
        async def request(
            self,
            method: str,
            url: str,
            *,
            headers: Mapping[str, str],
            body: bytes,
            deadline_s: float,
            max_bytes: int,
        ) -> Answer:
            del method, url, headers, deadline_s, max_bytes
            asked.append(body)
            return Answer(status=403, headers={}, body=b"")

    witness = Witness(
        key=VerifierKey("witness.example/w", NoteSigner(bytes(32)).public_key, COSIGNATURE_V1),
        url="http://witness",
    )
    cosigner = Cosigner(stage.projector, Refuses(), [witness], required=1, logs_max=1)
    for _ in range(5):
        assert await cosigner.round() == 0
    for tenant_id in (A, B):
        origin = origin_of(PREFIX, tenant_id).encode()
        assert any(origin in body for body in asked), tenant_id

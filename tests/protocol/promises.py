"""What holds in every history, at every moment and at its end."""

import msgspec

from application.ports import CommitFailed, StaleStream
from application.transactions.product_texts import worded
from domain import transaction as x
from domain.errors import Refusal
from domain.folding import UnexpectedEvent
from tests.protocol.scene import Scene

ONE_EFFECT = "one effect per key"
NO_UNCOMMITTED_ALLOW = "no allow is shown that is not committed"
ONE_DECISION = "a transaction is decided once"
INTENT_FIRST = "the intent is durable before the call"
ONE_PERSON = "one key and one person over all calls"
ONE_ANSWER = "the answer is what the log says, for ever"
SHOWN_STAYS = "an allow that was shown stays"
ONE_STORY = "the log tells one story"
NO_STUMBLE = "no process fails for a reason of its own"
NO_ORPHAN = "no allow stays that nobody saw"
NOT_STUCK = "no transaction stays undecided"
VOIDS_SETTLED = "every void is settled"


class Broken(AssertionError):
    """A promise that does not hold in this history."""

    def __init__(self, promise: str, what: object = "") -> None:
        self.promise = promise
        super().__init__(f"{promise}: {what}")


async def check(scene: Scene) -> None:
    """Raises Broken for what no moment of any history may show."""
    events = [each.event for each in await scene.story()]
    decisions = [each for each in events if isinstance(each, x.Decision)]
    allowed = any(isinstance(each, x.TransactionAllowed) for each in decisions[:1])
    if scene.product.effects > 1:
        raise Broken(ONE_EFFECT, scene.product.effects)
    if scene.shown == "allow" and not allowed:
        raise Broken(NO_UNCOMMITTED_ALLOW, decisions)
    if len(decisions) > 1:
        raise Broken(ONE_DECISION, decisions)
    try:
        x.rebuild(await scene.story())
    except UnexpectedEvent as error:
        raise Broken(ONE_STORY, [each.NAME for each in events]) from error
    for worker in scene.workers.all:
        if not isinstance(worker.refused, Refusal | CommitFailed | StaleStream | None):
            raise Broken(NO_STUMBLE, worker.name) from worker.refused
    calls = scene.product.messages
    intents = {each.jti for each in events if isinstance(each, x.TransactionAuthorizationRequested)}
    if not {each.jti for each in calls if each.kind == "authorize"} <= intents:
        raise Broken(INTENT_FIRST)
    if len({(each.key, each.user_id) for each in calls}) > 1:
        raise Broken(ONE_PERSON, [(each.key, each.user_id) for each in calls])
    if len(scene.answers) > 1:
        raise Broken(ONE_ANSWER, scene.answers)


async def check_end(scene: Scene) -> None:
    """Raises Broken for what must not be left when nothing can happen any more."""
    await check(scene)
    state = x.rebuild(await scene.story())
    stands = set(scene.product.stands.values())
    if scene.shown == "allow" and stands != {"allowed"}:
        raise Broken(SHOWN_STAYS, stands)
    if scene.shown != "allow" and "allowed" in stands:
        raise Broken(NO_ORPHAN, stands)
    if state is None:
        assert not scene.answers, "who answers has written it down"
        return
    if state.intent is not None and state.decision is None:
        raise Broken(NOT_STUCK)
    if state.void in ("owed", "failed"):
        raise Broken(VOIDS_SETTLED, state.void)
    told = await worded(scene.texts, state)
    if scene.answers and scene.answers != {msgspec.json.encode(x.answer(told))}:
        raise Broken(ONE_ANSWER, scene.answers)

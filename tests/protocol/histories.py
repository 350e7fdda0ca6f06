"""One history for each rule of the protocol: in it, that rule is what keeps the promises.

With the rule all promises hold in it; without, the named ones break, every time.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from tests.chaos.planted import AnswersBeforeCommit, CallsBeforeIntent, FreshProductKey
from tests.protocol import promises as p
from tests.protocol.drain import drain, finish
from tests.protocol.machine import LEASE_S
from tests.protocol.parties import Message
from tests.protocol.scene import Plant, Scene


async def a_paused_worker_wakes_up_too_late(scene: Scene) -> None:
    slept_over = await _asked(scene)
    scene.time_passes(LEASE_S)
    await _allowed(scene, await _asked(scene))
    scene.device_hears()
    await scene.call_breaks(slept_over, "authorize_timeout")
    await finish(scene)


async def the_product_is_slower_than_its_time_out(scene: Scene) -> None:
    late = await _asked(scene)
    await scene.call_breaks(late, "authorize_timeout")
    await finish(scene)
    scene.product.hear(late)
    scene.device_hears()


async def everybody_leaves_after_the_charge(scene: Scene) -> None:
    charged = await _asked(scene)
    scene.product.hear(charged)
    await _die(scene)
    scene.gave_up = True


async def the_request_arrives_after_its_void(scene: Scene) -> None:
    await _asked(scene)
    await _die(scene)
    scene.gave_up = True


async def the_answer_is_lost_on_its_way(scene: Scene) -> None:
    await _allowed(scene, await _asked(scene))
    scene.listening = None
    scene.gave_up = True


async def the_device_hears_as_early_as_it_can(scene: Scene) -> None:
    asked = await _asked(scene)
    scene.product.hear(asked)
    await scene.product_answers(asked)
    while scene.answer is None:
        await scene.workers.go_on(scene.workers.stopped[0])
    scene.device_hears()


async def the_device_comes_back_after_a_death(scene: Scene) -> None:
    charged = await _asked(scene)
    scene.product.hear(charged)
    await _die(scene)
    scene.time_passes(LEASE_S)
    await _allowed(scene, await _asked(scene))
    scene.device_hears()


async def _asked(scene: Scene) -> Message:
    """The device asks, and its request is on its way to the product."""
    before = len(scene.product.messages)
    await scene.device_asks()
    assert scene.listening is not None
    while scene.listening.stops:
        await scene.workers.go_on(scene.listening)
    await p.check(scene)
    assert len(scene.product.messages) == before + 1
    return scene.product.messages[-1]


async def _allowed(scene: Scene, message: Message) -> None:
    scene.product.hear(message)
    await scene.product_answers(message)
    assert scene.listening is not None
    while scene.listening.stops:
        await scene.workers.go_on(scene.listening)


async def _die(scene: Scene) -> None:
    for worker in scene.workers.running:
        await scene.workers.kill(worker)


History = Callable[[Scene], Awaitable[None]]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of the protocol: how it is switched off, where it counts, what breaks without it."""

    off: Plant
    counts_in: History
    breaks: tuple[str, ...]


RULES: Final[Mapping[str, Rule]] = {
    "fence": Rule(
        off=Plant(fenced=False),
        counts_in=a_paused_worker_wakes_up_too_late,
        breaks=(p.ONE_DECISION, p.NO_UNCOMMITTED_ALLOW, p.ONE_STORY, p.ONE_ANSWER, p.NO_STUMBLE),
    ),
    "void after a time-out": Rule(
        off=Plant(owes_no_void="broker"),
        counts_in=the_product_is_slower_than_its_time_out,
        breaks=(p.NO_ORPHAN,),
    ),
    "void from the sweeper": Rule(
        off=Plant(owes_no_void="sweeper"),
        counts_in=everybody_leaves_after_the_charge,
        breaks=(p.NO_ORPHAN,),
    ),
    "tombstone": Rule(
        off=Plant(tombstones=False),
        counts_in=the_request_arrives_after_its_void,
        breaks=(p.NO_ORPHAN, p.ONE_EFFECT),
    ),
    "sweeper": Rule(
        off=Plant(sweeps=False),
        counts_in=everybody_leaves_after_the_charge,
        breaks=(p.NO_ORPHAN, p.NOT_STUCK),
    ),
    "journal": Rule(
        off=Plant(journals=False),
        counts_in=the_answer_is_lost_on_its_way,
        breaks=(p.NO_ORPHAN,),
    ),
    "commit before answer": Rule(
        off=Plant(decisions=AnswersBeforeCommit),
        counts_in=the_device_hears_as_early_as_it_can,
        breaks=(p.NO_UNCOMMITTED_ALLOW, p.ONE_ANSWER),
    ),
    "idempotent product": Rule(
        off=Plant(idempotent=False),
        counts_in=the_device_comes_back_after_a_death,
        breaks=(p.ONE_EFFECT,),
    ),
    "intent before call": Rule(
        off=Plant(decisions=CallsBeforeIntent),
        counts_in=everybody_leaves_after_the_charge,
        breaks=(p.INTENT_FIRST,),
    ),
    "stable product key": Rule(
        off=Plant(take_overs=FreshProductKey),
        counts_in=the_device_comes_back_after_a_death,
        breaks=(p.ONE_PERSON,),
    ),
}
"""The eight of the model, and two that it takes for granted."""


async def tell(scene: Scene, history: History) -> None:
    """The history and its end. Raises Broken for a promise that does not hold in it."""
    try:
        await history(scene)
        await p.check(scene)
        await drain(scene, late_first=False)
        await p.check_end(scene)
    finally:
        await scene.workers.kill_all()

"""The end of every history: what is still to happen happens, without another fault."""

from typing import Final

from tests.protocol.scene import Scene

ROUNDS_MAX: Final = 300
LONG_S: Final = 30.0
"""Beyond every lease and grace."""


async def drain(scene: Scene, *, late_first: bool) -> None:
    """Until nothing is left. What the dead had sent arrives at once, or after everything else."""
    for message in scene.messages(on_its_way=True, awaited=True):
        scene.product.hear(message)
    if late_first:
        _arrive(scene)
    await finish(scene)
    if scene.device_waits and scene.answer is not None:
        scene.device_hears()
    scene.gave_up = scene.gave_up or scene.shown == "nothing"
    # Twice: what arrives after the voids must not undo them.
    for _ in range(2):
        scene.time_passes(LONG_S)
        await scene.sweep()
        await finish(scene)
        if not scene.journaled:
            await scene.device_journals()
            await finish(scene)
        await scene.deliver_voids()
        await finish(scene)
        _arrive(scene)


def _arrive(scene: Scene) -> None:
    for message in scene.messages(on_its_way=True):
        scene.product.hear(message)


async def finish(scene: Scene) -> None:
    """Everybody who is at something comes to its end, and has an answer to every call."""
    for _ in range(ROUNDS_MAX):
        waiting = scene.messages(awaited=True)
        if scene.workers.stopped:
            await scene.workers.go_on(scene.workers.stopped[0])
        elif waiting and waiting[0].lost:
            await scene.call_breaks(waiting[0], "authorize_timeout")
        elif waiting:
            if waiting[0].said is None:
                scene.product.hear(waiting[0])
            await scene.product_answers(waiting[0])
        else:
            return
    raise AssertionError("somebody is at it for ever")

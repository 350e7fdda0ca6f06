"""The scenes of the demo: each plays one thing for real and checks it against its promise."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import httpx
import msgspec

from examples.demo.back_office import TIMEOUT_MS, TransactionSeen
from examples.demo.stage import AISHA, LENA, OMAR, STRANGER, Guest, NotEnrolled, Stage, price
from examples.demo.step import Check, Decision, Step, failed
from examples.demo.waiting import NeverHappened
from examples.device_simulator import (
    ConnectionRefused,
    NoCode,
    Refused,
    SimulatedDevice,
    TransactionAnswer,
)
from examples.device_simulator.device import new_key
from examples.device_simulator.forgery import forge

LATE_MS: Final = 1_500
"""The till's customer has an answer by then though the wallet hangs: its time-out, and change."""
REVOKED_WITHIN_MS: Final = 1_000
RELAYED: Final = "transaction.relayed"
VOIDED: Final = "transaction.voided"
ASKED: Final = (
    "transaction.received",
    "transaction.identified",
    "transaction.authorization_requested",
)

Play = Callable[[Stage, "Scene"], Awaitable[Step]]

CANNOT_PLAY: Final = (
    Refused,
    ConnectionRefused,
    NoCode,
    NotEnrolled,
    NeverHappened,
    httpx.HTTPError,
    OSError,
)


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What is about to be shown, in words for the person who watches."""

    name: str
    title: str
    story: str
    play: Play


async def played(stage: Stage, scene: Scene) -> Step:
    """Play a scene; one that breaks is a step that did not come out as said."""
    try:
        return await scene.play(stage, scene)
    except CANNOT_PLAY as error:
        return failed(scene.name, scene.title, scene.story, error)


def enrolment(guest: Guest) -> Scene:
    async def play(stage: Stage, scene: Scene) -> Step:
        kiosk = stage.devices.kiosk
        started = time.perf_counter()
        person = await kiosk.sign_up(guest.mobile, stage.codes)
        look = stage.look_at(guest.palm)
        palm_ref = await kiosk.enroll(person.user_id, look, guest.palm.hand)
        waited = _ms_since(started)
        stage.user_ids[guest.name] = person.user_id
        events = await stage.back_office.events("user.palm_added", person.user_id, palm_ref)
        promised = (
            "user.signed_up", "user.consent_granted",
            "enrollment.started", "enrollment.completed", "user.palm_added",
        )  # fmt: skip
        return Step(
            name=scene.name,
            title=scene.title,
            story=scene.story,
            decision="enrolled",
            reason=None,
            milliseconds=waited,
            display=f"Thank you, {guest.name}",
            events=events,
            checks=(Check("a new person", True, person.is_new), Check("events", promised, events)),
        )

    hand = guest.palm.hand
    return Scene(
        name=f"enrol_{guest.name.lower()}",
        title=guest.name,
        story=f"{guest.mobile}, code, consent, {hand} palm",
        play=play,
    )


async def allow_at_a_till(stage: Stage, scene: Scene) -> Step:
    answer = await stage.devices.till.transact(stage.look_at(AISHA.palm), price("42.50"))
    charges = await stage.charges_of(answer.transaction_id)
    return await _told(
        stage, scene, answer, "allow", None, (*ASKED, "transaction.allowed", RELAYED),
        Check("charges in the wallet", 1, charges),
        Check("on the display", "Approved · SAR 42.50", answer.display_message),
    )  # fmt: skip


async def deny_for_balance(stage: Stage, scene: Scene) -> Step:
    answer = await stage.devices.till.transact(stage.look_at(OMAR.palm), price("250.00"))
    charges = await stage.charges_of(answer.transaction_id)
    return await _told(
        stage, scene, answer, "deny", "insufficient_balance",
        (*ASKED, "transaction.denied", RELAYED),
        Check("charges in the wallet", 0, charges),
    )  # fmt: skip


async def unknown_palm(stage: Stage, scene: Scene) -> Step:
    answer = await stage.devices.till.transact(stage.look_at(STRANGER), price("5.00"))
    return await _told(
        stage, scene, answer, "not_recognized", "no_candidate",
        ("transaction.received", "transaction.not_recognized", RELAYED),
    )  # fmt: skip


async def product_hangs(stage: Stage, scene: Scene) -> Step:
    await stage.switch_wallet("hang")
    try:
        answer = await stage.devices.till.transact(stage.look_at(AISHA.palm), price("10.00"))
    finally:
        await stage.switch_wallet("normal")
    seen = await stage.back_office.transaction(answer.transaction_id)
    step = await _told(
        stage, scene, answer, "deny", "authorize_timeout",
        (*ASKED, "transaction.failed_closed", RELAYED, VOIDED),
        Check("a void was needed", True, seen.void_needed),
        Check("charges in the wallet", 0, await stage.charges_of(answer.transaction_id)),
        Check(f"answered within {LATE_MS} ms", True, answer.milliseconds <= LATE_MS),
    )  # fmt: skip
    note = "nobody saw a yes, so it is undone at the wallet as soon as that answers again"
    return msgspec.structs.replace(step, notes=(note,))


async def gate_opens(stage: Stage, scene: Scene) -> Step:
    await stage.let_through(LENA, "north")
    answer = await stage.devices.gate.transact(stage.look_at(LENA.palm), {"gate": "north"})
    return await _told(
        stage, scene, answer, "allow", None, (*ASKED, "transaction.allowed", RELAYED),
        Check("on the display", "Welcome", answer.display_message),
    )  # fmt: skip


async def retry_charges_once(stage: Stage, scene: Scene) -> Step:
    till, look, key = stage.devices.till, stage.look_at(AISHA.palm), new_key()
    lost = await till.transact(look, price("12.00"), key)
    answer = await till.transact(look, price("12.00"), key)
    charges = await stage.charges_of(answer.transaction_id)
    same = answer.body == lost.body
    step = await _told(
        stage, scene, answer, "allow", None, (*ASKED, "transaction.allowed", RELAYED),
        Check("the same answer, byte for byte", True, same),
        Check("marked as a repeat", (False, True), (lost.replayed, answer.replayed)),
        Check("charges in the wallet", 1, charges),
    )  # fmt: skip
    note = f"both answers: the same {len(answer.body)} bytes; charges in the wallet: {charges}"
    return msgspec.structs.replace(step, notes=(note,), took="replayed from the log")


async def revoked_device_refused(stage: Stage, scene: Scene) -> Step:
    stolen = stage.devices.stolen
    held = await stolen.connect()
    started = time.perf_counter()
    dropping = asyncio.create_task(_moment_of(held.ended()))
    try:
        await stage.back_office.revoke_device(stolen.id, "stolen")
        alert = await _refusal(stolen)
        refused_ms = _ms_since(started)
        async with asyncio.timeout(10):
            dropped_ms = (await dropping - started) * 1000
    finally:
        dropping.cancel()
        await held.close()
    events = await stage.back_office.events("device.revoked", stolen.id)
    waited = max(refused_ms, dropped_ms)
    return Step(
        name=scene.name,
        title=scene.title,
        story=scene.story,
        decision="refused" if alert else "allow",
        reason="device_revoked" if alert else None,
        milliseconds=waited,
        display="No connection",
        took=f"open connection dropped after {dropped_ms:.0f} ms,"
        f" new handshake refused at {refused_ms:.0f} ms",
        events=events,
        checks=(
            Check("open connection was let in before", 404, held.status),
            Check("a new handshake is refused", "closed", alert),
            Check(f"both within {REVOKED_WITHIN_MS} ms", True, waited <= REVOKED_WITHIN_MS),
            Check("last event", "device.revoked", events[-1]),
        ),
    )


async def foreign_certificate_refused(stage: Stage, scene: Scene) -> Step:
    credentials = forge(stage.devices.till.credentials, stage.folder / "devices" / "impostor")
    started = time.perf_counter()
    async with SimulatedDevice(credentials) as impostor:
        alert = await _refusal(impostor)
    waited = _ms_since(started)
    return Step(
        name=scene.name,
        title=scene.title,
        story=scene.story,
        decision="refused" if alert else "allow",
        reason=alert,
        milliseconds=waited,
        display="No connection",
        took="TLS alert during the handshake; no byte of HTTP was read",
        checks=(Check("TLS alert", "unknown_ca", alert),),
    )


SCENES: Final = (
    Scene(
        name="allow_at_a_till",
        title="A palm pays",
        story="Aisha holds her palm over Till 1: SAR 42.50.",
        play=allow_at_a_till,
    ),
    Scene(
        name="deny_for_balance",
        title="Not enough money",
        story="Omar has SAR 100.00 and wants to pay SAR 250.00.",
        play=deny_for_balance,
    ),
    Scene(
        name="unknown_palm",
        title="A palm that nobody enrolled",
        story="A stranger tries. No product is asked, no name is told.",
        play=unknown_palm,
    ),
    Scene(
        name="product_hangs",
        title="The wallet hangs",
        story=f"It takes the call and says nothing. The lane shuts after {TIMEOUT_MS} ms.",
        play=product_hangs,
    ),
    Scene(
        name="gate_opens",
        title="A palm opens a gate",
        story="Lena may pass the north gate. Another device, another product.",
        play=gate_opens,
    ),
    Scene(
        name="retry_charges_once",
        title="An answer is lost, the money is not",
        story="Till 1 loses the answer for SAR 12.00 and asks again, same key.",
        play=retry_charges_once,
    ),
    Scene(
        name="revoked_device_refused",
        title="A stolen till is shut out",
        story="Till 2 is connected when the back office revokes it.",
        play=revoked_device_refused,
    ),
    Scene(
        name="foreign_certificate_refused",
        title="A forged certificate is not ours",
        story="Till 1's certificate, copied name by name, by another CA.",
        play=foreign_certificate_refused,
    ),
)


async def _told(
    stage: Stage,
    scene: Scene,
    answer: TransactionAnswer,
    decision: Decision,
    reason: str | None,
    promised: tuple[str, ...],
    *checks: Check,
) -> Step:
    """The step of a decision, with what the log and the read model say of it."""
    await stage.back_office.events(RELAYED, answer.transaction_id)
    events = await stage.back_office.events(promised[-1], answer.transaction_id)
    seen = await stage.back_office.transaction(answer.transaction_id)
    return Step(
        name=scene.name,
        title=scene.title,
        story=scene.story,
        decision=answer.decision,
        reason=answer.reason,
        milliseconds=answer.milliseconds,
        display=answer.display_message,
        took=_parts(seen),
        events=events,
        checks=(
            Check("decision", decision, answer.decision),
            Check("reason", reason, answer.reason),
            # Relaying and what is delivered afterwards do not wait for each other.
            Check("events", sorted(promised), sorted(events)),
            *checks,
        ),
    )


def _parts(seen: TransactionSeen) -> str:
    parts = (
        ("palm", seen.identify_ms),
        ("product", seen.authorize_ms),
        ("total", seen.total_ms),
    )
    return " · ".join(f"{name} {ms:.0f} ms" for name, ms in parts if ms is not None)


async def _refusal(device: SimulatedDevice) -> str | None:
    """How a new connection of the device is refused; None when it is let in."""
    try:
        connection = await device.connect()
    except ConnectionRefused as refused:
        return refused.alert
    await connection.close()
    return None


async def _moment_of(happening: Awaitable[None]) -> float:
    await happening
    return time.perf_counter()


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000

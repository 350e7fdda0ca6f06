"""Compares what the devices and the product wrote down with the log. It is never killed.

    python -m tests.chaos.verifier ORDER.json

`{"check": false}` is answered with the findings up to now, `{"check": true}` also with those
about read models, for which it waits until they have caught up: the devices are quiet then.
"""

import asyncio
import sys
from collections import Counter
from pathlib import Path
from uuid import UUID

import msgspec

from domain.ids import DeviceId, parse, transaction_id
from domain.transaction import ProductText, Transaction, TransactionAllowed
from infrastructure.edge.listeners import new_event_loop
from interfaces.cli.session import configure_logging
from tests.chaos.children import tell
from tests.chaos.findings import Findings
from tests.chaos.journal import (
    Answered,
    Called,
    Charged,
    Done,
    GaveUp,
    Journaled,
    JournalReader,
    Refused,
    Seen,
    Voided,
)
from tests.chaos.mirror import LogMirror, Story
from tests.chaos.read_models import stale_read_models

EVIDENCE_MAX = 12
ASKS_AGAIN = frozenset({409, 503})


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The database (with administrator's rights, past every proxy) and the two journals."""

    dsn: str
    devices: str
    product: str


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """What a transaction is answered, and of which state and text that is so."""

    state: Transaction
    text: ProductText | None
    answer: bytes | None


class Verifier:
    """Reads in an order that makes each comparison fair: what was promised, the log, what was due.

    A call must have its intent and an answer its decision, so journals come before the log; an
    allow must have its charge, so the product's book is read once more after it.
    """

    def __init__(self, order: Order) -> None:
        self._seen: JournalReader[Seen] = JournalReader(Path(order.devices), Seen)
        self._done: JournalReader[Done] = JournalReader(Path(order.product), Done)
        self._log = LogMirror(order.dsn)
        self._dsn = order.dsn
        self._answers: dict[UUID, set[bytes]] = {}
        self._allowed: set[UUID] = set()
        self._rendered: dict[UUID, Rendered] = {}
        self._called: set[tuple[UUID, str]] = set()
        self._charges: Counter[UUID] = Counter()
        self._texts: dict[UUID, ProductText] = {}
        self._voided: set[UUID] = set()
        self._given_up = 0
        self._journaled = 0
        self._false_conflicts: list[str] = []
        self._unexpected: list[str] = []
        self._rewound = 0

    def check(self) -> Findings:
        """Everything that can be said at this moment."""
        for line in self._seen.read():
            self._note_seen(line)
        self._note_done()
        called = set(self._called)
        self._rewound += not self._log.read()
        self._note_done()
        return self._findings(called)

    async def finish(self) -> Findings:
        """As `check`, with the whole log read anew, and with the read models."""
        stale = await stale_read_models(self._dsn)
        self.check()
        self._log = LogMirror(self._dsn)
        found = self.check()
        evidence = [*found.evidence, *(f"read model {name} is no replay" for name in stale)]
        return msgspec.structs.replace(found, stale_read_models=len(stale), evidence=evidence)

    def _note_seen(self, line: Seen) -> None:
        match line:
            case Answered():
                transaction = _transaction(line.device, line.key)
                body = line.body.encode()
                self._answers.setdefault(transaction, set()).add(body)
                if _is_allow(body):
                    self._allowed.add(transaction)
                if line.replayed and line.sends == 1:
                    self._false_conflicts.append(f"{transaction} replayed at first sight")
            case Refused():
                what = f"{_transaction(line.device, line.key)} {line.status} {line.code}"
                if line.status == 409 and line.sends == 1:
                    self._false_conflicts.append(what)
                if line.status not in ASKS_AGAIN:
                    self._unexpected.append(what)
            case GaveUp():
                self._given_up += 1
            case Journaled():
                self._journaled += 1

    def _note_done(self) -> None:
        for line in self._done.read():
            transaction = parse("txn", line.transaction)
            assert transaction is not None, f"the product was asked about {line.transaction}"
            match line:
                case Called():
                    self._called.add((transaction, line.jti))
                case Charged():
                    self._charges[transaction] += 1
                    if line.display_message:
                        text = ProductText(
                            display_message=line.display_message, reference_id=line.reference_id
                        )
                        self._texts[transaction] = text
                case Voided():
                    self._voided.add(transaction)

    def _answer(self, transaction: UUID) -> bytes | None:
        """By the log. Written out anew only where the transaction has moved: after the hundredth
        crash a look at all of them must take no longer than the devices are quiet."""
        story = self._log.stories.get(transaction)
        if story is None:
            return None
        text, held = self._texts.get(transaction), self._rendered.get(transaction)
        if held is None or held.state is not story.state or held.text is not text:
            held = Rendered(state=story.state, text=text, answer=story.answer(text))
            self._rendered[transaction] = held
        return held.answer

    def _findings(self, called: set[tuple[UUID, str]]) -> Findings:
        stories = self._log.stories
        lost = {one for one in self._answers if self._answer(one) is None}
        changed = [
            one
            for one, bodies in self._answers.items()
            if one not in lost and bodies != {self._answer(one)}
        ]
        allowed = self._allowed
        uncommitted = [one for one in allowed if not _allowed(stories.get(one))]
        unsung = [one for one, jti in called if one not in stories or jti not in stories[one].jtis]
        unpaid = [
            one for one, story in stories.items() if _allowed(story) and not self._charges[one]
        ]
        extra = [one for one, count in self._charges.items() if count > 1]
        settled = allowed | self._voided
        orphans = [one for one in self._charges if one not in settled]
        regretted = [one for one in self._voided if one in allowed]
        unmarked = [one for one in orphans if one in stories and _is_unmarked(stories[one].state)]
        twice = [one for one, story in stories.items() if story.decisions > 1]
        evidence = [
            f"{what}: {one}"
            for what, ones in (
                ("lost", lost),
                ("changed", changed),
                ("allow not committed", uncommitted),
                ("call without intent", unsung),
                ("allow without charge", unpaid),
                ("charged more than once", extra),
                ("charge nobody will void", unmarked),
                ("voided though shown", regretted),
                ("decided twice", twice),
                ("log", self._log.nonsense),
                ("false conflict", self._false_conflicts),
                ("unexpected answer", self._unexpected),
            )
            for one in ones
        ]
        return Findings(
            acknowledged=len(self._answers),
            allowed=len(allowed),
            transactions=len(stories),
            events=self._log.position,
            given_up=self._given_up,
            journaled=self._journaled,
            charges=self._charges.total(),
            voids=len(self._voided),
            orphan_charges=len(orphans),
            orphans_undecided=sum(self._answer(one) is None for one in orphans),
            orphans_allowed=sum(_allowed(stories.get(one)) for one in orphans),
            lost=len(lost),
            rewound=self._rewound,
            gaps=self._log.gaps,
            nonsense=len(self._log.nonsense),
            changed=len(changed),
            second_decisions=len(twice),
            uncommitted_allows=len(uncommitted),
            extra_charges=self._charges.total() - len(self._charges),
            calls_without_intent=len(unsung),
            allows_without_charge=len(unpaid),
            unmarked_orphans=len(unmarked),
            voided_though_shown=len(regretted),
            orphans_left=0,
            journals_left=0,
            opened_in_vain=0,
            settled_late=0,
            false_conflicts=len(self._false_conflicts),
            unexpected_statuses=len(self._unexpected),
            stale_read_models=0,
            evidence=evidence[:EVIDENCE_MAX],
        )


def _transaction(device: str, key: str) -> UUID:
    found = parse("dev", device)
    assert found is not None, f"not a device: {device}"
    return transaction_id(DeviceId(found), key)


def _is_allow(body: bytes) -> bool:
    return msgspec.json.decode(body, type=dict[str, object])["decision"] == "allow"


def _allowed(story: Story | None) -> bool:
    return story is not None and isinstance(story.state.decision, TransactionAllowed)


def _is_unmarked(state: Transaction) -> bool:
    """Decided, not as an allow, and without a word that the product has something to undo."""
    decision = state.decision
    if decision is None or isinstance(decision, TransactionAllowed):
        return False
    return state.void == "none"


def main() -> None:
    order = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Order)
    configure_logging("error")
    verifier = Verifier(order)
    tell({"event": "started"})
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        for line in sys.stdin.buffer:
            last = msgspec.json.decode(line, type=dict[str, bool])["check"]
            tell(runner.run(verifier.finish()) if last else verifier.check())


if __name__ == "__main__":
    main()

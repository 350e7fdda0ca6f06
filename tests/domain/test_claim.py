"""A claim is held by whoever began its stream, until it is released."""

import pytest

from domain.claim import rebuild
from domain.folding import UnexpectedEvent
from tests.builders import DEVICE, SERVICE, claim_released, claim_taken, tenant_created
from tests.spec import STREAM, TENANT, recorded


def test_nobody_holds_a_claim_without_a_past() -> None:
    assert rebuild([]) is None


def test_whoever_takes_a_claim_holds_it() -> None:
    claim = rebuild(recorded(claim_taken(owner=SERVICE)))
    assert claim is not None
    assert (claim.id, claim.tenant_id, claim.version, claim.owner) == (STREAM, TENANT, 1, SERVICE)


def test_a_released_claim_is_held_by_nobody_and_the_next_taker_holds_it() -> None:
    past = recorded(claim_taken(owner=SERVICE), claim_released(), claim_taken(owner=DEVICE))
    released, taken = rebuild(past[:2]), rebuild(past)
    assert released is not None
    assert (released.version, released.owner) == (2, None)
    assert taken is not None
    assert (taken.version, taken.owner) == (3, DEVICE)


def test_a_claim_that_nobody_took_cannot_have_been_released() -> None:
    with pytest.raises(UnexpectedEvent):
        rebuild(recorded(claim_released()))


def test_an_event_of_another_kind_is_no_claim() -> None:
    with pytest.raises(UnexpectedEvent):
        rebuild(recorded(tenant_created()))

"""Every refusal has one status and a code that stays."""

import inspect

import pytest

from domain import errors
from domain.errors import (
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    Malformed,
    NotFound,
    PreconditionFailed,
    Refusal,
    TooMany,
    Unauthenticated,
    Unavailable,
)

STATUS: dict[type[Refusal], int] = {
    Malformed: 400,
    Invalid: 422,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    Gone: 410,
    PreconditionFailed: 412,
    TooMany: 429,
    Unavailable: 503,
}


@pytest.mark.parametrize(("refusal", "status"), STATUS.items())
def test_a_kind_of_refusal_has_its_own_status(refusal: type[Refusal], status: int) -> None:
    assert refusal("some_code").status == status
    assert issubclass(refusal, Refusal)


def test_no_kind_of_refusal_is_forgotten() -> None:
    kinds = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, Refusal) and kind is not Refusal
    }
    assert kinds == set(STATUS)
    assert len(set(STATUS.values())) == len(STATUS)


def test_a_refusal_says_its_code_and_keeps_what_the_caller_may_know() -> None:
    refusal = TooMany(
        "too_many_attempts", "come back later", retry_after_s=30, extra={"attempts_left": 0}
    )
    assert str(refusal) == refusal.code == "too_many_attempts"
    assert (refusal.detail, refusal.retry_after_s) == ("come back later", 30)
    assert refusal.extra == {"attempts_left": 0}


def test_a_refusal_says_no_more_than_its_code_unless_told_to() -> None:
    refusal = NotFound("device_not_found")
    assert (refusal.detail, refusal.retry_after_s, refusal.extra) == (None, None, {})


def test_the_tree_in_the_docstring_draws_every_kind() -> None:
    drawn = errors.__doc__ or ""
    assert [kind.__name__ for kind in STATUS if kind.__name__ not in drawn] == []

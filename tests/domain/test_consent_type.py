"""A version of a purpose is put in force once, in words that stay what they were."""

import pytest

from domain.consent_type import TYPES_MAX, check_type, publish, rebuild
from domain.errors import Conflict, Invalid
from tests.builders import consent_type_published as published
from tests.spec import given, recorded

FIRST = published(consent_version="1", text_sha256={"en": "7e" * 32})
SECOND = published(consent_version="2", text_sha256={"en": "a1" * 32})


def test_the_same_again_says_nothing_and_another_version_takes_its_place() -> None:
    given(rebuild).when(publish, FIRST).then(FIRST)
    given(rebuild, FIRST).when(publish, FIRST).then_nothing()
    given(rebuild, FIRST).when(publish, SECOND).then(SECOND)
    known = rebuild(recorded(FIRST, SECOND))
    assert known is not None
    assert (known.types["marketing"].version, known.types["marketing"].before) == ("2", ("1",))


def test_a_version_keeps_its_words_and_does_not_come_back() -> None:
    other = published(consent_version="1", text_sha256={"en": "00" * 32})
    given(rebuild, FIRST).when(publish, other).then_refused(Conflict, "consent_version_used")
    given(rebuild, FIRST, SECOND).when(publish, FIRST).then_refused(
        Conflict, "consent_version_used"
    )


def test_a_tenant_has_so_many_types_and_no_more() -> None:
    many = [published(consent_type=f"purpose_{number}") for number in range(TYPES_MAX)]
    given(rebuild, *many).when(publish, FIRST).then_refused(Conflict, "too_many_consent_types")


@pytest.mark.parametrize("name", ["", "Marketing", "1st", "a" * 64, "a-b", "a\n"])
def test_a_type_is_a_name_for_programs(name: str) -> None:
    with pytest.raises(Invalid, match="consent_type_invalid"):
        check_type(name)

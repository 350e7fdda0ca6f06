"""Which passwords are taken, and whether one is right."""

import msgspec
import pytest

from application.passwords import NOT_RIGHT, Passwords, Proved
from domain.errors import Invalid, Unavailable
from domain.password import PasswordPolicy
from infrastructure.passwords.common import CommonPasswords
from tests.application.passwords import Hashes

LONG = "correct horse battery staple"
POLICY = PasswordPolicy(length_min=15)


def passwords(hashes: Hashes) -> Passwords:
    return Passwords(hashes, CommonPasswords())


async def test_a_hash_proves_its_own_password_and_no_other() -> None:
    hashes = Hashes()
    hashed = await passwords(hashes).hashed(LONG, POLICY)
    assert await passwords(hashes).prove(LONG, hashed) == Proved(right=True)
    for wrong in (LONG[:-1], LONG + " ", LONG.upper()):
        assert await passwords(hashes).prove(wrong, hashed) == NOT_RIGHT


async def test_as_much_work_is_done_for_nobody_and_for_what_can_be_no_password() -> None:
    hashes = Hashes()
    hashed = await passwords(hashes).hashed(LONG, POLICY)
    for text, kept in (("not it", hashed), (LONG, None), ("nul\0", hashed), ("x" * 300, None)):
        assert await passwords(hashes).prove(text, kept) == NOT_RIGHT
    assert hashes.compared == 4


async def test_a_right_one_renews_a_hash_of_an_older_making() -> None:
    hashes = Hashes()
    before = await passwords(hashes).hashed(LONG, POLICY)
    hashes.scheme = "better hash"
    proved = await passwords(hashes).prove(LONG, before)
    assert proved == Proved(right=True, renewed=f"better hash of {LONG}")
    assert await passwords(hashes).prove("not it", before) == NOT_RIGHT


class Busy(Hashes):
    async def of(self, password: str) -> str:  # noqa: ARG002 - whatever it is
        raise Unavailable("sign_in_busy", retry_after_s=2)


async def test_nobody_is_kept_out_because_a_hash_could_not_be_renewed() -> None:
    before = await passwords(Hashes()).hashed(LONG, POLICY)
    busy = Busy()
    busy.scheme = "better hash"
    assert await passwords(busy).prove(LONG, before) == Proved(right=True)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("short", "password_too_short"),
        ("null\0byte is in this one", "password_invalid"),
        ("x" * 129, "password_invalid"),
        ("", "password_invalid"),
        ("aaaaaaaaaaaaaaaa", "password_breached"),
        ("password12345678", "password_breached"),
        ("PASSWORD!1234567890", "password_breached"),
        ("qwertyuiopqwertyuiop", "password_breached"),
    ],
)
async def test_what_is_no_good_password_is_refused(text: str, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        await passwords(Hashes()).hashed(text, POLICY)
    assert refused.value.code == code


async def test_who_wants_no_breach_check_has_none_and_length_counts_all_the_same() -> None:
    lax = msgspec.structs.replace(POLICY, breach_check=False)
    assert await passwords(Hashes()).hashed("password12345678", lax)
    with pytest.raises(Invalid, match="password_too_short"):
        await passwords(Hashes()).hashed("password", lax)


async def test_one_of_those_before_is_refused_however_it_is_composed() -> None:
    hashes = Hashes()
    before = [await passwords(hashes).hashed(text, POLICY) for text in (LONG, "caf\u00e9 " * 4)]
    for again in (LONG, "cafe\u0301 " * 4):
        with pytest.raises(Invalid, match="password_reused"):
            await passwords(hashes).hashed(again, POLICY, before)
    assert await passwords(hashes).hashed(LONG + "!", POLICY, before)

"""The key-encryption key in a token: SoftHSM stands in for one of hardware.

Without SoftHSM the tests of this module are left out, and the head of the run says so
(tests/conftest.py).
"""

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pkcs11
import pytest
from pkcs11.exceptions import PKCS11Error
from psycopg import AsyncConnection

from domain.ids import PLATFORM, TenantId, UserId
from infrastructure import database as connections
from infrastructure.database import APP_ROLE, tenant_scope
from infrastructure.keys.key_file import KeyFile
from infrastructure.keys.key_keepers import TwoKeepers
from infrastructure.keys.key_rotation import rotate
from infrastructure.keys.key_token import LABEL, TokenKeys, TokenSettings
from infrastructure.keys.keyring import Keyring, KeyringUnusable
from infrastructure.keys.tenant_keys import TenantKeys, platform_keyring
from infrastructure.people.personal_data import PostgresPersonalData
from tests.conftest import SOFTHSM

TENANT = TenantId(uuid4())
PIN = "73918264"
INIT_TOKEN = ("softhsm2-util", "--init-token", "--free")

Opened = Callable[[], TokenKeys]


@pytest.fixture(scope="session")
def soft_hsm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of this process's tokens: the library reads where they are when it is loaded."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    (folder / "pin").write_text(f"{PIN}\n")
    return folder


@pytest.fixture
def token(soft_hsm: Path) -> TokenSettings:
    label = f"link-{uuid4().hex[:12]}"
    subprocess.run(
        [*INIT_TOKEN, "--label", label, "--pin", PIN, "--so-pin", PIN],
        check=True,
        capture_output=True,
        timeout=60,
    )
    module = pkcs11.lib(str(SOFTHSM))
    module.reinitialize()
    return TokenSettings(module=SOFTHSM, token=label, pin_file=soft_hsm / "pin")


@pytest.fixture
def opened(token: TokenSettings) -> Iterator[Opened]:
    """Opens the token once more, as another process would."""
    held: list[TokenKeys] = []

    def keys() -> TokenKeys:
        held.append(TokenKeys(token))
        return held[-1]

    yield keys
    for each in held:
        each.close()


def test_what_is_wrapped_opens_under_its_key_in_its_place_only(opened: Opened) -> None:
    keeper = opened()
    assert keeper.ids() == ()
    first = keeper.add()
    key = os.urandom(32)
    wrapped = keeper.wrap(first, key, "tenant_keys.wrapped_key/1")
    assert key not in wrapped
    assert keeper.wrap(first, key, "tenant_keys.wrapped_key/1") != wrapped, "a nonce of its own"
    assert opened().unwrap(first, wrapped, "tenant_keys.wrapped_key/1") == key
    second = keeper.add()
    spoilt = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
    for key_id, sealed, place in (
        (first, wrapped, "tenant_keys.wrapped_key/2"),
        (first, spoilt, "tenant_keys.wrapped_key/1"),
        (first, b"", "tenant_keys.wrapped_key/1"),
        (second, wrapped, "tenant_keys.wrapped_key/1"),
        ("00" * 8, wrapped, "tenant_keys.wrapped_key/1"),
    ):
        with pytest.raises(KeyringUnusable):
            keeper.unwrap(key_id, sealed, place)
    assert keeper.unwrap(first, wrapped, "tenant_keys.wrapped_key/1") == key, "it goes on"


def test_the_newest_key_comes_first_and_a_destroyed_one_is_gone(opened: Opened) -> None:
    keeper, other = opened(), opened()
    keys = [keeper.add() for _ in range(3)]
    assert keeper.ids() == tuple(reversed(keys))
    assert other.ids() == ()
    other.refresh()
    assert other.ids() == keeper.ids()
    wrapped = keeper.wrap(keys[0], bytes(32), "place")
    other.destroy(keys[0])
    other.destroy(keys[0])
    for each in (keeper, other, opened()):
        each.refresh()
        assert each.ids() == (keys[2], keys[1])
        with pytest.raises(KeyringUnusable, match="does not hold"):
            each.unwrap(keys[0], wrapped, "place")


def test_a_key_never_leaves_the_token(opened: Opened, token: TokenSettings, soft_hsm: Path) -> None:
    opened().add()
    found = pkcs11.lib(str(token.module)).get_token(token_label=token.token)
    with found.open() as session:
        (key,) = session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY})
        assert key[pkcs11.Attribute.LABEL].startswith(LABEL)
        assert key[pkcs11.Attribute.VALUE_LEN] == 32
        assert key[pkcs11.Attribute.SENSITIVE]
        assert key[pkcs11.Attribute.NEVER_EXTRACTABLE]
        with pytest.raises(PKCS11Error):
            _ = key[pkcs11.Attribute.VALUE]


def test_a_token_that_ended_its_sessions_is_asked_over_a_new_one(
    opened: Opened, token: TokenSettings
) -> None:
    """As after a card was drawn, or a network module was restarted.

    Seen to fail when a call is not tried again over a fresh session.
    """
    keeper = opened()
    key_id = keeper.add()
    wrapped = keeper.wrap(key_id, bytes(32), "place")
    pkcs11.lib(str(token.module)).reinitialize()
    assert keeper.unwrap(key_id, wrapped, "place") == bytes(32)


@pytest.mark.parametrize("wrong", ["pin", "token", "pin_file", "module"])
def test_a_token_that_cannot_be_opened_is_named(
    token: TokenSettings, tmp_path: Path, wrong: str
) -> None:
    (tmp_path / "pin").write_text("0000")
    known = {"module": token.module, "token": token.token, "pin_file": token.pin_file}
    match wrong:
        case "pin":
            known["pin_file"] = tmp_path / "pin"
        case "token":
            known["token"] = "another"
        case "pin_file":
            known["pin_file"] = tmp_path / "nowhere"
        case _:
            known["module"] = tmp_path / "nothing.so"
    settings = TokenSettings(**known)  # type: ignore[arg-type]
    with pytest.raises(KeyringUnusable, match=settings.token) as refused:
        TokenKeys(settings)
    assert "0000" not in str(refused.value)


async def test_the_key_moves_from_a_file_to_a_token_and_back_while_everything_serves(
    database: str, opened: Opened, tmp_path: Path
) -> None:
    """Two processes write and read all the time; tenants come into being, each with a key.

    Seen to fail when `TwoKeepers.refresh` looks at one of the two only, and when a process does
    not look again before it opens a key: then the last rotation is never noticed.
    """
    path = tmp_path / "master.key"
    keyring = Keyring(bytes(range(32)))

    def keepers(first: str) -> TwoKeepers:
        file = KeyFile(path, make=False, absent=True)
        return TwoKeepers(opened(), file) if first == "token" else TwoKeepers(file, opened())

    KeyFile(path)
    async with connections.pool(database, APP_ROLE) as pool:
        digest = (await platform_keyring(pool, keepers("file"))).digest("mobile", "x")
        vaults = [
            PostgresPersonalData(pool, TenantKeys(keepers(first)), keyring)
            for first in ("file", "token")
        ]
        stop, grown = asyncio.Event(), asyncio.Event()
        kept: dict[tuple[TenantId, UserId], str] = {}

        async def work(number: int) -> None:
            while not stop.is_set():
                tenant_id, user_id, value = TenantId(uuid4()), UserId(uuid4()), uuid4().hex
                await vaults[number % 2].store(tenant_id, user_id, "mobile", value)
                kept[tenant_id, user_id] = value
                grown.set()
                assert await vaults[1 - number % 2].read(tenant_id, user_id, "mobile") == value

        async with asyncio.TaskGroup() as working:
            for number in range(4):
                working.create_task(work(number))
            for turn, first in enumerate(("token", "token", "file", "token")):
                while len(kept) < (turn + 1) * 8:
                    await grown.wait()
                    grown.clear()
                rotated = await rotate(database, keepers(first))
                assert path.exists() == (first == "file")
                assert opened().ids() == ((rotated.key_id,) if first == "token" else ())
            stop.set()
        await rotate(database, keepers("token"))
        (tenant_id, user_id), value = next(iter(kept.items()))
        for vault in vaults:
            assert await vault.read(tenant_id, user_id, "mobile") == value, "it looks again"
        reader = PostgresPersonalData(pool, TenantKeys(keepers("token")), keyring)
        for (tenant_id, user_id), value in kept.items():
            assert await reader.read(tenant_id, user_id, "mobile") == value
        only = opened()
        assert (await platform_keyring(pool, only)).digest("mobile", "x") == digest
        async with tenant_scope(pool, PLATFORM) as connection:
            found = await (await connection.execute("SELECT kek_id FROM tenant_keys")).fetchall()
        assert found == [(only.ids()[0],)]
    async with await AsyncConnection.connect(database, autocommit=True) as admin:
        unwrapped = await admin.execute("SELECT DISTINCT kek_id FROM tenant_keys")
        assert await unwrapped.fetchall() == [(only.ids()[0],)]

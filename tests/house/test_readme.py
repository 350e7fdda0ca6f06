"""The README's tour by hand works, and the auditor's: every block is pasted, in order."""

import re
from collections.abc import Generator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from examples.demo.ports import choose
from examples.demo.waiting import until
from tests.house.pasting import blocks, environment, in_a_terminal, listens, own_folder, paste

SERVERS: Final = 3
"""The first blocks are for terminals of their own."""

BACK_OFFICE: Final = r"""
mkdir {folder}/demo
printf 'user = "%s:%s"\n' $(field client_id "$CLIENT") $(field client_secret "$CLIENT") \
    > {folder}/demo/client.curl
"""
"""What the demo leaves for the auditor's tour, made from the README's."""


@pytest.fixture
def folder() -> Generator[Path]:
    with own_folder() as made:
        yield made


async def test_the_tour_by_hand_ends_with_one_payment_and_a_revoked_till(folder: Path) -> None:
    """Every block is used, so a block that is added to the README is tried too."""
    ports = choose(prefer_usual=False)
    env = environment(folder, ports)
    first, *rest = blocks("README.md", folder, ports)
    servers, tour = [first, *rest[: SERVERS - 1]], rest[SERVERS - 1 :]
    with ExitStack() as terminals:
        for name, command in zip(("public", "palm_server", "wallet"), servers, strict=True):
            terminals.enter_context(in_a_terminal(command, env))
            await until(f"{name} listens", partial(listens, ports[name]), 60)
        code, said = await paste("".join([*tour, BACK_OFFICE.format(folder=folder)]), env)
        audited, heard = await paste("".join(blocks("docs/auditing.md", folder, ports)), env)
    assert code == 0, said
    assert "urn:link-identity:problem:" not in said
    paid = re.findall(r'\{"transaction_id":"txn_[^}]*\}', said)
    assert len(paid) == 2, said
    assert paid[0] == paid[1]
    assert '"decision":"allow"' in paid[0]
    assert said.count('{"reference_id":"wal_') == 1, "one charge in the wallet"
    assert '"name": "transaction.allowed"' in said
    assert '"reason": ' not in said
    assert re.search(r"^reason +leaf_changed$", said, re.MULTILINE), "the altered leaf is found"
    assert said.count("found, as it should be") == 1
    assert re.search(r"^compared +[1-9]", said, re.MULTILINE), "the replay compared something"
    assert said.endswith("refused, as it should be\n")
    assert "URI:spiffe://link.localhost/tenant/ten_" in said
    assert audited == 0, heard
    assert heard.count("refused, as it should be") == 1
    assert re.search(r"^reason +leaf_changed$", heard, re.MULTILINE), "the altered byte is found"
    assert re.search(r"^steps +5$", heard, re.MULTILINE), "the certificate holds"
    assert len(re.findall(r"^compared +[1-9]", heard, re.MULTILINE)) == 2, "replayed, and again"
    assert heard.rstrip().endswith('"template_deletion_by_vendor"]}}}'), "the event that is proved"

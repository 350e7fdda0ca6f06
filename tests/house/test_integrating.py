"""A newcomer gets through the integrator's guide: every block is pasted, in order (issue 5)."""

import json
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

from examples.demo.ports import USUAL, choose
from examples.demo.waiting import until
from tests.house.pasting import blocks, environment, in_a_terminal, listens, own_folder, paste

PORTS: Final = {
    **{name: USUAL[name] for name in ("public", "device", "palm_server")},
    "clients": 8446,
    "id_issuer": 9600,
}
SERVERS: Final = ("public", "id_issuer", "palm_server")
"""The first blocks are for terminals of their own; each listens there when it is ready."""


def answers(said: str) -> list[dict[str, Any]]:
    """The JSON objects that were answered, in order; `curl` ends none of them with a new line."""
    found: list[dict[str, Any]] = []
    decoder = json.JSONDecoder()
    at = said.find("{")
    while at >= 0:
        answer, end = decoder.raw_decode(said, at)
        found.append(answer)
        at = said.find("{", end)
    return found


def those(told: list[dict[str, Any]], *fields: str) -> list[dict[str, Any]]:
    """The answers that have all these fields."""
    return [each for each in told if each.keys() >= set(fields)]


async def test_a_newcomer_gets_from_nothing_to_a_changed_device_ca() -> None:
    """Every block is used, so a block that is added to the page is tried too."""
    ports = choose(PORTS, prefer_usual=False)
    with own_folder() as folder, ExitStack() as terminals:
        env = environment(folder, ports)
        found = blocks("docs/integrating.md", folder, ports, PORTS)
        servers, page = found[: len(SERVERS)], found[len(SERVERS) :]
        for name, command in zip(SERVERS, servers, strict=True):
            terminals.enter_context(in_a_terminal(command.strip(), env))
            await until(f"{name} listens", partial(listens, ports[name]), 60)
        code, said = await paste("".join(page), env)
    assert code == 0, said
    assert "urn:link-identity:problem:" not in said, said
    told = answers(said)
    (managed,) = [
        each for page in those(told, "items") for each in page["items"] if "kyc_status" in each
    ]
    assert managed["fields"] == ["external_id", "mobile"]
    by_google = those(told, "is_new_user")[-1]
    person = by_google["user_id"]
    assert not by_google["is_new_user"], "the linked account is Sara's"
    (challenge,) = those(told, "device_id", "purpose")
    assert (challenge["user_id"], challenge["result"]) == (person, "enrolled")
    verified, identified = those(told, "compared_at")
    assert (verified["id"][:4], verified["result"]) == ("ver_", "match")
    assert (identified["id"][:4], identified["result"]) == ("idn_", "match")
    assert verified["user_id"] == identified["user_id"] == person
    heard = [[each["kind"] for each in beat["commands"]] for beat in those(told, "renew_after")]
    assert heard[:4] == [["rotate_cert"], [], [], []], "told to renew once, and it said that it did"
    steps = [(each["phase"], each["issuing"], each["devices"]) for each in those(told, "laggards")]
    assert steps == [
        ("announced", 1, {"1": 1}),
        ("issuing", 2, {"1": 1}),
        ("issuing", 2, {"2": 1}),
        ("standby", 2, {"2": 1}),
    ]

"""An id has exactly one public form, and a derived id is the same on every machine."""

from uuid import UUID

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from domain.ids import (
    DeviceId,
    TenantId,
    claim_id,
    pairing_code_id,
    parse,
    transaction_id,
    wire,
)

PREFIXES = ("ten", "dev", "usr", "txn", "cli", "lsv", "enr")
ONE = UUID("0198c7a0-9e6c-7b1f-8d3e-2a4b5c6d7e8f")
TENANT = TenantId(UUID("0198c000-0000-7000-8000-000000000001"))
OTHER_TENANT = TenantId(UUID("0198c000-0000-7000-8000-000000000002"))
DEVICE = DeviceId(UUID("0198c000-0000-7000-8000-0000000000b1"))
OTHER_DEVICE = DeviceId(UUID("0198c000-0000-7000-8000-0000000000b2"))


def test_an_id_wears_its_prefix_on_the_wire() -> None:
    assert wire("dev", ONE) == "dev_0198c7a09e6c7b1f8d3e2a4b5c6d7e8f"


@examples(st.sampled_from(PREFIXES), st.uuids())
def test_what_is_written_is_read(prefix: str, value: UUID) -> None:
    assert parse(prefix, wire(prefix, value)) == value


@examples(st.sampled_from(PREFIXES), st.sampled_from(PREFIXES), st.uuids())
def test_an_id_of_one_kind_is_never_read_as_another(one: str, other: str, value: UUID) -> None:
    assert (parse(other, wire(one, value)) is not None) == (one == other)


@examples(st.text(max_size=60) | st.from_regex(r"dev_[0-9a-fA-F_\-{}]{30,36}\n?", fullmatch=True))
def test_only_the_exact_form_is_read(text: str) -> None:
    value = parse("dev", text)
    assert value is None or wire("dev", value) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dev_",
        "0198c7a09e6c7b1f8d3e2a4b5c6d7e8f",
        "_0198c7a09e6c7b1f8d3e2a4b5c6d7e8f",
        "usr_0198c7a09e6c7b1f8d3e2a4b5c6d7e8f",
        "DEV_0198c7a09e6c7b1f8d3e2a4b5c6d7e8f",
        "dev_0198C7A09E6C7B1F8D3E2A4B5C6D7E8F",
        "dev_0198c7a0-9e6c-7b1f-8d3e-2a4b5c6d7e8f",
        "dev_{0198c7a09e6c7b1f8d3e2a4b5c6d7e}",
        "dev__198c7a09e6c7b1f8d3e2a4b5c6d7e8f",
        "dev-0198c7a09e6c7b1f8d3e2a4b5c6d7e8f",
        " dev_0198c7a09e6c7b1f8d3e2a4b5c6d7e8f",
        "dev_0198c7a09e6c7b1f8d3e2a4b5c6d7e8f ",
        "dev_0198c7a09e6c7b1f8d3e2a4b5c6d7e8f\n",
        "dev_0198c7a09e6c7b1f8d3e2a4b5c6d7e8",
        "dev_0198c7a09e6c7b1f8d3e2a4b5c6d7e8f0",
        "dev_0198c7a09e6c7b1f8d3e2a4b5c6d7e8g",
        "dev_0x98c7a09e6c7b1f8d3e2a4b5c6d7e8f",
        "dev_+198c7a09e6c7b1f8d3e2a4b5c6d7e8f",
        "dev_0198_7a09e6c7b1f8d3e2a4b5c6d7e8f",
        "dev_\u0660198c7a09e6c7b1f8d3e2a4b5c6d7e8f",
        "dev_\uff10198c7a09e6c7b1f8d3e2a4b5c6d7e8f",
        "dev_0198c7a09e6c7b1f\x00d3e2a4b5c6d7e8f0",
    ],
)
def test_a_hostile_spelling_is_no_id(text: str) -> None:
    assert parse("dev", text) is None


def test_a_derived_id_never_changes() -> None:
    """Fixed for ever: a retry after an upgrade must meet the stream it began."""
    assert transaction_id(DEVICE, "till-4-000001") == UUID("3387152e-f1c5-532e-bb4a-1d5091a12f6f")
    assert claim_id(TENANT, "product_key", "wallet") == UUID("2ec6354e-e8a8-5061-a6cd-cb2a7c9161df")
    assert pairing_code_id("digest-of-a-code") == UUID("f6805f7c-958d-5c4a-b9e7-80233a597634")


@examples(st.text(max_size=40), st.text(max_size=40))
def test_a_retry_meets_its_own_stream_and_no_other(one: str, other: str) -> None:
    assert (transaction_id(DEVICE, one) == transaction_id(DEVICE, other)) == (one == other)
    assert transaction_id(DEVICE, one) != transaction_id(OTHER_DEVICE, one)


@examples(st.text(max_size=40), st.text(max_size=40))
def test_a_unique_thing_has_one_claim_in_each_tenant(one: str, other: str) -> None:
    mine = claim_id(TENANT, "product_key", one)
    assert (mine == claim_id(TENANT, "product_key", other)) == (one == other)
    assert mine != claim_id(OTHER_TENANT, "product_key", one)
    assert mine != claim_id(TENANT, "tenant_name", one)


@examples(st.text(max_size=40), st.text(max_size=40))
def test_a_pairing_code_has_one_stream(one: str, other: str) -> None:
    assert (pairing_code_id(one) == pairing_code_id(other)) == (one == other)

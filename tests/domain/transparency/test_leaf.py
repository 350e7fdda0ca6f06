"""The leaf of an event: one spelling, from which everything comes back."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import TenantId
from domain.transparency import leaf as l

EVENT = l.LoggedEvent(
    position=42,
    recorded_at=datetime(2026, 11, 21, 9, 30, tzinfo=UTC),
    tenant_id=TenantId(UUID("0198c7a0-9e6c-7b1f-8d3e-2a4b5c6d7e8f")),
    stream_id=UUID("0198c7a0-9e6c-7b1f-8d3e-000000000001"),
    stream_version=3,
    name="device.revoked",
    actor="client:cli_0198c7a09e6c7b1f8d3e000000000002",
    correlation_id=UUID("0198c7a0-9e6c-7b1f-8d3e-000000000003"),
    command_id=UUID("0198c7a0-9e6c-7b1f-8d3e-000000000004"),
    payload=b'{"v":1,"data":{"reason":"lost"}}',
)

# The bytes of leaf version 1, for ever: leaves are made anew from the event log at any time, and
# must hash to what was signed. Also the example of docs/transparency.md.
GOLDEN = (
    b'{"v":1,"position":42,"recorded_at":"2026-11-21T09:30:00.000000Z",'
    b'"tenant_id":"0198c7a0-9e6c-7b1f-8d3e-2a4b5c6d7e8f",'
    b'"stream_id":"0198c7a0-9e6c-7b1f-8d3e-000000000001","stream_version":3,'
    b'"name":"device.revoked","actor":"client:cli_0198c7a09e6c7b1f8d3e000000000002",'
    b'"correlation_id":"0198c7a0-9e6c-7b1f-8d3e-000000000003",'
    b'"command_id":"0198c7a0-9e6c-7b1f-8d3e-000000000004",'
    b'"payload":{"v":1,"data":{"reason":"lost"}}}'
)


def with_(**changes: object) -> l.LoggedEvent:
    return msgspec.structs.replace(EVENT, **changes)


def test_the_golden_leaf() -> None:
    assert l.encode(EVENT) == GOLDEN
    assert l.read(GOLDEN) == EVENT


def test_the_golden_leaf_with_another_payload() -> None:
    leaf = l.encode(with_(payload=b"\x00\xff"))
    assert leaf.endswith(b'"payload_base64":"AP8="}')
    assert l.read(leaf).payload == b"\x00\xff"


@given(
    payload=st.one_of(
        st.binary(max_size=60),
        st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.floats(allow_nan=False)).map(
            lambda data: msgspec.json.encode({"v": 1, "data": data})
        ),
        st.sampled_from((b'{"v": 1 }', b"{}", b'{"v":1} ', b' {"v":1}', b"[]", b"", b'{"v":')),
    ),
    name=st.text(max_size=8),
    actor=st.text(max_size=8),
    at=st.datetimes(timezones=st.just(UTC)),
    position=st.integers(1, 2**63 - 1),
)
def test_everything_comes_back(
    payload: bytes, name: str, actor: str, at: datetime, position: int
) -> None:
    event = with_(payload=payload, name=name, actor=actor, recorded_at=at, position=position)
    leaf = l.encode(event)
    assert l.read(leaf) == event
    assert next(iter(msgspec.json.decode(leaf))) == "v"


@pytest.mark.parametrize(
    "payload",
    [
        b'{"v":1},"payload":{"v":2}',
        b'{"v":1},"position":{}',
        b'{"v":"\xff"}',
        b'{"v":1,}',
        b'{"v":1}}',
    ],
)
def test_a_payload_that_only_looks_like_one_makes_a_leaf_that_nobody_reads(payload: bytes) -> None:
    """Nobody but the owner of the database could write such an event; it is found, not read."""
    with pytest.raises(l.LeafMalformed):
        l.read(l.encode(with_(payload=payload)))


def test_the_zone_of_a_time_does_not_matter() -> None:
    there = EVENT.recorded_at.astimezone(timezone(timedelta(hours=3)))
    assert l.encode(with_(recorded_at=there)) == GOLDEN
    with pytest.raises(ValueError, match="zone"):
        l.encode(with_(recorded_at=EVENT.recorded_at.replace(tzinfo=None)))


def test_a_leaf_holds_65535_bytes() -> None:
    room = 65_535 - len(l.encode(with_(payload=b'{"v":""}')))
    longest = with_(payload=b'{"v":"%b"}' % (b"x" * room))
    assert len(l.encode(longest)) == 65_535
    with pytest.raises(l.LeafTooLong):
        l.encode(with_(payload=b'{"v":"%b"}' % (b"x" * (room + 1))))


@pytest.mark.parametrize(
    "leaf",
    [
        b"",
        b"{}",
        b"null",
        b"\xff",
        GOLDEN + b"\n",
        GOLDEN.replace(b'"v":1', b'"v":2', 1),
        GOLDEN.replace(b'"v":1,', b'"v": 1,', 1),
        GOLDEN.replace(b"42", b"42.0"),
        GOLDEN.replace(b"42", b'"42"'),
        GOLDEN.replace(b"09:30:00.000000Z", b"09:30:00Z"),
        GOLDEN.replace(b"09:30:00.000000Z", b"09:30:00.000000+00:00"),
        GOLDEN.replace(b"2026-11-21T09:30:00.000000Z", b"yesterday"),
        GOLDEN.replace(b"0198c7a0-9e6c", b"0198C7A0-9E6C"),
        GOLDEN.replace(b"device.revoked", b"device\\u002erevoked"),
        GOLDEN.replace(b'"payload":', b'"payload": '),
        GOLDEN.replace(b'"payload"', b'"data"'),
        GOLDEN[:-1] + b',"more":1}',
        GOLDEN[:-1] + b',"payload_base64":"AP8="}',
        GOLDEN.replace(b'"payload":{"v":1,"data":{"reason":"lost"}}', b'"payload_base64":"AP8"'),
        GOLDEN.replace(
            b'"payload":{"v":1,"data":{"reason":"lost"}}', b'"payload_base64":"eyJ2IjoxfQ=="'
        ),
    ],
)
def test_any_other_spelling_is_no_leaf(leaf: bytes) -> None:
    with pytest.raises(l.LeafMalformed):
        l.read(leaf)

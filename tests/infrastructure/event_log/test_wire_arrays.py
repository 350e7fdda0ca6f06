"""What we put together by hand is what psycopg would have sent, and what Postgres reads."""

import struct
from uuid import UUID, uuid4

import psycopg
import pytest

from infrastructure.event_log.wire_arrays import (
    ByteaArray,
    Int4Array,
    Int8Array,
    TextArray,
    UuidArray,
    WireArray,
)

IDS: list[UUID] = [UUID(int=0), uuid4(), UUID(int=2**128 - 1)]


def test_postgres_reads_back_every_element(postgres_dsn: str) -> None:
    cases: list[tuple[WireArray, object]] = [
        (Int4Array.of([0, -1, 2**31 - 1]), [0, -1, 2**31 - 1]),
        (Int8Array.of([1, -(2**63)]), [1, -(2**63)]),
        (UuidArray.of(IDS), IDS),
        (TextArray.of(["", "Grüße", "Grüße", "x" * 3000]), ["", "Grüße", "Grüße", "x" * 3000]),
        (ByteaArray.of([b"", b"\x00\xff", b"y" * 70_000]), [b"", b"\x00\xff", b"y" * 70_000]),
    ]
    with psycopg.connect(postgres_dsn) as connection:
        for array, expected in cases:
            row = connection.execute("SELECT %b", (array,), binary=True).fetchone()
            assert row == (expected,)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_a_number_that_does_not_fit_is_an_error_here(value: int) -> None:
    with pytest.raises(struct.error):
        Int8Array.of([value])

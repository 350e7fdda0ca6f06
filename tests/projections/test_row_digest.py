"""The digest of rows is what its page says, so that others can compute it too."""

import hashlib

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from projections.row_digest import RowsDigest, canonical, key_text

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside),
    max_leaves=8,
)


def test_a_row_is_its_columns_by_name_without_white_space() -> None:
    row = canonical('{"b": {"y":1.50, "x":"\\u00e9"}, "a" : [0.1, null]}', ("a",))
    assert row.line == '{"a":[0.1,null],"b":{"x":"é","y":1.5}}'.encode()


@given(st.dictionaries(st.text(max_size=5), _VALUES, max_size=6))
def test_the_order_of_columns_says_nothing(columns: dict[str, object]) -> None:
    backwards = dict(reversed(columns.items()))
    encode = msgspec.json.encode
    assert canonical(encode(columns), ()).line == canonical(encode(backwards), ()).line


def test_the_digest_is_that_of_a_file_with_one_row_a_line() -> None:
    digest = RowsDigest("devices")
    for row in ('{"id": 1}', '{"id": 2}'):
        digest.add(canonical(row, ("id",)))
    found = digest.result()
    assert (found.table, found.rows) == ("devices", 2)
    assert found.sha256 == hashlib.sha256(b'{"id":1}\n{"id":2}\n').hexdigest()


def test_no_rows_have_a_digest_too() -> None:
    assert RowsDigest("devices").result().sha256 == hashlib.sha256().hexdigest()


def test_a_row_tells_its_key_and_the_event_that_made_it() -> None:
    row = canonical('{"id": "b", "kind": "a", "position": 3, "last_position": 7}', ("kind", "id"))
    assert (row.key, row.position) == (("a", "b"), 7)
    assert key_text(row, ("kind", "id")) == '{"kind":"a","id":"b"}'
    assert canonical('{"position": 3}', ()).position == 3
    assert canonical("{}", ()).position is None

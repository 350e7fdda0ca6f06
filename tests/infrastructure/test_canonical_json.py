"""One spelling per value, and a refusal for what has none."""

from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from domain.errors import Invalid
from infrastructure.canonical_json import JcsCanonicalJSON

CANONICAL = JcsCanonicalJSON()


@pytest.mark.parametrize(
    ("value", "spelling"),
    [
        # RFC 8785 §3.2.2 and §3.2.3
        (
            {"numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 1e-27], "literals": [None, True]},
            '{"literals":[null,true],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}',
        ),
        (
            {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7},
            '{"\\r":2,"1":4,"\u0080":6,"\u00f6":7,"\u20ac":1,"\U0001f600":5,"\ufb33":3}',
        ),
        ({"amount": 50.0}, '{"amount":50}'),
        ({"b": {}, "a": []}, '{"a":[],"b":{}}'),
        (-0.0, "0"),
        (2**53 - 1, "9007199254740991"),
    ],
)
def test_a_value_has_the_spelling_of_the_standard(value: Any, spelling: str) -> None:
    assert CANONICAL.canonical(value) == spelling.encode()


def _deep(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        {"amount": float("inf")},
        [float("-inf")],
        2**53,
        -(2**53),
        10**5000,
        "\ud800",
        {"\ud800": 1},
        {1: 2},
        {"a": b"bytes"},
        {"a": {1, 2}},
        object(),
        _deep(100_000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_a_spelling_is_refused(value: Any) -> None:
    with pytest.raises(Invalid) as refused:
        CANONICAL.canonical(value)
    assert refused.value.code == "context_not_canonical"


_NAMES = st.text(max_size=4) | st.sampled_from(
    ["a", "b", "~", "\x7f", '"', "\\", "é", "\U0001f600"]
)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(_VALUES)
@example(1.0)
@example({"\ufb33": 1, "\U0001f600": 2})
def test_the_spelling_is_the_librarys_for_every_value(value: Any) -> None:
    """The short way through msgspec must not be seen. Planted: one that takes fractions too, and
    one that takes names beyond ASCII. The search alone finds neither in forty values, hence the
    two that are always tried."""
    assert CANONICAL.canonical(value) == rfc8785.dumps(value)

"""Whoever has many addresses has one budget."""

import pytest

from interfaces.http.caller_address import counted_as


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("a-unix-socket", "a-unix-socket"),
    ],
)
def test_an_address_counts_as_its_subscriber(host: str, counted: str) -> None:
    assert counted_as(host) == counted

"""What the egress guard lets through, and the many spellings of what it does not."""

from collections.abc import Sequence
from ipaddress import IPv4Address

import pytest

from domain.errors import Invalid
from infrastructure.outbound.egress import EgressGuard, Unresolvable

PUBLIC = "93.184.215.14"


class ScriptedResolver:
    """Answers from a table; a name with several answers gives them one after the other."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.asked: list[tuple[str, int]] = []
        self._answers = {name.replace("_", "."): list(rows) for name, rows in answers.items()}

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        rows = self._answers.get(host)
        if rows is None:
            return [PUBLIC]
        if not rows:
            raise OSError("no such name")
        return rows.pop(0) if len(rows) > 1 else rows[0]


def guard(
    *allow: str, development: bool = False, resolver: ScriptedResolver | None = None
) -> EgressGuard:
    return EgressGuard(allow, development, resolver or ScriptedResolver())


FORBIDDEN_ADDRESSES = [
    # IPv4
    str(IPv4Address(0)),
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.254",
    "127.0.0.1",
    "127.0.0.53",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.254",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.254",
    "198.18.0.1",
    "198.19.255.254",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    # IPv6
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a00:1::",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]

FORBIDDEN_SPELLINGS = [
    # IPv4 in other clothes
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0x0.0x0.0x1/",
    "https://0x7f.1/",
    "https://0X7F.1/",
    "https://017700000001/",
    "https://0177.0.0.1/",
    "https://0177.0.0.01/",
    "https://127.1/",
    "https://127.0.1/",
    "https://127.0.0.1./",
    "https://127.0.0.01/",
    "https://127.00.0.1/",
    "https://127.0.0.1.1/",
    "https://127.0.0.256/",
    "https://10.1/",
    "https://3232235521/",
    "https://2852039166/",
    "https://0xa9fea9fe/",
    "https://0251.0376.0251.0376/",
    "https://169.254.43518/",
    "https://0/",
    "https://0x/",
    "https://0x0/",
    "https://00/",
    "https://4294967295/",
    "https://4294967296/",
    "https://1.2.3.0x4/",
    "https://foo.1/",
    "https://example.com.0x7f/",
    # IPv6 in other clothes
    "https://[::1%25eth0]/",
    "https://[fe80::1%25eth0]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[0000::0001]/",
    "https://[::ffff:0x7f.0.0.1]/",
    "https://[::1]./",
    "https://[[::1]]/",
    "https://[127.0.0.1]/",
    "https://[]/",
    "https://::1/",
    # hosts that are not plain
    "https://",
    "https:///",
    "https:///127.0.0.1/",
    "https://./",
    "https://.example.com/",
    "https://example..com/",
    "https://example.com./",
    "https://-example.com/",
    "https://example-.com/",
    "https://exa_mple.com/",
    "https://exa%6dple.com/",
    "https://127%2e0%2e0%2e1/",
    "https://%31%32%37.0.0.1/",
    "https://\u24dbocalhost/",
    "https://\uff11\uff12\uff17.0.0.1/",
    "https://127\u30020\u30020\u30021/",
    "https://ex\u00e4mple.com/",
    "https://localhost\u200b/",
    f"https://{'a' * 64}.com/",
    f"https://{'a.' * 127}com/",
    # user information
    "https://user@example.com/",
    "https://user:secret@example.com/",
    "https://example.com@127.0.0.1/",
    "https://@127.0.0.1/",
    "https://example.com%40127.0.0.1/",
    "https://example.com:443@127.0.0.1/",
    # separators that parsers disagree about
    "https:\\\\example.com\\",
    "https://example.com\\@127.0.0.1/",
    "https://127.0.0.1\\.example.com/",
    "https:/example.com/",
    "https:example.com",
    "//example.com/",
    "example.com",
    "/authorize",
    "",
    " https://example.com/",
    "https://example.com/ ",
    "https://example.com/\n",
    "https://example.com\n",
    "https://exam\tple.com/",
    "https://example.com/a b",
    "https://example.com/\r\nHost: 127.0.0.1",
    "https://example.com/\x00",
    "https://example.com?@127.0.0.1#/",
    "https://example.com#@127.0.0.1/",
    "https://example.com/#fragment",
    # schemes
    "HTTPS://example.com/",
    "http://example.com/",
    "http://127.0.0.1/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "dict://127.0.0.1:11211/stats",
    "ldap://127.0.0.1/",
    "jar:https://example.com!/",
    "data:text/plain,hello",
    "javascript:alert(1)",
    "unix:///var/run/docker.sock",
    "ws://example.com/",
    # ports
    "https://example.com:/",
    "https://example.com:0/",
    "https://example.com:00443/",
    "https://example.com:22/",
    "https://example.com:25/",
    "https://example.com:80/",
    "https://example.com:65536/",
    "https://example.com:99999999999/",
    "https://example.com:-1/",
    "https://example.com:443:443/",
    "https://example.com:https/",
    "https://example.com:\uff14\uff14\uff13/",
    # paths
    "https://example.com//evil.example/",
    "https://example.com/../admin",
    "https://example.com/a/./b",
    "https://example.com/%2e%2e/admin",
    "https://example.com/%2E%2e/admin",
    "https://example.com/a%2fb",
    "https://example.com/a%5cb",
    "https://example.com/a%0d%0aX-Evil:1",
    "https://example.com/a%00b",
    "https://example.com/@evil",
    f"https://example.com/{'a' * 2048}",
]


def test_the_table_of_forbidden_urls_has_at_least_a_hundred_rows() -> None:
    assert len(set(FORBIDDEN_ADDRESSES)) + len(set(FORBIDDEN_SPELLINGS)) >= 100


@pytest.mark.parametrize("url", FORBIDDEN_SPELLINGS, ids=ascii)
async def test_a_url_that_could_be_read_in_two_ways_is_refused(url: str) -> None:
    resolver = ScriptedResolver()
    with pytest.raises(Invalid) as refused:
        await guard(resolver=resolver).check(url)
    assert refused.value.code in {"url_invalid", "url_scheme_forbidden", "url_forbidden"}


@pytest.mark.parametrize("address", FORBIDDEN_ADDRESSES)
async def test_an_address_of_ours_is_refused_when_written_out(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(Invalid) as refused:
        await guard().check(f"https://{host}/authorize")
    assert refused.value.code == "url_forbidden"


@pytest.mark.parametrize("address", [*FORBIDDEN_ADDRESSES, "fe80::1%eth0", "not an address"])
async def test_a_name_that_leads_to_an_address_of_ours_is_refused(address: str) -> None:
    resolver = ScriptedResolver(evil_example=[[PUBLIC, address]])
    with pytest.raises(Invalid) as refused:
        await guard(resolver=resolver).check("https://evil.example/authorize")
    assert refused.value.code == "url_forbidden"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/v1/authorize?lane=3&x=a%20b",
        "https://example.com:443/v1/authorize",
        "https://example.com:8443/v1/authorize",
        "https://xn--exmple-cua.com/",
        "https://93.184.215.14/",
        "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]:8443/",
    ],
)
async def test_a_plain_public_url_is_let_through(url: str) -> None:
    await guard().check(url)


async def test_a_refusal_does_not_tell_the_address() -> None:
    resolver = ScriptedResolver(intranet_example=[["10.9.8.7"]])
    with pytest.raises(Invalid) as refused:
        await guard(resolver=resolver).check("https://intranet.example/")
    assert "10.9.8.7" not in str(refused.value.detail)


async def test_a_name_without_an_address_is_a_fault_and_at_saving_time_a_refusal() -> None:
    resolver = ScriptedResolver(gone_example=[], empty_example=[[]])
    for url in ("https://gone.example/", "https://empty.example/"):
        with pytest.raises(Unresolvable):
            await guard(resolver=resolver).pin(url)
        with pytest.raises(Invalid) as refused:
            await guard(resolver=resolver).check(url)
        assert refused.value.code == "url_invalid"


async def test_a_name_is_resolved_once_for_a_pin() -> None:
    resolver = ScriptedResolver(rebind_example=[[PUBLIC], ["127.0.0.1"]])
    pinned = await guard(resolver=resolver).pin("https://rebind.example/")
    assert pinned.addresses == (PUBLIC,)
    assert pinned.ip == PUBLIC
    assert resolver.asked == [("rebind.example", 443)]


async def test_the_platform_admin_opens_private_addresses_by_block() -> None:
    await guard("10.20.0.0/16").check("https://10.20.3.4/")
    await guard("fd12::/16").check("https://[fd12::1]/")
    with pytest.raises(Invalid):
        await guard("10.20.0.0/16").check("https://10.21.3.4/")


async def test_the_platform_admin_opens_private_addresses_by_name() -> None:
    resolver = ScriptedResolver(wallet_internal=[["10.0.0.7"]], other_internal=[["10.0.0.8"]])
    opened = guard("wallet.internal", resolver=resolver)
    await opened.check("https://wallet.internal/")
    with pytest.raises(Invalid):
        await opened.check("https://other.internal/")


async def test_a_named_port_is_opened_for_that_name_alone() -> None:
    opened = guard("wallet.internal:81", resolver=ScriptedResolver(wallet_internal=[["10.0.0.7"]]))
    await opened.check("https://wallet.internal:81/")
    with pytest.raises(Invalid):
        await opened.check("https://wallet.internal:82/")
    with pytest.raises(Invalid):
        await opened.check("https://example.com:81/")


@pytest.mark.parametrize("address", ["169.254.169.254", "127.0.0.1", "224.0.0.1", "fe80::1"])
async def test_an_allowed_name_opens_private_addresses_and_no_others(address: str) -> None:
    resolver = ScriptedResolver(wallet_internal=[[address]])
    with pytest.raises(Invalid):
        await guard("wallet.internal", resolver=resolver).check("https://wallet.internal/")


@pytest.mark.parametrize(
    "address", ["169.254.169.254", str(IPv4Address(0)), "[::ffff:169.254.169.254]"]
)
async def test_no_allow_list_opens_metadata_and_link_local(address: str) -> None:
    with pytest.raises(Invalid):
        await guard("0.0.0.0/0", "::/0").check(f"https://{address}/")


@pytest.mark.parametrize("entry", ["", "10.0.0.1/8", "https://example.com", "a b", "name:port"])
def test_a_malformed_allow_list_stops_the_start(entry: str) -> None:
    with pytest.raises(ValueError, match="neither a CIDR block nor a host name"):
        guard(entry)


async def test_development_opens_loopback_also_over_plain_http() -> None:
    resolver = ScriptedResolver(localhost=[["::1", "127.0.0.1"]])
    developing = guard(development=True, resolver=resolver)
    for url in (
        "http://127.0.0.1:9001/",
        "https://127.0.0.1/",
        "http://[::1]/",
        "http://localhost/",
    ):
        await developing.check(url)


@pytest.mark.parametrize("host", ["example.com", "10.0.0.1", "169.254.169.254", "mixed.example"])
async def test_development_opens_nothing_else(host: str) -> None:
    resolver = ScriptedResolver(mixed_example=[["127.0.0.1", PUBLIC]])
    with pytest.raises(Invalid):
        await guard("10.0.0.0/8", development=True, resolver=resolver).check(f"http://{host}/")

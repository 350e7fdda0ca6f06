"""Who gets through the handshake of the device listener, and what the application then sees."""

import ssl
from pathlib import Path

import httpx
import pytest

from infrastructure.fleet.platform_ca import PlatformCA
from tests.infrastructure.edge.pki import (
    CLIENT_AUTH,
    SERVER_AUTH,
    TENANT,
    Device,
    Workshop,
    new_ca,
    run,
)
from tests.infrastructure.edge.serving import RunningEdge, client_context

BROKEN_OFF = ("52: ", "56: ")
"""curl's exit codes when a server breaks off after TLS 1.3 let the client believe itself in."""


def curl(edge: RunningEdge, workshop: Workshop, device: Device | None, *more: str) -> str:
    """What curl prints: the body on success, else its exit code and its word on why."""
    shown: list[str | Path] = []
    if device is not None:
        shown = ["--cert", device.certificate, "--key", device.key]
    trusted = workshop.folder / "server-ca.pem"
    url = f"{edge.device_url}/v1/device/me"
    done = run("curl", "--silent", "--show-error", "--cacert", trusted, *shown, *more, url)
    if done.returncode:
        return f"{done.returncode}: {done.stderr.decode()}"
    return done.stdout.decode()


def test_a_device_is_served_and_the_application_sees_who_it_is(
    edge: RunningEdge, device: Device, device_context: ssl.SSLContext
) -> None:
    answer = httpx.get(f"{edge.device_url}/v1/device/me", verify=device_context)
    assert answer.status_code == 200
    tls = answer.json()["extensions"]["tls"]
    assert tls["fingerprint"] == device.fingerprint
    assert tls["tls_version"] == "TLSv1.3"
    assert len(tls["san_uris"]) == 1
    assert tls["san_uris"][0].startswith(f"spiffe://link.example/tenant/ten_{TENANT.hex}/device/")


def test_curl_with_a_device_certificate_is_served(
    edge: RunningEdge, workshop: Workshop, device: Device
) -> None:
    assert device.fingerprint in curl(edge, workshop, device)


def test_a_client_without_a_certificate_is_told_that_one_is_required(
    edge: RunningEdge, workshop: Workshop
) -> None:
    answer = curl(edge, workshop, None)
    assert answer.startswith(BROKEN_OFF)
    assert "alert certificate required" in answer
    assert edge.application.begun == []


def test_a_certificate_of_another_authority_is_refused_with_an_alert(
    edge: RunningEdge, workshop: Workshop
) -> None:
    answer = curl(edge, workshop, workshop.device(new_ca()))
    assert "alert unknown ca" in answer or "alert decrypt error" in answer
    assert edge.application.begun == []


def test_an_expired_certificate_is_refused_with_an_alert(
    edge: RunningEdge, workshop: Workshop
) -> None:
    assert "alert certificate expired" in curl(edge, workshop, workshop.expired_device())
    assert edge.application.begun == []


def test_a_certificate_for_servers_only_is_refused(edge: RunningEdge, workshop: Workshop) -> None:
    server_only = workshop.odd_device(["spiffe://link.example/a"], [SERVER_AUTH])
    assert "alert unsupported certificate" in curl(edge, workshop, server_only)
    assert edge.application.begun == []


def test_a_certificate_that_does_not_say_what_it_is_for_is_refused(
    edge: RunningEdge, workshop: Workshop
) -> None:
    """OpenSSL alone lets it in: that it is served once it says clientAuth is the control."""
    uris = ["spiffe://link.example/a"]
    answer = curl(edge, workshop, workshop.odd_device(uris, []))
    assert answer.startswith(BROKEN_OFF)
    assert edge.application.begun == []
    assert "spiffe://link.example/a" in curl(edge, workshop, workshop.odd_device(uris))


def test_our_own_server_certificate_is_not_a_device(
    edge: RunningEdge, workshop: Workshop, ca: PlatformCA, tmp_path: Path
) -> None:
    chain, key = ca.issue_server(["localhost"])
    pretender = Device(tmp_path / "server.pem", tmp_path / "server.key", "")
    pretender.certificate.write_text(chain)
    pretender.key.write_text(key)
    assert "alert" in curl(edge, workshop, pretender)
    assert edge.application.begun == []


@pytest.mark.parametrize(
    "uris",
    [
        (),
        ("spiffe://link.example/tenant/a/device/b", "spiffe://link.example/tenant/a/device/c"),
        ("spiffe://other.example/tenant/a/device/b",),
        ("SPIFFE://LINK.example/tenant/a%2Fb/../device/c/?d#e",),
    ],
    ids=["none", "two", "other-trust-domain", "odd-spelling"],
)
def test_the_application_sees_the_names_exactly_as_the_certificate_has_them(
    edge: RunningEdge, workshop: Workshop, uris: tuple[str, ...]
) -> None:
    odd = workshop.odd_device(uris, [CLIENT_AUTH])
    context = client_context(workshop.ca)
    context.load_cert_chain(odd.certificate, odd.key)
    answer = httpx.get(edge.device_url, verify=context)
    assert answer.json()["extensions"]["tls"]["san_uris"] == list(uris)


@pytest.mark.parametrize("version", ["1.2", "1.1", "1.0"])
def test_older_tls_is_refused(
    edge: RunningEdge, workshop: Workshop, device: Device, version: str
) -> None:
    answer = curl(edge, workshop, device, "--tls-max", version)
    assert answer.startswith("35: ")
    assert "alert protocol version" in answer or "no protocols available" in answer


def test_a_trusted_authority_can_be_added_and_taken_away_while_listening(
    edge: RunningEdge, workshop: Workshop, device: Device
) -> None:
    next_ca = new_ca()
    newer = workshop.device(next_ca)
    edge.call(edge.tls.trust, workshop.ca.device_ca_pem() + next_ca.device_ca_pem())
    assert device.fingerprint in curl(edge, workshop, device)
    assert newer.fingerprint in curl(edge, workshop, newer)
    edge.call(edge.tls.trust, next_ca.device_ca_pem())
    assert "alert" in curl(edge, workshop, device)
    assert newer.fingerprint in curl(edge, workshop, newer)


def test_the_public_listener_asks_for_no_certificate_and_names_nobody(
    edge: RunningEdge, device_context: ssl.SSLContext, ca: PlatformCA
) -> None:
    for context in (device_context, client_context(ca)):
        assert httpx.get(edge.public_url, verify=context).json()["extensions"]["tls"] is None


def test_the_public_listener_speaks_tls_1_2_too_and_nothing_older(
    edge: RunningEdge, ca: PlatformCA
) -> None:
    context = client_context(ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert httpx.get(edge.public_url, verify=context).status_code == 200
    trusted = ["-CAfile", "/dev/stdin", "-connect", f"127.0.0.1:{edge.public_port}"]
    older = run("openssl", "s_client", "-tls1_1", *trusted, text=ca.ca_bundle_pem().encode())
    assert older.returncode == 1


@pytest.mark.parametrize(
    "name",
    [
        "Client-Cert",
        "client_cert",
        "Client-Cert-Chain",
        "X-Client-Cert",
        "X-Forwarded-Client-Cert",
        "x_forwarded_client_cert",
        "X-SSL-Client-Verify",
        "X-SSL-Cert",
        "SSL-Client-Cert",
        "SSL_CLIENT_S_DN",
        "X-Forwarded-Tls-Client-Cert",
    ],
)
def test_a_header_that_pretends_to_be_a_certificate_never_reaches_the_application(
    edge: RunningEdge, device_context: ssl.SSLContext, name: str
) -> None:
    for url in (edge.device_url, edge.public_url):
        sent = {name: "forged", "x-other": "kept"}
        answer = httpx.get(url, verify=device_context, headers=sent).json()
        assert "forged" not in str(answer)
        assert ["x-other", "kept"] in answer["headers"]


def test_a_header_of_a_proxy_does_not_change_who_is_calling(
    edge: RunningEdge, device_context: ssl.SSLContext
) -> None:
    sent = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "http"}
    answer = httpx.get(edge.public_url, verify=device_context, headers=sent).json()
    assert answer["client"][0] == "127.0.0.1"
    assert answer["scheme"] == "https"


def test_answers_carry_a_date_and_do_not_name_the_server(
    edge: RunningEdge, device_context: ssl.SSLContext
) -> None:
    answer = httpx.get(edge.device_url, verify=device_context)
    assert answer.headers["date"].endswith("GMT")
    assert "server" not in answer.headers

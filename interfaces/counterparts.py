"""Whom the platform speaks to of its own accord: products, the palm vendor, message gateways.

A part of the composition root, like `interfaces/composition.py`, which gives what is made here to
those who need it.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import msgspec

from application.ports import Clock, OtpSender
from application.tenants.health_monitor import AT_ONCE
from infrastructure.circuits.breakers import Breakers
from infrastructure.messages.inbox import Inbox
from infrastructure.messages.invitations import Letters
from infrastructure.messages.no_sender import NoSender
from infrastructure.messages.sms_gateway import SmsGateway, SmsGatewaySender
from infrastructure.messages.smtp import SmtpSender, SmtpServer
from infrastructure.outbound.client import OutboundClient
from infrastructure.outbound.egress import EgressGuard, SystemResolver
from infrastructure.outbound.trust import system_trust_and
from infrastructure.palm_xtelcom import XTelcomPalmVerifier
from infrastructure.products.health_probes import HttpHealthProbes
from infrastructure.products.linked_service_gateway import HttpLinkedServiceGateway
from infrastructure.products.product_notices import HttpProductNotices
from infrastructure.products.product_probes import HttpProductProbes
from interfaces.settings import Settings

AtEnd = Callable[[Callable[[], Awaitable[None]]], object]
"""Notes what is to be closed when the process ends."""


class Counterparts(msgspec.Struct, frozen=True, kw_only=True):
    """One of each, for as long as the process runs."""

    products: HttpLinkedServiceGateway
    notices: HttpProductNotices
    palms: XTelcomPalmVerifier
    otp_sender: OtpSender
    email_sender: OtpSender
    letters: Letters
    egress: EgressGuard
    health: HttpHealthProbes
    client_keys: OutboundClient
    probes: HttpProductProbes


def counterparts(
    settings: Settings,
    clock: Clock,
    breakers: Breakers,
    our_cas_pem: str,
    at_end: AtEnd,
) -> Counterparts:
    """Nothing is connected yet. `our_cas_pem`: a product may hold a certificate of ours."""
    guard = EgressGuard(settings.egress_allow, settings.development, SystemResolver())
    to_tenants = OutboundClient(guard, tls=system_trust_and(our_cas_pem))
    at_end(to_tenants.close)
    email = _email_sender(settings, clock, at_end)
    return Counterparts(
        products=HttpLinkedServiceGateway(to_tenants, clock, breakers),
        notices=HttpProductNotices(to_tenants),
        palms=_palm_vendor(settings, clock, at_end),
        otp_sender=_otp_sender(settings, clock, to_tenants, at_end),
        email_sender=email,
        letters=email,
        egress=guard,
        health=_health_probes(settings, clock, guard, our_cas_pem, at_end),
        client_keys=to_tenants,
        probes=_product_probes(clock, guard, our_cas_pem, at_end),
    )


def inbox(settings: Settings, clock: Clock) -> Inbox:
    """Where one-time codes lie in development."""
    return Inbox(settings.data_dir / "inbox", clock)


def _product_probes(
    clock: Clock, guard: EgressGuard, our_cas_pem: str, at_end: AtEnd
) -> HttpProductProbes:
    """Its own few connections: who certifies a product takes none from transactions."""
    client = OutboundClient(guard, tls=system_trust_and(our_cas_pem), connections_max=AT_ONCE)
    at_end(client.close)
    return HttpProductProbes(client, clock)


def _health_probes(
    settings: Settings, clock: Clock, guard: EgressGuard, our_cas_pem: str, at_end: AtEnd
) -> HttpHealthProbes:
    """Few connections, and none of them a transaction's: probes wait for probes only."""
    client = OutboundClient(guard, tls=system_trust_and(our_cas_pem), connections_max=AT_ONCE)
    at_end(client.close)
    vendor = _palm_vendor(settings, clock, at_end, connections_max=1)
    return HttpHealthProbes(client, vendor, clock)


def _palm_vendor(
    settings: Settings, clock: Clock, at_end: AtEnd, *, connections_max: int = 1000
) -> XTelcomPalmVerifier:
    # The vendor's address comes from the operator's configuration, not from a tenant.
    vendor = urlsplit(settings.palm_vendor_url).hostname or ""
    guard = EgressGuard((*settings.egress_allow, vendor), settings.development, SystemResolver())
    to_vendor = OutboundClient(guard, connections_max=connections_max)
    at_end(to_vendor.close)
    key = settings.palm_vendor_key
    return XTelcomPalmVerifier(
        settings.palm_vendor_url,
        to_vendor,
        clock,
        credentials={} if key is None else {"x-api-key": key},
    )


def _otp_sender(
    settings: Settings, clock: Clock, outbound: OutboundClient, at_end: AtEnd
) -> OtpSender:
    if settings.otp_channel == "smtp" and settings.smtp is not None:
        sender = SmtpSender(msgspec.convert(msgspec.to_builtins(settings.smtp), SmtpServer))
        at_end(sender.close)
        return sender
    if settings.otp_channel == "sms_http" and settings.sms is not None:
        gateway = msgspec.convert(msgspec.to_builtins(settings.sms), SmsGateway)
        return SmsGatewaySender(gateway, outbound)
    return inbox(settings, clock)


def _email_sender(settings: Settings, clock: Clock, at_end: AtEnd) -> SmtpSender | Inbox | NoSender:
    """Codes and letters to e-mail addresses. The mail server may be there for them alone."""
    if settings.smtp is not None:
        server = msgspec.convert(msgspec.to_builtins(settings.smtp), SmtpServer)
        sender = SmtpSender(msgspec.structs.replace(server, recipient="{to}"))
        at_end(sender.close)
        return sender
    return inbox(settings, clock) if settings.development else NoSender("email")

"""What workers look after by the clock: whether products, the palm vendor and devices are there,
whose certificates run out, and that the CRLs are new.

A part of the composition root; one process of all that could does each of the rounds.
"""

from random import SystemRandom
from typing import TYPE_CHECKING, Final

from application.fleet.fleet_monitor import FleetMonitor
from application.tenants.health_monitor import HealthMonitor
from application.tenants.webhook_identities import CertificateWarnings
from infrastructure.fleet.open_commands import ReadModelOpenCommands
from infrastructure.fleet.presences import PostgresPresenceBook
from infrastructure.products.health_book import PostgresHealthBook
from infrastructure.rounds import Rounds
from infrastructure.webhooks.expiring import ReadModelExpiringCertificates
from interfaces.counterparts import Counterparts
from interfaces.measured import measure_health

if TYPE_CHECKING:
    from interfaces.composition import Platform

LOOK_EVERY_S: Final = 5.0
"""How often it is looked who is to be asked, once a minute each, and who has gone silent."""

WARN_EVERY_S: Final = 300.0
"""How often it is looked whose client certificate for webhooks runs out, and whether the server
certificate does."""


class Watching:
    def __init__(self, of: "Platform", outside: Counterparts) -> None:
        book = PostgresHealthBook(of.duty_pool)
        self.health = HealthMonitor(
            of.log, of.streams, outside.health, book, of.clock, of.ids, SystemRandom().random
        )
        self.fleet = FleetMonitor(
            of.log,
            PostgresPresenceBook(of.duty_pool),
            ReadModelOpenCommands(of.app_pool, of.duty_pool),
            of.clock,
            of.ids,
        )
        self.certificates = CertificateWarnings(
            of.log, ReadModelExpiringCertificates(of.duty_pool), of.clock, of.ids
        )
        self.rounds = (
            Rounds(of.dsn, "health", LOOK_EVERY_S, self.health.round),
            Rounds(of.dsn, "fleet", LOOK_EVERY_S, self.fleet.round),
            Rounds(of.dsn, "webhook_certificates", WARN_EVERY_S, self.certificates.round),
            Rounds(of.dsn, "server_certificate", WARN_EVERY_S, of.serving.upkeep.round),
            Rounds(of.dsn, "crl", LOOK_EVERY_S, of.revocation_lists.round),
        )
        measure_health(of.metrics, book)

"""A till, gate or kiosk in software: pairs with its own key, signs people up, sends palms."""

from examples.device_simulator.connection import OpenConnection
from examples.device_simulator.credentials import Credentials
from examples.device_simulator.device import Person, SimulatedDevice, TransactionAnswer
from examples.device_simulator.inbox import InboxCodes, NoCode
from examples.device_simulator.refusals import ConnectionRefused, Refused

__all__ = [
    "ConnectionRefused",
    "Credentials",
    "InboxCodes",
    "NoCode",
    "OpenConnection",
    "Person",
    "Refused",
    "SimulatedDevice",
    "TransactionAnswer",
]

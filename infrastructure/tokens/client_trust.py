"""Whom the listener for clients' certificates trusts: all that any client has registered."""

from collections.abc import Callable, Iterable, Sequence

import structlog

from domain.events import Recorded
from domain.oauth_client import OAuthClientChanged, OAuthClientRegistered
from infrastructure.tokens.anchors import rewritten

_log = structlog.get_logger(__name__)


class ClientTrust:
    """Grows with the log. A client that is gone is refused by who it is, not by its handshake."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._pems: set[str] = set()
        self._trusting: list[Callable[[str], None]] = []

    def restore(self, pems: Iterable[str]) -> None:
        """Take over what was registered so far."""
        self._take(pems)

    def heard(self, events: Sequence[Recorded]) -> None:
        """For the log's tail."""
        for recorded in events:
            match recorded.event:
                case OAuthClientRegistered(tls_certificates=pems):
                    self._take(pems)
                case OAuthClientChanged(metadata=metadata):
                    self._take(metadata.tls_certificates)
                case _:
                    continue

    def tell(self, trust: Callable[[str], None]) -> None:
        """Have a listener told whom to trust (PEM), now and whenever it grows."""
        self._trusting.append(trust)
        trust(self._pem())

    def _take(self, registered: Iterable[str]) -> None:
        """One certificate that cannot be used opens nothing to its client, and to nobody else it
        matters: this runs in the log's tail, whose failure ends the process."""
        new = set(registered) - self._known
        self._known |= new
        usable = {pem for each in new for pem in _usable(each)} - self._pems
        if usable:
            self._pems |= usable
            for trust in self._trusting:
                trust(self._pem())

    def _pem(self) -> str:
        return "".join(sorted(self._pems))


def _usable(pem: str) -> Sequence[str]:
    try:
        return (rewritten(pem),)
    except ValueError as error:
        _log.warning("client_certificate_not_trusted", error=type(error).__name__)
        return ()

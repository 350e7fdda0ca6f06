"""Whom the listener for clients' certificates trusts: all that any client has registered."""

from collections.abc import Callable, Iterable, Sequence

from domain.events import Recorded
from domain.oauth_client import OAuthClientChanged, OAuthClientRegistered


class ClientTrust:
    """Grows with the log. A client that is gone is refused by who it is, not by its handshake."""

    def __init__(self) -> None:
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

    def _take(self, pems: Iterable[str]) -> None:
        new = set(pems) - self._pems
        if new:
            self._pems |= new
            for trust in self._trusting:
                trust(self._pem())

    def _pem(self) -> str:
        return "\n".join(sorted(self._pems))

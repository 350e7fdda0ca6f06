"""The authorities that may vouch for devices: Google's two, or those that an operator names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509

GOOGLE: Final = Path(__file__).parent / "google_roots.pem"


class RootsUnreadable(ValueError):
    """The file holds no roots."""


def read_roots(path: Path | None) -> Sequence[x509.Certificate]:
    """The certificates of a PEM file; Google's for None. Raises RootsUnreadable."""
    named = path or GOOGLE
    try:
        return x509.load_pem_x509_certificates(named.read_bytes())
    except (OSError, ValueError) as error:
        raise RootsUnreadable(f"{named}: no readable PEM file with certificates") from error
